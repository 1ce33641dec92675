"""Evaluations of hostile projects one after another on one node: what they cost it for good."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.attacks import guard
from tests.attacks.harness import Batch, run_batch
from tests.attacks.model import Attack
from tests.attacks.target import Range
from tests.support.mesh import RunningNode

_WARM_UP = 3
_EVERY = 5  # of the dishonest exits, which are many and alike


@dataclass(frozen=True)
class Usage:
    """Of all processes of the node together. Sizes in KiB; `history` is what it is meant to keep."""

    resident: int
    descriptors: int
    threads: int
    processes: int
    disk: int
    history: int

    @staticmethod
    def of(node: RunningNode) -> "Usage":
        assert node.process is not None
        found = [node.process.pid, *guard.descendants(node.process.pid)]
        status = [_status(pid) for pid in found]
        history = sum(_size(node.data / name) for name in ("archives", "mesh.db", "mesh.db-wal"))
        return Usage(
            resident=sum(s.get("VmRSS", 0) for s in status),
            descriptors=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in found),
            threads=sum(s.get("Threads", 0) for s in status),
            processes=len(found),
            disk=_size(node.data) - history,
            history=history,
        )


def repeat(at: Range, attacks: Sequence[Attack], count: int) -> str:
    """Run the quick ones `count` times; a table of the node's use before, after the warm-up and at the end."""
    assert at.node is not None, "only of a node of our own"
    batch = Batch("quick", tuple(_some(attacks)), {"module_timeout_s": 60.0}, siblings=2)
    lines = [
        f"{'':14} {'RSS KiB':>9} {'files':>6} {'threads':>8} {'processes':>10} {'disk KiB':>9} {'history KiB':>12}"
    ]
    lines.append(_line("before", Usage.of(at.node)))
    wrong: dict[str, int] = {}
    started = time.monotonic()
    for number in range(1, count + 1):
        for name in run_batch(at, batch, is_short=True).wrong:
            wrong[name] = wrong.get(name, 0) + 1
        if number == _WARM_UP:
            lines.append(_line(f"after {number}", Usage.of(at.node)))
    lines.append(_line(f"after {count}", Usage.of(at.node)))
    lines.append(
        f"{at.level}: {count} evaluations of {len(batch.attacks)} attacks in {time.monotonic() - started:.0f} s"
    )
    return "\n".join(lines + [f"  {name}: not as stated {times} times" for name, times in sorted(wrong.items())])


def _some(attacks: Sequence[Attack]) -> list[Attack]:
    quick = [attack for attack in attacks if not attack.takes_long and not attack.installs]
    verdicts = [attack for attack in quick if attack.group in ("dishonest exits", "installs")]
    others = [attack for attack in quick if attack.group not in ("dishonest exits", "installs")]
    return verdicts[::_EVERY] + others


def _line(name: str, used: Usage) -> str:
    return (
        f"{name:14} {used.resident:9} {used.descriptors:6} {used.threads:8} {used.processes:10} {used.disk:9} "
        f"{used.history:12}"
    )


def _status(pid: int) -> dict[str, int]:
    pairs = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(value.split()[0]) for name, value in pairs if name in ("VmRSS", "Threads")}


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    return sum(file.stat().st_blocks for file in files) // 2
