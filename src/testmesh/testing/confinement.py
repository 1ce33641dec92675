"""The last steps before foreign code: what a process of a box gives up before it becomes the tests or a service.

In this order, since each step needs what the next one takes away: descriptors, limits, a user namespace of its own
(which has no rights over the box's other namespaces), the limit of processes (counted from the innermost one on),
capabilities, no_new_privs, Landlock, seccomp.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress

from testmesh.testing import landlock, seccomp
from testmesh.testing.namespaces import (
    NEWUSER,
    die_with_parent,
    drop_capabilities,
    map_ids,
    no_new_privileges,
    set_dumpable,
    unshare,
    write_file,
)
from testmesh.testing.private_root import USER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    Program = Callable[[list[str], dict[str, str]], NoReturn]  # goes on with argv and environment, or raises Unwinding

_SIGNALS = tuple(map(int, signal.valid_signals()))  # made once: it takes as long as setting all of them
_FIRST_TO_KILL = "1000"  # where the machine is out of memory


class Unwinding(BaseException):
    """Leaves all functions in which a box was made: its tests are to have the whole depth of the stack.

    Who forked lets it pass, up to who called `launcher.main`. Until then the process is to have no handler of signals,
    whose exception could take its place.
    """

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        super().__init__()
        self.argv, self.env = argv, env


def execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    os.execve(argv[0], argv, env)  # noqa: S606 - the box is there to run this


def become_test(
    request: dict[str, Any], argv: list[str], output: tuple[int, int], passed: Sequence[int], program: Program
) -> NoReturn:
    """Confine this process, a fork of the box's supervisor, and go on as `program` with `argv` in it.

    All its descriptors but the first three and those `passed` are to be closed by the program, as execve does.
    """
    # A group of its own, but not a session: a session's leader is hung up when a terminal opened by a test is closed.
    os.setpgid(0, 0)
    set_dumpable(True)  # else its own /proc/self belongs to root
    if os.getppid() > 1:
        die_with_parent()
    _default_signals()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output[0], 1)
    os.dup2(output[1], 2)
    for descriptor in passed:
        os.set_inheritable(descriptor, True)
    os.umask(0o022)
    with suppress(OSError):
        write_file(f"{request.get('proc', '/proc')}/self/oom_score_adj", _FIRST_TO_KILL)
    for name, value in request["limits"].items():
        _limit(name, value)
    confine(request)
    os.chdir(request["cwd"])
    env = dict(request["env"])
    request.clear()  # a program that is no new one could find it
    program(argv, env)


def confine(request: dict[str, Any]) -> None:
    """Raises OSError where a step is refused that the request asks for."""
    if request["user_namespace"]:
        inside = os.geteuid(), os.getegid()
        unshare(NEWUSER)
        map_ids("self", USER, *inside, proc=request.get("proc", "/proc"))
    if request["processes"] and (request["uid"] is not None or (request["user_namespace"] and _counts_by_namespace())):
        _limit("RLIMIT_NPROC", request["processes"])  # else it would count all that this user runs on the host
    if request["level"] == "none" and request["landlock"] is None:
        with suppress(OSError):
            drop_capabilities()
        no_new_privileges()
        return
    drop_capabilities()
    no_new_privileges()
    if request["landlock"] is not None:
        landlock.restrict(request["landlock"]["read"], request["landlock"]["write"], request["landlock"]["abi"])
    program = seccomp.filter_program(os.uname().machine)
    if program is not None:
        seccomp.install(program)


def _counts_by_namespace() -> bool:
    """Whether processes are counted for each user namespace: since Linux 5.14."""
    with suppress(ValueError):
        major, minor = os.uname().release.split(".")[:2]
        return (int(major), int(minor)) >= (5, 14)
    return False


def _limit(name: str, value: int) -> None:
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))


def _default_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
