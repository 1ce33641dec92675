"""Landlock: takes from a process the files, signals and sockets that it was not given, be its uid 0.

For good, and for all that it starts. Descriptors that are open already keep their rights. A restricted process can
neither mount nor trace one outside; nor read the memory and environment of one through /proc, if it has no
capabilities: to new kernels CAP_PERFMON is permission to. What each ABI leaves open:
  below 2  nothing, but files cannot be moved or linked from one folder to another (EXDEV)
  below 3  truncate(2) of any file that its uid may write
  below 5  ioctl on devices among the readable paths
  below 6  signals to processes of its uid, abstract unix sockets
  below 9  unix sockets by their path: a daemon that trusts the uid, such as a session bus, can be asked to act outside
  all      stat, access and chdir; chmod, chown, utime, xattr and flock of what its uid owns; the network
From ABI 6 on, those who do not share one call of `restrict` are strangers: neither may signal the other. So restrict
before forking what belongs together.

Only the standard library, and little of it: the launcher loads this for every run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every machine that Python runs on
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH = 1, 1
_PR_GET_NO_NEW_PRIVS = 39

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV, _RESOLVE_UNIX = 1 << 13, 1 << 14, 1 << 15, 1 << 16
_FIRST_RIGHTS = _REFER - 1
_LATER_RIGHTS = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV), (9, _RESOLVE_UNIX))  # with the ABI that brought them
_READABLE = _READ_FILE | _READ_DIR | _EXECUTE
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV | _RESOLVE_UNIX
_SCOPES = 3  # abstract unix sockets, signals
_SCOPES_ABI = 6

_libc = ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    words = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    return int(_libc.syscall(ctypes.c_long(number), *words))


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"landlock: {what}: {os.strerror(number)}")


def _rights(abi: int) -> int:
    return _FIRST_RIGHTS | sum(right for since, right in _LATER_RIGHTS if since <= abi)


def _create_ruleset(abi: int) -> int:
    """A descriptor, or -1: nothing of what `abi` knows is allowed."""
    attributes = struct.pack("=QQQ", _rights(abi), 0, _SCOPES if abi >= _SCOPES_ABI else 0)
    return _syscall(_CREATE_RULESET, attributes, len(attributes), 0)


def abi() -> int:
    """The version of Landlock whose every feature used here is to be had; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    version = max(0, _syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION))
    while version > 0:  # a kernel may claim a version of which it lacks a part: RHEL 9 says 6 and cannot scope signals
        ruleset = _create_ruleset(version)
        if ruleset >= 0:
            os.close(ruleset)
            break
        version -= 1
    return version


def restrict(readable: Iterable[str], writable: Iterable[str], abi: int) -> None:
    """Leave this thread, and whatever it starts from now on, only these paths and what is beneath them.

    Files below `readable` can be read and executed and folders listed; below `writable` all can be done that `abi`, as
    `abi()` tells it, has a right for. Both may name folders, files and devices; links are followed; what does not exist
    is passed over. Set no_new_privs before. Raises OSError where it is not set, where there is no Landlock and where
    the kernel refuses.
    """
    if abi < 1:
        raise OSError(errno.ENOSYS, "landlock: this kernel does not have it")
    if _libc.prctl(_PR_GET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (0, 0, 0, 0))) != 1:
        raise OSError(errno.EPERM, "landlock: set no_new_privs before a process is restricted")
    ruleset = _create_ruleset(abi)
    if ruleset < 0:
        raise _error(f"the kernel refuses the rules of ABI {abi}")
    try:
        for paths, rights in ((readable, _READABLE), (writable, _rights(abi))):
            for path in paths:
                _allow(ruleset, path, rights)
        if _syscall(_RESTRICT_SELF, ruleset, 0) < 0:
            raise _error("the kernel refuses to restrict this process")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES  # the kernel refuses a rule that gives a file a folder's rights
        if _syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0) < 0:
            raise _error(f"the kernel refuses a rule for {path}")
    finally:
        os.close(descriptor)
