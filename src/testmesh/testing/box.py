"""One run of foreign code in a box, from outside: makes the namespaces, watches the limits, leaves nothing.

    launcher ─fork─ this process ─clone─ process 1 of the box (supervisor.py) ─fork─ tests, services

This process stays in the node's own namespaces, where nothing in the box can see or reach it. The box's process 1 is
ended by whatever comes first: its own end, the end of the lifeline (the node wants it, or is dead), the end of this
process, a limit. With it the kernel kills all processes of its namespace.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress

from testmesh.testing import cgroups, process_tree, shared_memory
from testmesh.testing.confinement import Unwinding, execute
from testmesh.testing.folder_size import folder_size
from testmesh.testing.namespaces import (
    NEWNET,
    NEWPID,
    NEWUSER,
    NEWUTS,
    adopt_orphans,
    become,
    die_with_parent,
    fork_into,
    loopback_up,
    map_ids,
    set_dumpable,
    set_host_name,
    write_file,
)
from testmesh.testing.private_root import CodeTooLargeError, Sources, build
from testmesh.testing.supervisor import Supervisor, wake_at_child_end
from testmesh.testing.unnamed_files import unnamed_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from testmesh.testing.confinement import Program
    from testmesh.testing.supervisor import Pipes

_LOOK_S = 0.2  # how often what a run uses is looked at
_LOOK_CLOSELY_S = 0.5  # at disk and unnamed files
_AGAIN_S = 0.02
_PASSES = 20
_SPARE_TASKS = 8  # the box's own, and those of services, each of which has a count of its own
_NICE = 5
_END_S = 2.0  # for process 1 to end by itself once the lifeline has ended


def run(request: dict[str, Any], pipes: Pipes, tests: Program = execute) -> None:
    """Run a request to its end and answer through `pipes.status`; nothing that it started is left.

    `tests`: what the process of the tests becomes, confined, with the request's command.

    Raises:
        OSError: the box cannot be made.
        Unwinding: `tests` raised it, in their process.
    """
    flags = request["namespaces"]
    if not flags & NEWPID:
        adopt_orphans()  # so that all descendants can be found and killed
    wake = wake_at_child_end()
    gates = _Gates()
    if request["uid"] is not None:
        for descriptor in (pipes.stdout, pipes.stderr):
            os.fchown(descriptor, request["uid"], request["uid"])  # so that /dev/stdout can be opened
    own = os.geteuid(), os.getegid()
    pid = fork_into(flags) if flags else os.fork()
    if pid == 0:
        _become_process_1(request, pipes, gates, own, tests)
    try:
        if not gates.ready.wait():  # it has said why
            os.waitpid(pid, 0)
            return
        if flags & NEWUSER and request["uid"] is not None:
            map_ids(str(pid), 0, request["uid"], request["uid"])
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    with suppress(OSError):  # a hint, where sessions share the processor: the kernel takes few a second from a user
        write_file(f"/proc/{pid}/autogroup", str(_NICE))
    gates.mapped.open()
    # The kernel can take 10 to 20 ms to move a process: too long to wait for. Before the tests have an interpreter, it
    # is done.
    group = _enter_group(request, pid)
    try:
        for descriptor in {pipes.stdout, pipes.stderr, pipes.events} - {-1}:
            os.close(descriptor)
        over, cpu_time = _Watch(request, pid, wake, group).until_end(pipes.lifeline)
    finally:
        if not flags & NEWPID:
            _sweep(request["uid"])
        over_group = _leave_group(group)
        if _shares_memory(request):
            shared_memory.remove_of(request["uid"])
    exceeded = {"over": over or over_group} if over or over_group else {}
    pipes.say(cpu_time=cpu_time, **exceeded)


def _shares_memory(request: dict[str, Any]) -> bool:
    """Whether what it leaves in shared memory is the machine's, and can be told by its owner."""
    return request["root"] is None and request["uid"] is not None


def _enter_group(request: dict[str, Any], pid: int) -> cgroups.Groups | None:
    """The kernel's own watch over memory and processes. Without it the one here remains."""
    if request["cgroup"] is None:
        return None
    memory = request["memory"] + request["disk"]  # the files in a box of full are in memory too
    try:
        group = cgroups.enter(cgroups.Groups(request["cgroup"]), request["name"], pid, memory, request["processes"])
    except OSError:
        return None
    for _ in range(_PASSES):  # what it started meanwhile; whatever these start is in the group from the first
        late = set(process_tree.descendants(pid)) - cgroups.members(group)
        if not late:
            break
        cgroups.add(group, late)
    return group


def _leave_group(group: cgroups.Groups | None) -> str:
    if group is None:
        return ""
    over = cgroups.was_over(group)
    with suppress(OSError):
        cgroups.remove(group)
    return "memory" if over == "memory" else ""  # more processes than it may have are just not started


class _Gate:
    """One process waits until the other opens it, or has died."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()

    def open(self) -> None:
        os.close(self._reading)
        with suppress(BrokenPipeError):  # the other has ended, and said why
            os.write(self._writing, b"x")
        os.close(self._writing)

    def wait(self) -> bool:
        """Whether it was opened."""
        os.close(self._writing)
        opened = os.read(self._reading, 1) == b"x"
        os.close(self._reading)
        return opened

    def wait_or_end(self) -> None:
        if not self.wait():
            os._exit(1)


class _Gates:
    """What the box's process 1 and its parent wait for, one after another."""

    def __init__(self) -> None:
        self.ready = _Gate()  # the sources are open
        self.mapped = _Gate()  # it has its user


