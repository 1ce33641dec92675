"""What a node takes that has nothing to do: processor time and memory of all its processes.

    python -m bench.idle [--seconds 20]

Starts one node alone and then a mesh of three, as users do. Memory is the proportional set size: a page that n share
counts as 1/n for each. Processor time is what the scheduler gave to each thread, in nanoseconds: the ticks of
/proc/PID/stat are too coarse for so little.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.nodes import running_nodes
from bench.row import Row

MIB = 1024**2
GOAL_CORE, GOAL_MEMORY = 0.01, 120 * MIB
_SETTLING_S = 5.0
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one node: `core` is the part of one processor, `memory` in bytes."""

    core: float
    memory: int
    processes: int


def measure(seconds: float = 20.0) -> list[Row]:
    """One row for processor time and one for memory, of a node alone and of the greediest of three."""
    rows = []
    for count, name in ((1, "alone"), (3, "in a mesh of three")):
        with tempfile.TemporaryDirectory() as folder, running_nodes(Path(folder), count):
            time.sleep(_SETTLING_S)
            usages = watch(_roots(), seconds)
        core, memory = max(usage.core for usage in usages), max(usage.memory for usage in usages)
        processes = max(usage.processes for usage in usages)
        detail = f"the most of {count}, {processes} processes, over {seconds:.0f} s"
        goal = f"<= {GOAL_CORE:.0%} of a core"
        rows.append(Row(f"idle node {name}: processor", f"{core:.2%} of a core", goal, core <= GOAL_CORE, detail))
        goal = f"<= {GOAL_MEMORY // MIB} MiB"
        figure = f"{memory / MIB:.0f} MiB"
        rows.append(Row(f"idle node {name}: memory", figure, goal, memory <= GOAL_MEMORY, detail))
    return rows


def watch(roots: Iterable[int], seconds: float) -> list[Usage]:
    """A node for each of its first processes."""
    before = {root: _processor_ns(_tree(root)) for root in roots}
    begun = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    found = []
    for root, earlier in before.items():
        pids = _tree(root)
        found.append(Usage((_processor_ns(pids) - earlier) / 1e9 / took, sum(map(_memory, pids)), len(pids)))
    return found


def _roots() -> list[int]:
    return [pid for pid in _children(os.getpid()) if b"run_node.py" in _bytes_of(pid, "cmdline")]


def _tree(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in _tasks(pid):
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def _processor_ns(pids: Iterable[int]) -> int:
    """A thread that ends in between is missing; an idle node begins and ends none."""
    total = 0
    for pid in pids:
        for task in _tasks(pid):
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def _memory(pid: int) -> int:
    lines = _bytes_of(pid, "smaps_rollup").decode().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss:", "SwapPss:")))


def _tasks(pid: int) -> list[Path]:
    try:
        return list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def _bytes_of(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    rows = measure(parser.parse_args(arguments).seconds)
    for row in rows:
        print(f"{row.name}: {row.figure} (goal: {row.goal}) {row.detail}")  # noqa: T201
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
