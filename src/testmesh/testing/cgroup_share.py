"""What control groups leave of the machine's processors and memory to this process: the tightest bound above it counts.

In both versions a group's numbers are those of all groups below it too.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testmesh.testing.cgroup_mounts import find

_CONTROLLERS = {"cpu": "cpu", "cpuacct": "cpuacct", "memory": "memory"}
_USEC, _NSEC = 1e-6, 1e-9


@dataclass(frozen=True, slots=True)
class Quota:
    """A group that may use `cores` processors: so much of every `period_s` seconds, and then it is throttled."""

    folder: Path
    version: int
    cores: float
    period_s: float
    usage: Path | None  # version 1: counts what it used; None: nothing does

    def used_s(self) -> float | None:
        """Processor seconds until now; None: not counted. Raises OSError, ValueError."""
        if self.version == 2:
            return _number(self.folder / "cpu.stat", "usage_usec") * _USEC
        return None if self.usage is None else _number(self.usage) * _NSEC

    def throttled_s(self) -> float:
        """Seconds that its tasks waited for the next period, of all processors. Raises OSError, ValueError."""
        if self.version == 2:
            return _number(self.folder / "cpu.stat", "throttled_usec") * _USEC
        return _number(self.folder / "cpu.stat", "throttled_time") * _NSEC


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    folder: Path
    version: int
    limit: int  # bytes

    def free(self) -> int:
        """Bytes that can still be had: pages of files that nobody used of late give way. Raises OSError, ValueError."""
        if self.version == 2:
            used, cached = (
                _number(self.folder / "memory.current"),
                _number(self.folder / "memory.stat", "inactive_file"),
            )
        else:
            used = _number(self.folder / "memory.usage_in_bytes")
            cached = _number(self.folder / "memory.stat", "total_inactive_file")
        return max(0, self.limit - max(0, used - cached))


@dataclass(frozen=True, slots=True)
class Share:
    quota: Quota | None = None
    memory: tuple[MemoryLimit, ...] = ()


def own_share(root: Path = Path("/")) -> Share:
    """Nothing where it cannot be told. `root`: below which /proc and the groups are."""
    try:
        mounts, own = ((root / "proc/self" / name).read_text(encoding="utf-8") for name in ("mountinfo", "cgroup"))
        found = find(mounts, own, _CONTROLLERS)
        groups = {name: (h.version, root / h.folder.lstrip("/")) for h in found for name in h.limits}
        own_paths = _own_paths(own)
    except (OSError, ValueError):
        return Share()
    accounts = groups.get("cpuacct") if own_paths.get("cpuacct") == own_paths.get("cpu") else None
    return Share(
        quota=_tightest_quota(groups.get("cpu"), accounts[1] if accounts and accounts[0] == 1 else None),
        memory=tuple(_memory_limits(*groups["memory"])) if "memory" in groups else (),
    )


def _own_paths(own: str) -> dict[str, str]:
    """Of this process's group, by controller of version 1."""
    found = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        found.update(dict.fromkeys(names.split(","), path))
    return found


def _tightest_quota(group: tuple[int, Path] | None, accounts: Path | None) -> Quota | None:
    """`accounts`: where version 1 counts what that same group uses."""
    if group is None:
        return None
    version, own = group
    found = []
    for level, folder in _upwards(own, "cpu.max" if version == 2 else "cpu.cfs_quota_us"):
        with suppress(OSError, ValueError):
            if version == 2:
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
            if quota != "max" and int(quota) > 0:
                counted = None if accounts is None else [accounts, *accounts.parents][level] / "cpuacct.usage"
                found.append(Quota(folder, version, int(quota) / int(period), int(period) * _USEC, counted))
    return min(found, key=lambda quota: quota.cores, default=None)


def _memory_limits(version: int, own: Path) -> Iterator[MemoryLimit]:
    name = "memory.max" if version == 2 else "memory.limit_in_bytes"
    for _, folder in _upwards(own, name):
        with suppress(OSError, ValueError):
            text = (folder / name).read_text().strip()
            if text != "max":
                yield MemoryLimit(folder, version, int(text))


def _upwards(own: Path, name: str) -> Iterator[tuple[int, Path]]:
    """How far above the group, and which: the group and those above it that have a file of that name.

    In version 2 a group has it only where the controller was handed down to it.
    """
    return ((level, folder) for level, folder in enumerate((own, *own.parents)) if (folder / name).exists())


def _number(path: Path, key: str = "") -> int:
    """The number in a file, or behind `key` in a file of such lines. Raises OSError, ValueError."""
    text = path.read_text(encoding="ascii")
    if not key:
        return int(text)
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    raise ValueError(f"{path} does not tell {key}")
