"""A control group a run, which limits its memory and its processes, where this machine lets the node make some.

The node has a home, a group below its own, with one group a run in it. In version 2 only a group without processes can
hand controllers to groups below it; so the node moves its own processes into a leaf, if no others are in its group.

A run can neither leave its group nor change it: the files belong to the node's user, and are out of a run's reach.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import suppress

from testmesh.testing.cgroup_mounts import CONTROLLERS, Hierarchy, find
from testmesh.testing.process_tree import descendants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PREFIX, _LEAF = "testmesh-", "-node"
_MOVES = 10  # passes, as the node's processes can fork while they are moved
_KILLS, _PAUSE_S = 100, 0.01  # passes, until what was killed has left its group
_NEAR = 1024 * 1024  # bytes below its limit at which a group can be out of memory: what was to be added is not counted

_READ_ONLY = (
    "the control groups are mounted read-only here (Docker from 28 on and version 2 makes them writable with "
    "--security-opt writable-cgroups=true, Podman with --security-opt unmask=/sys/fs/cgroup)"
)
_SYSTEMD = "start the node as a systemd service with Delegate=yes and KillMode=mixed"
_NOT_ALONE = f"other programs are in the node's control group: {_SYSTEMD}"
_NOT_GIVEN = f"its controllers are not given to the node's group: {_SYSTEMD}"


class Groups:
    """A group, in each hierarchy that is used. `folders`: (version, path, limits) each, so that JSON can have it."""

    __slots__ = ("folders",)

    def __init__(self, folders: Iterable[tuple[int, str, Sequence[str]]]) -> None:
        self.folders = [(version, path, tuple(limits)) for version, path, limits in folders]

    @property
    def limits(self) -> frozenset[str]:
        """Which of "memory" and "processes" it limits."""
        return frozenset(limit for _, _, limits in self.folders for limit in limits)


# The node's home -----------------------------------------------------------------------------


def home_name(pid: int, proc: str = "/proc") -> str:
    """What the home of the node `pid` is called: later, `sweep` can tell from it whether that node lives.

    Raises:
        OSError: there is no such process.
    """
    return f"{_PREFIX}{os.stat(f'{proc}/{pid}/ns/pid').st_ino}-{pid}-{_start_time(pid, proc)}"  # noqa: PTH116


def make_home(name: str, mountinfo: str, own: str, node: int) -> tuple[Groups | None, str]:
    """The node's home, and why it does not limit everything, or "". Call it once, at the start of the node.

    `node`: the node's process; it and those below it are moved into a leaf where version 2 needs that.
    """
    folders, causes = [], []
    hierarchies = _hierarchies(mountinfo, own)
    for hierarchy in hierarchies:
        try:
            if hierarchy.is_read_only:
                raise OSError(errno.EROFS, _READ_ONLY)  # noqa: TRY301 - told as the others are
            limits = hierarchy.limits if hierarchy.version == 1 else _share_controllers(hierarchy, name, node)
            path = f"{hierarchy.folder}/{name}"
            os.mkdir(path)  # noqa: PTH102
            folders.append((hierarchy.version, path, limits))
            if hierarchy.version == 2:
                _write(f"{path}/cgroup.subtree_control", _switched_on(limits))
                causes += [f"{limit}: {_NOT_GIVEN}" for limit in hierarchy.limits if limit not in limits]
        except OSError as error:
            causes.append(f"{' and '.join(hierarchy.limits)}: {_why(error)}")
    missing = set(CONTROLLERS.values()) - {limit for hierarchy in hierarchies for limit in hierarchy.limits}
    causes += [f"{limit}: no control groups for that are mounted here" for limit in sorted(missing)]
    cause = f"no limit by control groups of {'; of '.join(causes)}" if causes else ""
    return (Groups(folders) if folders else None), cause


def _hierarchies(mountinfo: str, own: str) -> list[Hierarchy]:
    """Those there are; where an earlier process of the node moved this one into a leaf, from above that."""
    found = find(mountinfo, own)
    for hierarchy in found:
        above, name = os.path.split(hierarchy.folder)
        if name.startswith(_PREFIX) and name.endswith(_LEAF):
            hierarchy.folder = above
    return found


def _share_controllers(hierarchy: Hierarchy, name: str, node: int) -> tuple[str, ...]:
    """Version 2: hand the controllers to groups below the node's; which limits that gives."""
    group = hierarchy.folder
    given = _read(f"{group}/cgroup.controllers").split()
    limits = tuple(
        limit for controller, limit in CONTROLLERS.items() if limit in hierarchy.limits and controller in given
    )
    if not limits:
        raise OSError(errno.EOPNOTSUPP, _NOT_GIVEN)
    try:
        _write(f"{group}/cgroup.subtree_control", _switched_on(limits))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _move_into_leaf(group, f"{group}/{name}{_LEAF}", limits, node)
    return limits


