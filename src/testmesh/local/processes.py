"""Processes that outlive who started them: started apart, recognised later, stopped for certain."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testmesh.local.errors import LocalError

_POLL_S = 0.05
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid alone may name another process by now; with the time it started it cannot."""

    pid: int
    started: str


def start(command: list[str], environ: Mapping[str, str], log: Path, folder: Path) -> ProcessId:
    """Start it in a session of its own (Ctrl-C in the terminal does not reach it), its output appended to `log`.

    Raises:
        LocalError: it ended at once.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = _table().get(process.pid)
    if started is None:
        raise LocalError(f"{command[0]} ended at once; {log} says why")
    return ProcessId(process.pid, started[1])


def is_alive(process: ProcessId) -> bool:
    _reap(process.pid)
    found = _table().get(process.pid)
    return found is not None and found[1] == process.started


def stop(processes: Iterable[ProcessId], grace_s: float) -> None:
    """SIGTERM to each, and after `grace_s` SIGKILL; then to whatever of their descendants is left."""
    alive = [process for process in processes if is_alive(process)]
    family = [*alive, *_descendants(alive)]
    _signal(alive, signal.SIGTERM)
    if not _wait(alive, grace_s):
        family += _descendants(alive)
        _signal([process for process in alive if is_alive(process)], signal.SIGKILL)
    left = [process for process in family if is_alive(process)]
    _signal(left, signal.SIGKILL)
    if not _wait(left, 10):
        pids = ", ".join(str(process.pid) for process in left if is_alive(process))
        raise LocalError(f"could not stop process {pids}; is it another user's?")


def _wait(processes: list[ProcessId], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(processes: Iterable[ProcessId], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _descendants(parents: Iterable[ProcessId]) -> list[ProcessId]:
    table = _table()
    found: list[ProcessId] = []
    wanted = {process.pid for process in parents}
    while wanted:
        children = {pid for pid, (parent, _) in table.items() if parent in wanted}
        found += [ProcessId(pid, table[pid][1]) for pid in children]
        wanted = children
    return found


def _reap(pid: int) -> None:
    """Where it was started by this very process it stays a zombie until waited for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except OSError:
        return


def _table() -> dict[int, tuple[int, str]]:
    """Every process that is no zombie: pid to (its parent's, when it started)."""
    return _from_proc() if (_PROC / "self" / "stat").exists() else _from_ps()


def _from_proc() -> dict[int, tuple[int, str]]:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    table = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The command's name, in parentheses, may itself hold spaces and parentheses.
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            table[int(entry.name)] = (int(fields[1]), f"{boot}:{fields[19]}")
    return table


def _from_ps() -> dict[int, tuple[int, str]]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat=,lstart="], check=True, capture_output=True, text=True
    ).stdout
    rows = (line.split(None, 3) for line in listing.splitlines())
    return {int(pid): (int(parent), started) for pid, parent, state, started in rows if not state.startswith("Z")}
