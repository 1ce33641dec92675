"""What a full store costs: starting a node on 1000 evaluations, reading the list, one evaluation and the totals.

    python -m bench.store [--evaluations 1000] [--requests 200] [--starts 5]

Fills a store with evaluations of 40 projects with 3 modules each, starts a real node on it, measures over loopback and
prints a Markdown table with the machine's load beside every figure.
"""

import argparse
import http.client
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testmesh.local.health import is_healthy
from testmesh.local.processes import ProcessId, is_alive, start, stop
from testmesh.model import (
    Counts,
    Evaluation,
    ModulePlan,
    ModuleState,
    Project,
    Source,
    SourceKind,
    TestResult,
    Verdict,
)
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.sqlite_store import SqliteStore

ROOT = Path(__file__).resolve().parents[1]
PROJECTS, MODULES, TESTS = 40, 3, 8
NODES = ("10.0.0.1:5001", "10.0.0.2:5001", "10.0.0.3:5001")
_POLL_S, _PATIENCE_S = 0.01, 60.0
_LINE = "    assert answer == {'command': 'publish', 'topic': 'weather'}, 'the broker did not answer'\n"


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    times: list[float]  # seconds
    goal_s: float | None
    load: float

    @property
    def good(self) -> bool:
        return self.goal_s is None or _percentile(self.times, 95) < self.goal_s


# The store ----------------------------------------------------------------------------------


def fill(path: Path, evaluations: int, own: str) -> int:
    """Gives the size of the file. A quarter of the modules ran on the node `own`."""
    store, noise = SqliteStore(path), random.Random(1)  # noqa: S311 - no secret
    for number in range(evaluations):
        store.merge(_evaluation(number, noise, (own, *NODES)))
    store.close()
    return path.stat().st_size


def _evaluation(number: int, noise: random.Random, nodes: tuple[str, ...]) -> Changes:
    """A class: all have the same test files, as courses do, and a fifth of the tests fail with something to read."""
    plans = tuple(ModulePlan(f"tests/test_part_{module}.py", TESTS) for module in range(MODULES))
    projects = tuple(Project(f"student-{n:02}", f"class/student-{n:02}", plans) for n in range(PROJECTS))
    evaluation_id = str(uuid.UUID(int=noise.getrandbits(128), version=4))
    archive = noise.randbytes(32).hex()
    source = Source(SourceKind.ZIP, "class", archive=archive, projects=projects)
    at = 1_790_000_000.0 + 600 * number
    evaluation = Evaluation(
        evaluation_id,
        at,
        nodes[0],
        (source,),
        holders=nodes[:2],
        body_digest=archive,
        finished_at=at + 30,
        eval_time=30.0,
        number=number + 1,
    )
    records = []
    for project in projects:
        for plan in plans:
            tests = tuple(_test(n, noise) for n in range(TESTS))
            failed = sum(test.outcome == "failed" for test in tests)
            counts, verdict = Counts(TESTS - failed, failed), Verdict.FAILED if failed else Verdict.PASSED
            state = ModuleState(
                *(evaluation_id, project.name, plan.path, verdict, 0, 1, noise.choice(nodes), counts, 1.25, "3.11.7")
            )
            records.append(ModuleRecord(state, tests))
    return Changes((evaluation,), tuple(records))


def _test(number: int, noise: random.Random) -> TestResult:
    name, took = f"test_part_{number}[{noise.randrange(9)}]", noise.random()
    if noise.random() < 0.8:
        return TestResult(name, "passed", took)
    printed = "".join(f"{noise.random():.6f} client connected\n" for _ in range(10))
    return TestResult(name, "failed", took, _LINE * 12 + f"E   {noise.random()}", printed, printed[:100])


# Measuring ----------------------------------------------------------------------------------


@contextmanager
def running(folder: Path, data: Path) -> Iterator[tuple[int, float]]:
    """A node on this data: its port, and how long it was from starting the process to the first healthy answer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    environ |= {"MESH_PORT": str(port), "MESH_DATA_DIR": str(data), "MESH_KEEP_EVALUATIONS": "1000000"}
    begun = time.perf_counter()
    node = start([sys.executable, str(ROOT / "src" / "run_node.py")], environ, folder / "node.log", folder)
    try:
        while not is_healthy(port):
            if time.perf_counter() - begun > _PATIENCE_S or not is_alive(node):
                raise SystemExit((folder / "node.log").read_text(errors="replace"))
            time.sleep(_POLL_S)
        yield port, time.perf_counter() - begun
    finally:
        _end(node)


def _end(node: ProcessId) -> None:
    stop([node], grace_s=15)


def starts(folder: Path, data: Path, times: int) -> list[Row]:
    """Turn by turn, so that all have the same of whatever else the machine does."""
    after: dict[str, list[float]] = {"a stop": [], "a kill": [], "nothing: an empty store": []}
    for number in range(times):
        with running(folder, data) as (_, took):
            after["a stop"].append(took)
        _kill_a_writer(data)
        with running(folder, data) as (_, took):  # what is derived from the records is made anew
            after["a kill"].append(took)
        with running(folder, folder / f"empty-{number}") as (_, took):
            after["nothing: an empty store"].append(took)
    load = os.getloadavg()[0]
    goals = {"a stop": 2.0, "a kill": 2.0}
    return [Row(f"start of a node after {name}", found, goals.get(name), load) for name, found in after.items()]


def _kill_a_writer(data: Path) -> None:
    """A process that dies with something in the store's log."""
    child = os.fork()
    if child == 0:
        try:
            SqliteStore(data / "mesh.db").merge(_evaluation(0, random.Random(), NODES))  # noqa: S311 - no secret
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def requests(port: int, path: str, times: int, goal_s: float | None) -> Row:
    """One connection, one request after the other, the first included."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        found.append(time.perf_counter() - begun)
        if response.status != 200:
            raise SystemExit(f"GET {path}: {response.status}")
    connection.close()
    shown = path if path.count("/") == 1 else "/evaluation/<id>"
    return Row(f"GET {shown}", found, goal_s, os.getloadavg()[0])


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


# Showing ------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    lines = [
        "| what | median | p95 | most | goal (p95) | met | load average |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        figures = (statistics.median(row.times), _percentile(row.times, 95), max(row.times))
        shown = " | ".join(f"{seconds * 1000:.1f} ms" for seconds in figures)
        goal, met = ("", "") if row.goal_s is None else (f"{row.goal_s * 1000:.0f} ms", "yes" if row.good else "**no**")
        lines.append(f"| {row.what} ({len(row.times)}) | {shown} | {goal} | {met} | {row.load:.1f} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--starts", type=int, default=5)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), Path(name) / "data"
        data.mkdir()
        size = fill(data / "mesh.db", chosen.evaluations, "127.0.0.1:5001")
        rows = starts(folder, data, chosen.starts)
        with running(folder, data) as (port, _):
            rows.append(requests(port, "/evaluation", chosen.requests, 0.05))
            newest = _newest_id(port)
            rows.append(requests(port, f"/evaluation/{newest}", chosen.requests, None))
            rows.append(requests(port, "/stats", chosen.requests, None))
    cores, megabytes = os.cpu_count(), size / 1e6
    about = f"{PROJECTS} projects x {MODULES} modules x {TESTS} tests, {megabytes:.0f} MB"
    print(f"{cores} cores, one node, {chosen.evaluations} evaluations of {about}\n\n{table(rows)}")  # noqa: T201
    return 0 if all(row.good for row in rows) else 1


def _newest_id(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/evaluation?limit=1")
    found = connection.getresponse().read().decode()
    connection.close()
    return found.partition('"id":')[2].split('"')[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
