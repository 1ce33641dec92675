"""The processes below a node, boxes included, as /proc has them."""

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """`started` tells it from a later one with the same number."""

    pid: int
    started: str
    parent: int = 0

    def is_alive(self) -> bool:
        found = _read(self.pid)
        return found is not None and found.started == self.started

    def send(self, number: signal.Signals) -> None:
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def tree(*roots: int) -> list[Process]:
    """The living among these and all below them, parents first."""
    below: dict[int, list[Process]] = defaultdict(list)
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit() and (process := _read(int(entry))):
            below[process.parent].append(process)
    found = [process for pid in roots if (process := _read(pid))]
    for process in found:  # grows while it is read
        found += below[process.pid]
    return found


def kill_all(roots: Iterable[int]) -> list[Process]:
    """As a power cut: all are stopped before the first is killed, so that none acts on another's death."""
    found = stop_all(roots)
    for process in found:
        process.send(signal.SIGKILL)
    return found


def stop_all(roots: Iterable[int]) -> list[Process]:
    """SIGSTOP, from the top down, until there is no new one."""
    roots = tuple(roots)
    stopped: dict[Process, None] = {}
    while new := [process for process in tree(*roots) if process not in stopped]:
        for process in new:
            process.send(signal.SIGSTOP)
            stopped[process] = None
    return list(stopped)


def continue_all(stopped: Iterable[Process]) -> None:
    for process in stopped:
        process.send(signal.SIGCONT)


def living_in(folder: Path) -> list[Process]:
    """Every process that has to do with anything in `folder`: by command, environment, open folder or mounts."""
    wanted = str(folder).encode()
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit() and int(entry) != os.getpid() and _names(Path("/proc", entry), wanted):
            found += [process] if (process := _read(int(entry))) else []
    return found


def _names(process: Path, wanted: bytes) -> bool:
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):
            if wanted in (process / name).read_bytes():
                return True
    with contextlib.suppress(OSError):
        # What is mounted, as boxes do it, not where: that small disks are, every process of the machine is shown.
        if any(wanted in line.split()[3] for line in (process / "mountinfo").read_bytes().splitlines()):
            return True
    with contextlib.suppress(OSError):
        return wanted in bytes((process / "cwd").readlink())
    return False


def _read(pid: int) -> Process | None:
    """None: there is no such process, or it has ended and only waits to be collected."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        if fields[0] not in "ZX":
            return Process(pid, fields[19], int(fields[1]))
    return None
