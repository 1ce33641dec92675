"""The processes of a run as seen from outside by a process above it: what they use, and how none is left.

They are hostile: they fork and end while they are looked at. Whatever vanishes on the way is left out. Linux, by /proc;
elsewhere a tree is its root alone, which uses nothing.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

_READ = 64 * 1024  # bytes of a file of /proc that are read at a time
_OWN_MEMORY = ("RssAnon:", "RssShmem:", "VmSwap:")
_OWN_SHARE, _SHARE = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:"), ("Pss:", "SwapPss:")  # the latter before Linux 5.3


class Usage:
    """`tasks`: processes and threads. `memory`: bytes. `cpu_s`: seconds of processor time."""

    __slots__ = ("cpu_s", "memory", "processes", "tasks")

    def __init__(self, processes: int, tasks: int, memory: int, cpu_s: float) -> None:
        self.processes = processes
        self.tasks = tasks
        self.memory = memory
        self.cpu_s = cpu_s


def usage(root: int, proc: str = "/proc") -> Usage:
    """What `root` and all below it use now; zero if it is gone.

    Memory is what a process has to itself or shares with others of the run, swapped out or not, but no pages of files:
    those are the machine's cache, and the interpreter's are the same for all runs. Pages that forked processes still
    share are counted for each, so it is never too little; ask `proportional_memory` where it is over a limit. Not seen:
    memory that no process has mapped (memfd, pipes, sockets), which only a control group counts.

    Processor time is that of the living and of what they waited for, so it can fall when a process ends, and it misses
    children that were never waited for (SIGCHLD ignored): keep the greatest, and limit the wall time too.
    """
    processes = tasks = memory = ticks = 0
    for pid in _tree(root, proc):
        try:
            stat = _fields(f"{proc}/{pid}/stat")
            memory += _sum_kib(f"{proc}/{pid}/status", _OWN_MEMORY)
        except (OSError, ValueError, IndexError):
            continue
        processes += 1
        tasks += int(stat[17])
        ticks += sum(map(int, stat[11:15]))  # utime, stime, cutime, cstime
    return Usage(processes, tasks, memory, ticks / os.sysconf("SC_CLK_TCK"))


def ready_below(root: int, nicest: int, proc: str = "/proc") -> int:
    """How many processes below `root` compute, or wait for a processor to do so, at this moment.

    `nicest`: those with a greater nice value, which give way to the others, are left out.
    """
    ready = 0
    for pid in descendants(root, proc):
        with suppress(OSError, ValueError, IndexError):
            stat = _fields(f"{proc}/{pid}/stat")
            ready += stat[0] == b"R" and int(stat[16]) <= nicest
    return ready


def proportional_memory(root: int, proc: str = "/proc") -> int:
    """Bytes of memory of `root` and all below it, a page that n processes share counted as 1/n for each.

    Takes milliseconds a process: for when `usage` is over the limit. Where it may not be read for a process (that of
    another user), as `usage` has it. A process that is just being started by vfork has all its parent's memory until it
    executes its program: believe it only if it is over twice, some 20 ms apart.
    """
    memory = 0
    for pid in _tree(root, proc):
        with suppress(OSError, ValueError, IndexError):
            try:
                exact = f"{proc}/{pid}/smaps_rollup"
                memory += _sum_kib(exact, _OWN_SHARE) or _sum_kib(exact, _SHARE)
            except OSError:
                memory += _sum_kib(f"{proc}/{pid}/status", _OWN_MEMORY)
    return memory


# Processes -----------------------------------------------------------------------------------


def descendants(root: int, proc: str = "/proc") -> list[int]:
    """The processes below `root`, parents before children, as far as one look can tell while they fork."""
    return _tree(root, proc)[1:]


def kill_descendants(proc: str = "/proc") -> None:
    """Kill everything below this process, which adopts orphans (see `namespaces`), and wait for all of it.

    Its children first, whose own become its children then: so what forks all the time is met at once. One look can miss
    some, so what counts is the kernel's word that no child is left. Reaps every child there is.

    Raises:
        PermissionError: one of them changed its user, which `no_new_privileges` rules out.
    """
    me = os.getpid()
    while _reap():
        try:
            alive = _children(me, proc)
        except FileNotFoundError:
            alive = descendants(me, proc)
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if alive:
            with suppress(ChildProcessError):
                os.waitpid(alive[0], 0)  # the first is a child in any case
        elif not os.path.exists(f"{proc}/{me}"):  # noqa: PTH110
            return  # without /proc there is no way to find them


def _reap() -> bool:
    """Collect the ended children; whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _tree(root: int, proc: str) -> list[int]:
    """`root` and all below it, parents first."""
    found, seen = [root], {root}
    for pid in found:  # grows while it is read
        try:
            children = _children(pid, proc)
        except FileNotFoundError:
            if pid == root:  # it is gone, or the kernel does not have these lists (CONFIG_PROC_CHILDREN)
                return _tree_by_parents(root, proc)
            continue
        found += [child for child in children if child not in seen]
        seen.update(children)
    return found


def _children(pid: int, proc: str) -> list[int]:
    """The processes that its threads forked.

    Raises:
        FileNotFoundError: there is no list of them.
    """
    found: list[int] = []
    lists = 0
    for task in os.listdir(f"{proc}/{pid}/task"):  # noqa: PTH208
        with suppress(FileNotFoundError):
            found += map(int, _read(f"{proc}/{pid}/task/{task}/children").split())
            lists += 1
    if not lists:
        raise FileNotFoundError(f"{proc}/{pid}/task")
    return found


def _tree_by_parents(root: int, proc: str) -> list[int]:
    children: dict[int, list[int]] = {}
    with suppress(FileNotFoundError):  # no /proc at all
        for name in os.listdir(proc):  # noqa: PTH208
            with suppress(OSError, ValueError, IndexError):
                children.setdefault(int(_fields(f"{proc}/{int(name)}/stat")[1]), []).append(int(name))
    found = [root]
    for pid in found:  # grows while it is read
        found += children.get(pid, ())
    return found


def _fields(path: str) -> list[bytes]:
    """The fields of a `stat` after the program's name, which can hold anything: its state is field 0."""
    return _read(path).rpartition(b")")[2].split()


def _sum_kib(path: str, names: tuple[str, ...]) -> int:
    """The sum of those lines of `path`, in bytes; a kernel thread or a process that ended has none of them."""
    total = 0
    for line in _read(path).decode("ascii", "replace").splitlines():
        if line.startswith(names):
            total += int(line.split()[1])
    return total * 1024


def _read(path: str) -> bytes:
    """A file of /proc.

    Raises:
        FileNotFoundError: its process has ended.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    data = b""
    try:
        while piece := os.read(descriptor, _READ):
            data += piece
    except ProcessLookupError as error:  # it ended since it was opened
        raise FileNotFoundError(path) from error
    finally:
        os.close(descriptor)
    return data
