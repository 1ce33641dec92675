"""Control groups that count what all processes in them use, and that can hold them to a part of a processor.

Counting needs no controller of version 2, so it works wherever a group may be made at all. Unlike waiting for children
it misses nothing: not those that nobody waited for, nor those whose parent ignores SIGCHLD.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from testmesh.testing.cgroups import Groups, remove

_PERIOD_US = 100_000
_ENTER = 'echo $$ >"$0/cgroup.procs" && exec "$@"'


class NoGroupError(Exception):
    """No such control group can be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Group:
    """`folders`: the same group in every hierarchy that is used; the first one counts."""

    folders: tuple[Path, ...]

    def cpu_seconds(self) -> float:
        """User and system time of all that ever ran in it."""
        statistics = self.folders[0] / "cpu.stat"
        if not statistics.exists():  # version 1, controller cpuacct: nanoseconds
            return int((self.folders[0] / "cpuacct.usage").read_text()) / 1e9
        fields = dict(line.split() for line in statistics.read_text().splitlines())
        return int(fields["usage_usec"]) / 1e6

    def entered_by(self, command: Sequence[str]) -> list[str]:
        """A command that runs `command` in the group, as the same process."""
        found = list(command)
        for folder in self.folders:
            found = ["/bin/sh", "-c", _ENTER, str(folder), *found]
        return found


@contextlib.contextmanager
def group(cores: float | None = None, mounts: Path = Path("/proc/self/mountinfo")) -> Iterator[Group]:
    """A new group, held to `cores` processors where that is given; what is left in it is killed at the end.

    Raises:
        NoGroupError: this user or this machine cannot have one.
    """
    hierarchies = _hierarchies(mounts.read_text())
    name = f"bench-{uuid4().hex[:12]}"
    made: list[Path] = []
    try:
        try:
            made.append(_counting(hierarchies, name))
            if cores is not None:
                made += _limit(made[0], hierarchies, name, cores)
        except OSError as error:
            raise NoGroupError(f"no control group: {error.strerror} ({error.filename})") from error
        yield Group(tuple(made))
    finally:
        remove(Groups((2, str(folder), ()) for folder in made))


def busy_seconds(proc: Path = Path("/proc")) -> float:
    """Processor time that the whole machine has used since it started: where there is no group, the next best."""
    user, nice, system, _idle, _waiting, hard, soft, *_ = map(int, (proc / "stat").read_text().split()[1:9])
    return (user + nice + system + hard + soft) / os.sysconf("SC_CLK_TCK")


def _counting(hierarchies: dict[str, Path], name: str) -> Path:
    for controller in ("2", "cpuacct"):
        if controller in hierarchies:
            folder = hierarchies[controller] / name
            folder.mkdir()
            return folder
    raise NoGroupError("no control groups are mounted here")


def _limit(counting: Path, hierarchies: dict[str, Path], name: str, cores: float) -> list[Path]:
    """Where the limit needs a hierarchy of its own: the group in it."""
    quota = round(_PERIOD_US * cores)
    if "cpu" in hierarchies:  # version 1; the two controllers are often mounted together
        folder = hierarchies["cpu"] / name
        is_another = not folder.exists()
        if is_another:
            folder.mkdir()
        (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (folder / "cpu.cfs_quota_us").write_text(str(quota))
        return [folder] if is_another else []
    if not (counting / "cpu.max").exists():
        (counting.parent / "cgroup.subtree_control").write_text("+cpu")
    (counting / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
    return []


def _hierarchies(mountinfo: str) -> dict[str, Path]:
    """Where they are mounted: "2", and of version 1 each controller."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4])
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            found.setdefault("2", point)
        elif kind == "cgroup":
            for controller in options.split(","):
                found.setdefault(controller, point)
    return found