class _Watch:
    """Ends a run that is over a limit which no kernel limit covers: those of all its processes together."""

    def __init__(self, request: dict[str, Any], pid: int, wake: int, group: cgroups.Groups | None) -> None:
        self._request, self._group = request, group
        self._pid, self._wake = pid, wake
        self._tree = pid if request["namespaces"] & NEWPID else os.getpid()  # where orphans go
        self._cpu_time = 0.0
        self._due = time.monotonic() + _LOOK_CLOSELY_S

    def until_end(self, lifeline: int) -> tuple[str, float]:
        """The limit that was exceeded, or "", and the processor seconds used."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(lifeline, select.POLLIN)
        over, kill_at = "", time.monotonic() + self._request["wall"]  # should the node be stopped itself
        while True:
            used = self._reap()
            if used is not None:
                return over or self._over_disk(), max(self._cpu_time, used)
            found = [descriptor for descriptor, _ in poll.poll(_LOOK_S * 1000)]
            if self._wake in found:
                os.read(self._wake, 4096)
                continue
            if lifeline in found:
                kill_at = min(kill_at, time.monotonic() + _END_S)
                poll.unregister(lifeline)
            over = over or self._over_limit()
            if over or time.monotonic() >= kill_at:
                self._kill()

    def _reap(self) -> float | None:
        """The processor seconds of the box's process 1 and all it waited for, once it has ended; and its orphans."""
        while True:
            ended, _, used = os.wait4(-1, os.WNOHANG)  # with process ids of its own: when all of them are dead
            if ended == self._pid:
                return used.ru_utime + used.ru_stime
            if not ended:
                return None

    def _over_limit(self) -> str:
        request = self._request
        usage = process_tree.usage(self._tree)
        self._cpu_time = max(self._cpu_time, usage.cpu_s)
        if request["processes"] and usage.tasks > request["processes"] + _SPARE_TASKS:
            return "processes"
        if request["cpu_time"] and usage.cpu_s > request["cpu_time"]:
            return "processor time"
        is_due = time.monotonic() >= self._due
        if request["memory"] and self._over_memory(usage.memory, is_due):
            return "memory"
        if is_due:
            self._due = time.monotonic() + _LOOK_CLOSELY_S
            return self._over_disk()
        return ""

    def _over_memory(self, used: int, is_due: bool) -> bool:
        limit = self._request["memory"]
        if self._group is not None and cgroups.was_over(self._group) == "memory":
            return True
        if is_due and self._group is None and unnamed_bytes(self._tree, in_memory=True) > limit:
            return True  # a control group would have counted it
        return used > limit and self._is_really_over()

    def _over_disk(self) -> str:
        request = self._request
        if not request["folder"]:
            return ""
        size = folder_size(request["folder"], request["disk"])
        if _shares_memory(request):
            size += shared_memory.size_of(request["uid"], request["disk"])
        size += unnamed_bytes(self._tree, in_memory=False)
        return "disk" if size > request["disk"] else ""

    def _is_really_over(self) -> bool:
        """Twice, since a process that is just being started seems to have all its parent's memory."""
        for _ in range(2):
            if process_tree.proportional_memory(self._tree) <= self._request["memory"]:
                return False
            time.sleep(_AGAIN_S)
        return True

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)


def _sweep(uid: int | None) -> None:
    """Without process ids of its own: kill what is left, whatever it has become."""
    try:
        process_tree.kill_descendants()
    except PermissionError:  # root without the capability to kill what another user runs: then as that user
        if uid is None:
            raise
        pid = os.fork()
        if pid == 0:
            try:
                become(uid, uid, is_last=True)
                os.kill(-1, signal.SIGKILL)  # that user has nothing but this run
            finally:
                os._exit(0)
        process_tree.kill_descendants()


# Inside ----------------------------------------------------------------------------------------


def _become_process_1(
    request: dict[str, Any], pipes: Pipes, gates: _Gates, own: tuple[int, int], tests: Program
) -> NoReturn:
    code, unwinds = 1, False
    try:
        _enter(request, gates, own)
        Supervisor(request, pipes, tests).run()
        code = 0
    except Unwinding:  # in the process of the tests
        unwinds = True
        raise
    except CodeTooLargeError:
        pipes.say(over="disk")
    except BaseException as error:  # noqa: BLE001 - the forked copy must not go on
        number = error.errno if isinstance(error, OSError) else None
        pipes.say(error=f"{type(error).__name__}: {error}", errno=number)
    finally:
        if not unwinds:
            os._exit(code)
    raise SystemError  # not reached


def _enter(request: dict[str, Any], gates: _Gates, own: tuple[int, int]) -> None:
    """`own`: the node's user and group, which have no number in a new user namespace."""
    flags, uid, root = request["namespaces"], request["uid"], request["root"]
    os.setsid()
    with suppress(OSError):
        os.nice(_NICE)  # the node's own threads go first
    sources = None if root is None else Sources(root)  # as the user of the node, who may reach them
    gates.ready.open()
    gates.mapped.wait_or_end()
    if flags & NEWNET and not flags & NEWUSER:
        loopback_up()
    if flags & NEWUSER and uid is None:
        map_ids("self", 0, *own)
    elif flags & NEWUSER:
        become(0, 0, is_last=False)
    elif uid is not None:
        become(uid, uid, is_last=True)
    die_with_parent()
    if flags & NEWNET and flags & NEWUSER:
        loopback_up()
    if flags & NEWUTS:
        with suppress(OSError):  # a seccomp profile may forbid it, and nothing depends on it
            set_host_name("box")
    if root is not None and sources is not None:
        build(root, sources, request["fresh_proc"])
        if not request["fresh_proc"]:
            request["proc"] = f"/proc/self/fd/{sources.proc}"  # which can be written, unlike the one that is shown
    set_dumpable(False)  # nothing in the box may look into this process
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # signals without a handler do not reach process 1 from inside
