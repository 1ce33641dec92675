"""What the HTTP front costs: answering uploads, reading while an evaluation runs, memory for a large upload.

    python -m bench.api [--runs 5]

Starts two nodes, measures over loopback and prints a Markdown table with the machine's load beside every figure.
"""

import argparse
import contextlib
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from bench.nodes import running_nodes
from testmesh.client.multipart import Multipart

MIB = 1024**2
PASSING = "def test_passes():\n    assert True\n"
WAITING = "import time\n\ndef test_waits():\n    time.sleep(0.3)\n"
MODULES = 60
_PAUSE_S = 0.01
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    figure: str
    goal: str
    good: bool | None
    load: float


# What is sent -------------------------------------------------------------------------------


def noisy_zip(path: Path, size: int) -> Path:
    """One test beside `size` bytes that do not pack."""
    noise = random.Random(1)  # noqa: S311 - no secret
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("project/test_a.py", PASSING)
        for number in range(size // MIB):
            archive.writestr(f"project/{number}.bin", noise.randbytes(MIB))
    return path


def waiting_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(MODULES):
            archive.writestr(f"project-{number % 6}/test_{number}.py", WAITING)
    return path


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """The URL of a server that reads a request and answers 202: what sending alone takes, by the same client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_swallow_for_ever, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _swallow_for_ever(listener: socket.socket) -> None:
    buffer = bytearray(256 * 1024)
    with contextlib.suppress(OSError):  # the listener is shut down
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb", buffering=0) as file:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += file.read(1) or b""
                left = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                while left > 0:
                    left -= file.readinto(buffer) or left
                connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


# Measuring ----------------------------------------------------------------------------------


def post(url: str, archive: Path) -> tuple[float, str]:
    """Seconds from the call to the answer, and the evaluation's id."""
    body = Multipart([("file", "class.zip", archive)])
    begun = time.perf_counter()
    answer = requests.post(
        f"{url}/evaluation", data=body, headers={"Content-Type": body.content_type}, timeout=_PATIENCE_S
    )
    took = time.perf_counter() - begun
    if answer.status_code != 202:
        raise SystemExit(f"the upload was refused: {answer.text}")
    return took, answer.json()["id"] if answer.content else ""


def wait_done(url: str, evaluation_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        found: dict[str, Any] = requests.get(f"{url}/evaluation/{evaluation_id}", timeout=30).json()
        if found["finished_at"]:
            return found
        time.sleep(0.1)
    raise SystemExit(f"evaluation {evaluation_id} did not end")


def beyond_upload(urls: list[str], archive: Path, runs: int) -> Row:
    """Turn by turn, so that both have the same of whatever else the machine does."""
    sent, answered = [], []
    with sink() as drain:
        for _ in range(runs):
            sent.append(post(drain, archive)[0])
            took, evaluation_id = post(urls[0], archive)
            answered.append(took)
            wait_done(urls[0], evaluation_id)
    extra = statistics.median(a - s for a, s in zip(answered, sent, strict=True))
    figure = f"{extra:.3f} s beyond upload (median of {runs}; answered in {statistics.median(answered):.3f} s, "
    figure += f"sending alone {statistics.median(sent):.3f} s)"
    return Row("POST of 10 MiB, stored on two nodes", figure, "0.2 s", extra <= 0.2, os.getloadavg()[0])


def while_running(urls: list[str], archive: Path) -> list[Row]:
    _, evaluation_id = post(urls[0], archive)
    times: dict[str, list[float]] = {"evaluation": [], "list": [], "stats": []}
    with requests.Session() as session:

        def timed(name: str, path: str) -> Any:
            begun = time.perf_counter()
            answer = session.get(f"{urls[0]}{path}", timeout=30)
            times[name].append(time.perf_counter() - begun)
            return answer.json()

        while True:
            document = timed("evaluation", f"/evaluation/{evaluation_id}")
            timed("stats", "/stats")
            timed("list", "/evaluation")
            if document["finished_at"]:
                break
            time.sleep(_PAUSE_S)
    passed = document["_run_info"]["passed"]
    if passed != MODULES:
        raise SystemExit(f"{passed} of {MODULES} modules passed: these figures would say nothing")
    load = os.getloadavg()[0]
    rows = []
    for name, path in (("evaluation", "GET /evaluation/<id>"), ("stats", "GET /stats"), ("list", "GET /evaluation")):
        p50, p95 = statistics.median(times[name]), _percentile(times[name], 95)
        figure = f"p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms, most {max(times[name]) * 1000:.0f} ms"
        figure += f" ({len(times[name])} requests)"
        bound = name == "evaluation"
        goal = "p95 under 50 ms" if bound else ""
        rows.append(Row(f"{path} while {MODULES} modules run", figure, goal, p95 < 0.05 if bound else None, load))
    return rows


def memory(urls: list[str], archive: Path) -> Row:
    """The highest resident size on the way to the end of the run, less what it was before the upload."""
    workers = [worker_of(urlsplit(url).port or 0) for url in urls]
    before = {}
    for pid in workers:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak from now on
        before[pid] = _resident(pid, "VmRSS")
    _, evaluation_id = post(urls[0], archive)
    wait_done(urls[0], evaluation_id)
    grown = [(_resident(pid, "VmHWM") - before[pid]) / MIB for pid in workers]
    figure = f"{grown[0]:.1f} MiB more; {grown[1]:.1f} MiB on the node that keeps the copy"
    return Row("memory for 64 MiB", figure, "under 16 MiB", max(grown) < 16, os.getloadavg()[0])


def worker_of(port: int) -> int:
    """The process that serves: a node's child of the same command, told by its environment."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ = (entry / "environ").read_bytes().split(b"\0")
            if f"MESH_PORT={port}".encode() in environ and b"run_node.py" in (entry / "cmdline").read_bytes():
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return next(pid for pid, parent in found.items() if parent in found)


def _resident(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


# Showing ------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    lines = ["| what | measured | goal | met | load average |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        met = "" if row.good is None else "yes" if row.good else "**no**"
        lines.append(f"| {row.what} | {row.figure} | {row.goal} | {met} | {row.load:.1f} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.api", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="uploads of 10 MiB")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ten, large = noisy_zip(folder / "10.zip", 10 * MIB), noisy_zip(folder / "64.zip", 64 * MIB)
        with running_nodes(folder, 2) as urls:
            wait_done(urls[0], post(urls[0], waiting_zip(folder / "first.zip"))[1])  # the environment is built once
            rows = [beyond_upload(urls, ten, chosen.runs), *while_running(urls, folder / "first.zip")]
            rows.append(memory(urls, large))
    print(f"{os.cpu_count()} cores, two nodes, loopback\n\n{table(rows)}")  # noqa: T201
    return 0 if all(row.good is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
