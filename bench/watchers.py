"""Many watchers of one evaluation on one node: does each get every event, and what do other requests wait meanwhile?

    python -m bench.watchers [--watchers 200]

Starts a node, runs an evaluation without and with watchers, and prints a Markdown table.
"""

import argparse
import os
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from bench.nodes import running_nodes
from testmesh.client.sse import EventParser, merged

PROJECTS, MODULES = 20, 6
WAITING = "import time\n\ndef test_waits():\n    time.sleep({})\n\ndef test_fails():\n    assert {} % 5\n"
_PAUSE_S = 0.02
_PATIENCE_S = 120.0
_GOAL_S = 0.1


@dataclass
class Watcher:
    """One reader of a stream."""

    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    has_ended: bool = False

    def document(self) -> dict[str, Any]:
        """What its events make, without the parts that tell of the moment.

        Raises:
            ValueError: the stream was not that of an evaluation to its end.
        """
        head, _, body = bytes(self.received).partition(b"\r\n\r\n")
        events = list(EventParser().feed(body))
        if b" 200 " not in head.partition(b"\r\n")[0] or not events or events[-1].kind != "done":
            raise ValueError(f"the stream ended without `done`: {head[:200]!r}")
        found: dict[str, Any] = {}
        for event in events:
            found = merged(found, event.part)
        return found


class Watchers:
    """Streams that are read by one thread, as many as asked for; closed at the end of the context."""

    def __init__(self, url: str, evaluation_id: str, count: int) -> None:
        target = urlsplit(url)
        self._request = f"GET /evaluation/{evaluation_id}/events HTTP/1.1\r\nHost: {target.netloc}\r\n\r\n".encode()
        self._address = (target.hostname or "", target.port or 80)
        self._selector = selectors.DefaultSelector()
        self.each = [self._open() for _ in range(count)]
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _open(self) -> Watcher:
        watcher = Watcher(socket.create_connection(self._address, timeout=30))
        watcher.connection.sendall(self._request)
        watcher.connection.setblocking(False)
        self._selector.register(watcher.connection, selectors.EVENT_READ, watcher)
        return watcher

    def _read(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline and not all(watcher.has_ended for watcher in self.each):
            for key, _ in self._selector.select(1.0):
                try:
                    data = key.data.connection.recv(262144)
                except OSError:
                    data = b""
                key.data.received += data
                if not data:
                    key.data.has_ended = True
                    self._selector.unregister(key.fileobj)

    def wait(self) -> None:
        """Until all streams have ended, or patience has."""
        self._thread.join()
        for watcher in self.each:
            watcher.connection.close()
        self._selector.close()


@dataclass(frozen=True, slots=True)
class Measured:
    """`right`: how many watchers had the final document; `times`: seconds of each GET, by its path."""

    watchers: int
    right: int
    events: int
    times: Mapping[str, Sequence[float]]


def waiting_zip(path: Path, projects: int = PROJECTS, modules: int = MODULES, seconds: float = 1.0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for project in range(projects):
            for module in range(modules):
                content = WAITING.format(seconds, project + module)
                archive.writestr(f"class/project-{project}/test_{module}.py", content)
    return path


def submit(url: str, archive: Path) -> str:
    with archive.open("rb") as file:
        answer = requests.post(f"{url}/evaluation", files={"file": file}, timeout=60)
    answer.raise_for_status()
    evaluation_id: str = answer.json()["id"]
    return evaluation_id


def watched(url: str, archive: Path, count: int) -> Measured:
    """Submit, watch `count` times, ask for other things until it has ended, and compare."""
    evaluation_id = submit(url, archive)
    watchers = Watchers(url, evaluation_id, count)
    times: dict[str, list[float]] = {}
    paths = {"evaluation": f"/evaluation/{evaluation_id}", "list": "/evaluation", "stats": "/stats"}
    with requests.Session() as session:
        final = _ask_until_done(lambda path: session.get(f"{url}{path}", timeout=30), paths, times)
        watchers.wait()
        final = session.get(f"{url}{paths['evaluation']}", timeout=30).json()
    found = list(_documents(watchers.each))
    events = watchers.each[0].received.count(b"event: ") if watchers.each else 0
    return Measured(count, sum(document == final for document in found), events, times)


def _ask_until_done(
    get: Callable[[str], requests.Response], paths: Mapping[str, str], times: dict[str, list[float]]
) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for name, path in paths.items():
            begun = time.perf_counter()
            answer = get(path)
            times.setdefault(name, []).append(time.perf_counter() - begun)
            if name == "evaluation":
                document: dict[str, Any] = answer.json()
        if document["finished_at"]:
            return document
        time.sleep(_PAUSE_S)
    raise SystemExit("the evaluation did not end")


def _documents(watchers: Sequence[Watcher]) -> Iterator[dict[str, Any] | None]:
    for watcher in watchers:
        try:
            yield watcher.document()
        except ValueError as error:
            print(error, file=sys.stderr)  # noqa: T201
            yield None


# Showing ------------------------------------------------------------------------------------


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def is_good(measured: Measured) -> bool:
    every = [value for values in measured.times.values() for value in values]
    return measured.right == measured.watchers and percentile(every, 95) < _GOAL_S


def table(rows: Sequence[Measured]) -> str:
    lines = [
        "| watchers | had every event | events of one | GETs meanwhile | p50 | p95 | most | p95 under 100 ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        every = [value for values in row.times.values() for value in values]
        p50, p95, most = statistics.median(every), percentile(every, 95), max(every)
        met = "yes" if p95 < _GOAL_S else "**no**"
        had = f"{row.right} of {row.watchers}" if row.watchers else ""
        lines.append(
            f"| {row.watchers} | {had} | {row.events or ''} | {len(every)} | {p50 * 1000:.1f} ms | {p95 * 1000:.1f} ms "
            f"| {most * 1000:.0f} ms | {met} |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.watchers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--watchers", type=int, default=200)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, running_nodes(Path(name), 1) as (url,):
        watched(url, waiting_zip(Path(name) / "first.zip", 1, 1), 0)  # the environment is built once
        archive = waiting_zip(Path(name) / "class.zip")
        rows = [watched(url, archive, 0), watched(url, archive, chosen.watchers)]
    print(f"{os.cpu_count()} cores, one node, loopback, {PROJECTS} projects x {MODULES} modules\n\n{table(rows)}")  # noqa: T201
    return 0 if all(is_good(row) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
