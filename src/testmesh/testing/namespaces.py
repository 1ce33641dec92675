"""The system calls that give a process a world of its own. Linux; elsewhere they fail with an OSError that says so.

Only the standard library, and little of it: the launcher loads this for every run.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    try:
        function = getattr(_libc, name)
    except AttributeError:
        raise OSError(f"{name}: this system does not have it") from None
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _call("prctl", *map(ctypes.c_ulong, (option, value, 0, 0, 0)))


def die_with_parent() -> None:
    """Killed when the parent ends, more exactly: the parent's thread that forked this process."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _write_file(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def enter_namespaces(user_namespace: bool) -> None:
    """This process gets its own network, mounts and IPC; its next child is the first of its own process ids."""
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", _NEWNS | _NEWIPC | _NEWPID | _NEWNET | (_NEWUSER if user_namespace else 0))
    if user_namespace:
        _write_file("/proc/self/uid_map", f"{uid} {uid} 1")
        _write_file("/proc/self/setgroups", "deny")  # the kernel wants it before gid_map
        _write_file("/proc/self/gid_map", f"{gid} {gid} 1")
    _loopback_up()


def _loopback_up() -> None:
    descriptor = _libc.socket(2, 2, 0)  # AF_INET, SOCK_DGRAM; importing socket takes 10 ms
    try:
        fcntl.ioctl(descriptor, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))
    finally:
        os.close(descriptor)


def mount_proc() -> None:
    """Give the process ids of this namespace a /proc; nothing of it is seen outside."""
    _call("mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    _call("mount", b"proc", b"/proc", b"proc", ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC), None)


def probe() -> dict[str, Any]:
    """Try what a run would do, in a child for each way: {namespaces, user_namespace, fresh_proc, cause}."""
    cause = ""
    for user_namespace in (False, True) if os.geteuid() == 0 else (True,):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            _try_namespaces(user_namespace, writing)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            found = pipe.read()
        os.waitpid(pid, 0)
        if found.startswith("{"):
            return dict(json.loads(found))
        cause = found or "the process that tried namespaces was killed"
    return {"namespaces": False, "user_namespace": False, "fresh_proc": False, "cause": cause}


def _try_namespaces(user_namespace: bool, answer: int) -> NoReturn:
    cause = ""
    try:
        enter_namespaces(user_namespace)
        pid = os.fork()
        if pid == 0:
            try:
                mount_proc()
                os._exit(0)
            finally:
                os._exit(1)
        fresh_proc = os.waitpid(pid, 0)[1] == 0
        if not fresh_proc:
            cause = "a /proc of its own cannot be mounted: parts of this machine's are masked"
        found = {"namespaces": True, "user_namespace": user_namespace, "fresh_proc": fresh_proc, "cause": cause}
        os.write(answer, json.dumps(found).encode())
    except OSError as error:
        os.write(answer, str(error).encode())
    finally:
        os._exit(0)
