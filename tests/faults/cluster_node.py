"""One node of a cluster: a process with a network, a clock and a disk that can be spoilt."""

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from tests.faults import processes
from tests.faults.namespaces import Namespace
from tests.faults.processes import Process
from tests.faults.wall_clock import WallClock
from tests.support.mesh import RunningNode, children, link_environments

_DEATH = re.compile(r"^(\S+ \S+) +WARNING +\S+ \S+: node (\S+): \w+ -> dead", re.MULTILINE)
_LONG_AGO_S = 600.0


@dataclass(frozen=True)
class Death:
    """A line of a node's log. `at`: Unix seconds, of this machine's clock."""

    at: float
    observer: int
    address: str


class ClusterNode(RunningNode):
    """`number` counts from 0. In a namespace of its own, it is asked from inside that, whatever the network does."""

    def __init__(
        self,
        number: int,
        folder: Path,
        environ: dict[str, str],
        built: Path,
        address: tuple[str, int],
        namespace: Namespace | None,
        clock: WallClock | None,
    ) -> None:
        super().__init__(address[1], folder, environ, host=address[0])
        self.number = number
        self.namespace = namespace
        self.clock = clock
        self.stopped: list[Process] = []
        self.seen: list[Process] = []  # that belonged to it when it was hurt: none may outlive it
        self._built = built
        self._session = namespace.session() if namespace else requests.Session()
        self.session = self._session

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        # A new connection each: one that was kept may be to a process that is no more.
        headers = {"Connection": "close", **arguments.pop("headers", {})}
        return self._session.request(method, f"{self.url}{path}", headers=headers, **arguments)

    # Its process -----------------------------------------------------------------------------

    def start(self) -> None:
        with self.namespace.entered() if self.namespace else contextlib.nullcontext():
            super().start()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def answers(self) -> bool:
        """Whether it runs and does not stand still."""
        return self.is_running and not self.stopped

    def tree(self) -> list[Process]:
        """All of its living processes, boxes included."""
        return processes.tree(self.process.pid) if self.process is not None else []

    def kill(self) -> None:
        """As a power cut."""
        assert self.process is not None
        self.seen += processes.kill_all([self.process.pid])
        self.stopped = []
        self.process.wait(timeout=30)

    def kill_arbiter(self) -> None:
        """The process that was started, alone; the rest is to end by itself."""
        assert self.process is not None
        self.seen += self.tree()
        self.process.kill()
        self.process.wait(timeout=30)

    def kill_worker(self) -> None:
        """The process in which the node lives, alone; the rest is to end by itself."""
        assert self.process is not None
        self.seen += self.tree()
        worker = next(process for process in self.tree() if process.pid in children(self.process.pid))
        worker.send(signal.SIGKILL)
        self.process.wait(timeout=30)

    def terminate(self) -> int:
        self.seen += self.tree()
        return super().terminate()

    def stop(self) -> None:
        """The machine stands still: SIGSTOP to all of it."""
        assert self.process is not None
        self.stopped = processes.stop_all([self.process.pid])

    def go_on(self) -> None:
        processes.continue_all(self.stopped)
        self.stopped = []

    # Its data --------------------------------------------------------------------------------

    def link_environments(self) -> None:
        """No package index is in reach: what projects without requirements need was built beforehand."""
        if not (self.data / "environments").exists():
            link_environments(self._built, self.data)

    def wipe(self) -> None:
        """A new disk. Not while it runs."""
        self._empty()
        self.link_environments()

    def snapshot(self) -> Path:
        """What it remembers now, to be given to `restore`. Not while it runs."""
        copy = self.folder / f"snapshot_{time.monotonic_ns()}"
        shutil.copytree(self.data, copy, ignore=shutil.ignore_patterns("environments", "packages", "filler"))
        return copy

    def restore(self, snapshot: Path) -> None:
        """A backup is played back: a stale store. Not while it runs."""
        self._empty()
        shutil.copytree(snapshot, self.data, dirs_exist_ok=True)
        self.link_environments()

    def damage(self, name: str, *, keep: float = 0.5, garbage: int = 0) -> None:
        """A file of the data folder, as "mesh.db-wal", loses its end; then `garbage` bytes are put over its middle."""
        path = self.data / name
        size = int(path.stat().st_size * keep)
        os.truncate(path, size)
        with path.open("r+b") as file:
            file.seek(size // 2)
            file.write(b"\xa5" * min(garbage, size - size // 2))

    def _empty(self) -> None:
        """The folder itself stays: it may be a disk of its own."""
        assert not self.is_running
        for path in self.data.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    # Its log ---------------------------------------------------------------------------------

    def deaths(self) -> Iterator[Death]:
        """What it has declared dead so far."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        for found in _DEATH.finditer(text):
            at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()
            if self.clock and abs(time.time() - at) > _LONG_AGO_S:  # its clock had jumped when it wrote that
                at -= self.clock.shift
            yield Death(at, self.number, found[2])
