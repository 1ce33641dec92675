"""The system calls that give a process a world of its own. Linux; elsewhere they fail with an OSError that says so.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 4096, 16384, 1 << 18, 1 << 21
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS = 1, 4, 24, 28
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 36, 38, 47, 4
_SECUREBITS = 0x2F  # uid 0 means nothing, for good
_CAPABILITY_VERSION_3 = 0x20080522
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41

_SYSCALLS = {  # name: number, by machine
    "x86_64": {"clone": 56, "pivot_root": 155, "mount_setattr": 442},
    "aarch64": {"clone": 220, "pivot_root": 41, "mount_setattr": 442},
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc_with_gil = ctypes.PyDLL(None, use_errno=True)  # for the one call that returns twice


def _call(name: str, *arguments: Any) -> int:
    try:
        function = getattr(_libc, name)
    except AttributeError:
        raise OSError(f"{name}: this system does not have it") from None
    return _checked(function(*arguments), name)


def _checked(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _number(name: str) -> ctypes.c_long:
    try:
        return ctypes.c_long(_SYSCALLS[os.uname().machine if sys.platform == "linux" else ""][name])
    except KeyError:
        raise OSError(f"{name}: not known for {os.uname().machine} processors") from None


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _call("prctl", *map(ctypes.c_ulong, (option, value, 0, 0, 0)))


# Processes ---------------------------------------------------------------------------------------


def fork_into(flags: int) -> int:
    """Fork, the child in new namespaces: 0 there, its pid here. The caller must have a single thread.

    One call where `unshare` would need a process more: new process ids are only for children.
    """
    number = _number("clone")
    ctypes.pythonapi.PyOS_BeforeFork()
    arguments = map(ctypes.c_ulong, (flags | signal.SIGCHLD, 0, 0, 0, 0))
    pid: int = _libc_with_gil.syscall(number, *arguments)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    return _checked(pid, "clone")


def unshare(flags: int) -> None:
    _call("unshare", flags)


def die_with_parent() -> None:
    """Killed when the parent ends, more exactly: the parent's thread that forked this process.

    A change of the user ids takes it back.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(is_dumpable: bool) -> None:
    """Whether other processes of its user may look into this one's memory and descriptors."""
    _prctl(_PR_SET_DUMPABLE, int(is_dumpable))


def release_memory() -> None:
    """Give the kernel back what is allocated but free, so that forks need not copy it; where the C library can."""
    with suppress(AttributeError):
        _libc.malloc_trim(0)


def no_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """All, of every set, and uid 0 gets none back."""
    if sys.platform != "linux":
        return
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), *map(ctypes.c_ulong, (0, 0, 0))) == 0:
        capability += 1  # until past the last one of this kernel
    _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), *map(ctypes.c_ulong, (0, 0, 0)))
    _libc.prctl(_PR_SET_SECUREBITS, ctypes.c_ulong(_SECUREBITS), *map(ctypes.c_ulong, (0, 0, 0)))
    header, none = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    _call("capset", header, none)


# Users -------------------------------------------------------------------------------------------


def map_ids(process: str, inside: int, outside: int, outside_group: int, proc: str = "/proc") -> None:
    """Give a process's user namespace its one user and group. `process`: a pid or "self".

    Raises:
        OSError: only a process outside with the capabilities may map other ids than its own.
    """
    write_file(f"{proc}/{process}/uid_map", f"{inside} {outside} 1")
    write_file(f"{proc}/{process}/setgroups", "deny")  # the kernel wants it before gid_map
    write_file(f"{proc}/{process}/gid_map", f"{inside} {outside_group} 1")


def become(uid: int, gid: int, is_last: bool) -> None:
    """Change to these ids, for good; `is_last`: other groups are left, which a user namespace of one id forbids."""
    if is_last:
        os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def write_file(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


# Network -----------------------------------------------------------------------------------------


def loopback_up() -> None:
    descriptor = _libc.socket(2, 2, 0)  # AF_INET, SOCK_DGRAM
    try:
        fcntl.ioctl(descriptor, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))
    finally:
        os.close(descriptor)


# Mounts ------------------------------------------------------------------------------------------


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2).

    Raises:
        OSError: names the target.
    """
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    try:
        _call("mount", texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    except OSError as error:
        raise OSError(error.errno, f"mount {kind or source or ''} on {target}: {error.strerror}") from None


def make_private() -> None:
    """What is mounted here is not seen outside, nor the other way about."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)


def bind(source: str, target: str, is_writable: bool) -> None:
    """Show a file or folder, with what is mounted below it, at `target` too; without set-uid programs."""
    mount(source, target, None, MS_BIND | MS_REC)
    wanted = _MOUNT_ATTR_NOSUID | (0 if is_writable else _MOUNT_ATTR_RDONLY)
    # Only adds flags, so it does not trip over those that an outer user namespace has locked.
    attributes = struct.pack("=QQQQ", wanted, 0, 0, 0)
    path = os.fsencode(target)
    arguments = (ctypes.c_int(_AT_FDCWD), path, ctypes.c_uint(_AT_RECURSIVE), attributes, ctypes.c_size_t(32))
    if _libc.syscall(_number("mount_setattr"), *arguments) < 0:  # older than Linux 5.12
        for point in _mounts_below(target):
            remount(point, MS_NOSUID | (0 if is_writable else MS_RDONLY))


def _mounts_below(target: str) -> list[str]:
    with open("/proc/self/mountinfo", "rb") as lines:  # noqa: PTH123
        points = [os.fsdecode(line.split()[4].replace(b"\\040", b" ")) for line in lines]
    return [point for point in points if point == target or point.startswith(f"{target}/")]


def remount(target: str, flags: int) -> None:
    """Add flags to one mount, keeping those it has."""
    has = os.statvfs(target).f_flag
    kept = has & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | 1024 | 2048)  # noatime, nodiratime: as in statvfs
    kept |= MS_RELATIME if has & 4096 else 0
    mount(None, target, None, MS_BIND | MS_REMOUNT | kept | flags)


def change_root(new_root: str) -> None:
    """`new_root`, a mount, becomes / of all processes in this mount namespace; the old one is gone."""
    os.chdir(new_root)
    # The old root lands on top of the new one, and is taken off again: no folder is needed for it.
    _checked(_libc.syscall(_number("pivot_root"), b".", b"."), "pivot_root")
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")


def unmount(target: str) -> None:
    _call("umount2", os.fsencode(target), _MNT_DETACH)


def set_host_name(name: str) -> None:
    _call("sethostname", name.encode(), ctypes.c_size_t(len(name)))