def _move_into_leaf(group: str, leaf: str, limits: Sequence[str], node: int) -> None:
    if not set(_processes(group)) <= {node, *descendants(node)}:
        raise OSError(errno.EBUSY, _NOT_ALONE)
    os.mkdir(leaf)  # noqa: PTH102
    for _ in range(_MOVES):
        _move(group, leaf)
        try:
            _write(f"{group}/cgroup.subtree_control", _switched_on(limits))
        except OSError:
            continue
        return
    _move(leaf, group)
    os.rmdir(leaf)  # noqa: PTH106
    raise OSError(errno.EBUSY, _NOT_ALONE)


def _move(source: str, target: str) -> None:
    for pid in _processes(source):
        with suppress(ProcessLookupError):
            _write(f"{target}/cgroup.procs", str(pid))


def _switched_on(limits: Sequence[str]) -> str:
    return " ".join(f"+{controller}" for controller, limit in CONTROLLERS.items() if limit in limits)


def _why(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not change the node's control group: {_SYSTEMD}"
    return _READ_ONLY if error.errno == errno.EROFS else error.strerror or str(error)


# One run -------------------------------------------------------------------------------------


def enter(home: Groups, run: str, pid: int, memory: int, processes: int) -> Groups:
    """Put `pid` into a group of its own, called `run`, and so all that it starts from now on.

    `memory`: bytes, to which files on a tmpfs count too. `processes`: threads included. What the process has in memory
    already stays charged to the node's group.

    Raises:
        OSError: it cannot be done; no group is left, and `pid` lives unless it was in one already.
    """
    group = Groups((version, f"{path}/{run}", limits) for version, path, limits in home.folders)
    try:
        for version, path, limits in group.folders:
            os.mkdir(path)  # noqa: PTH102
            _set_limits(version, path, limits, memory, processes)
        for _, path, _ in group.folders:
            _write(f"{path}/cgroup.procs", str(pid))
    except OSError:
        remove(group)
        raise
    return group


def _set_limits(version: int, path: str, limits: Sequence[str], memory: int, processes: int) -> None:
    if "processes" in limits:
        _write(f"{path}/pids.max", str(processes))
    if "memory" in limits and version == 1:
        _write(f"{path}/memory.limit_in_bytes", str(memory))
        with suppress(OSError):  # only kernels that count swap have it
            _write(f"{path}/memory.memsw.limit_in_bytes", str(memory))
    elif "memory" in limits:
        _write(f"{path}/memory.max", str(memory))
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with suppress(OSError):
                _write(f"{path}/{name}", value)


def add(group: Groups, pids: Iterable[int]) -> None:
    """Put more processes into a group, as far as they live."""
    for pid in pids:
        for _, path, _ in group.folders:
            with suppress(OSError):
                _write(f"{path}/cgroup.procs", str(pid))


def members(group: Groups) -> set[int]:
    """Those that are in it in every hierarchy."""
    found = [set(_processes(path)) for _, path, _ in group.folders]
    return set.intersection(*found) if found else set()


def was_over(group: Groups) -> str:
    """ "memory" if a process of the group was killed for its memory, "processes" if it could not start one, else "".

    Not said of a group: what befell it since the machine, or a group above it, ran short. Version 1 kills one process
    and version 2 all of the group, so end the run where this says "memory". Two or three small files are read.
    """
    for version, path, limits in group.folders:
        if "memory" in limits and (_over_memory_1(path) if version == 1 else _over_memory_2(path)):
            return "memory"
    for _, path, limits in group.folders:
        if "processes" in limits and _over_processes(path):
            return "processes"
    return ""


def _over_memory_1(path: str) -> bool:
    """Processes that are killed as the whole machine is short count, too: its own limit must have been reached."""
    killed = _number(f"{path}/memory.oom_control", "oom_kill")
    peak, most = _number(f"{path}/memory.max_usage_in_bytes"), _number(f"{path}/memory.limit_in_bytes")
    return killed > 0 and (not peak or peak + _NEAR >= most)


def _over_memory_2(path: str) -> bool:
    return _number(f"{path}/memory.events", "oom_kill") > 0 and _number(f"{path}/memory.events", "oom") > 0


def _over_processes(path: str) -> bool:
    """Older kernels count the limits of groups above, too; some newer ones tell the peak."""
    peak, most = _number(f"{path}/pids.peak"), _number(f"{path}/pids.max")
    return _number(f"{path}/pids.events", "max") > 0 and (not peak or peak >= most)


def remove(group: Groups) -> bool:
    """Kill what is left in the group and take it away; False where something in it does not die within a second.

    Nothing in it can start a process while this goes on, where it limits processes.
    """
    for _, path, _ in group.folders:
        for name, value in (("pids.max", "0"), ("cgroup.kill", "1")):
            with suppress(OSError):
                _write(f"{path}/{name}", value)
    gone = [_remove(path) for _, path, _ in group.folders]
    return all(gone)


def _remove(path: str) -> bool:
    for _ in range(_KILLS):
        _kill_all(path)
        try:
            _remove_folders(path)
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(_PAUSE_S)  # what was killed needs a moment to leave
        else:
            return True
    return False


def _kill_all(path: str) -> None:
    with suppress(OSError):
        for pid in _processes(path):
            if pid > 0:  # 0: of another pid namespace
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _remove_folders(path: str) -> None:
    for below in _groups_in(path):
        _kill_all(below)
        _remove_folders(below)
    os.rmdir(path)  # noqa: PTH106


# What dead nodes left ------------------------------------------------------------------------


def sweep(mountinfo: str, own: str, proc: str = "/proc") -> None:
    """Take away the homes of nodes that are dead, and kill what still runs in them. Call it before `make_home`.

    Homes of nodes in other pid namespaces are left alone: it cannot be told whether those live.
    """
    for hierarchy in _hierarchies(mountinfo, own):
        for path in _groups_in(hierarchy.folder):
            name = os.path.basename(path)  # noqa: PTH119
            if not name.startswith(_PREFIX) or _lives(name.removesuffix(_LEAF), proc):
                continue
            if name.endswith(_LEAF):  # what is in there was no run: not ours to kill
                with suppress(OSError):
                    os.rmdir(path)  # noqa: PTH106
            else:
                _remove(path)


def _lives(name: str, proc: str) -> bool:
    """Whether the node that made a home of this name lives, or may do so."""
    try:
        space, pid, start = map(int, name.removeprefix(_PREFIX).split("-"))
        if space != os.stat(f"{proc}/self/ns/pid").st_ino:  # noqa: PTH116
            return True
        return _start_time(pid, proc) == start
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True


def _start_time(pid: int, proc: str) -> int:
    """When the process started, in clock ticks since the machine did."""
    return int(_read(f"{proc}/{pid}/stat").rpartition(")")[2].split()[19])


# Files ---------------------------------------------------------------------------------------


def _processes(path: str) -> list[int]:
    return [int(pid) for pid in _read(f"{path}/cgroup.procs").split()]


def _groups_in(path: str) -> list[str]:
    with suppress(OSError), os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _number(path: str, key: str = "") -> int:
    """The number in a file, or behind `key` in a file of such lines; 0 where there is none or it is no number."""
    with suppress(OSError):
        for line in _read(path).splitlines():
            name, _, value = line.rpartition(" ")
            if name == key and value.isdecimal():
                return int(value)
    return 0


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return file.read()


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
