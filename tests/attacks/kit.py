"""Every hostile project carries this file as `kit.py`: it tries things and says plainly what it got.

Standard library only, Python 3.8 and later. What it prints is what the harness judges:
  TRIED:name            the attack really ran
  REFUSED:what: why     one attempt, refused
  ESCAPED:what          one attempt that got what it wanted
  WITHHELD:what: why    not attempted, since nothing here would have kept it from this machine: as bad as ESCAPED

Where a box fails, no attack harms the machine it runs on: what is written has the run's mark in its name and is undone
at once, what is read is searched for planted canaries alone and never shown, and every bomb stops at a multiple of its
limit.
"""

# ruff: noqa: PTH100, PTH115, PTH118, PTH119, PTH120, PTH123, PTH108, PTH208, T201
from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "target.json")) as _file:
    TARGET: dict[str, Any] = json.load(_file)
MARK: str = TARGET["mark"]
_NAME = os.path.basename(os.path.dirname(os.path.abspath(__file__)))
_LIBC = ctypes.CDLL(None, use_errno=True)
_ARM = platform.machine() in ("aarch64", "arm64")
_X86 = {
    "ptrace": 101, "personality": 135, "pivot_root": 155, "mount": 165, "umount2": 166, "reboot": 169,
    "init_module": 175, "add_key": 248, "keyctl": 250, "kexec_load": 246, "unshare": 272, "setns": 308,
    "perf_event_open": 298, "open_by_handle_at": 304, "process_vm_readv": 310, "finit_module": 313, "bpf": 321,
    "userfaultfd": 323, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "clone3": 435,
    "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442, "swapon": 167, "chroot": 161, "sethostname": 170,
    "clone": 56, "acct": 163, "settimeofday": 164, "iopl": 172, "syslog": 103, "quotactl": 179, "lookup_dcookie": 212,
}  # fmt: skip
_AARCH64 = {
    "ptrace": 117, "personality": 92, "pivot_root": 41, "mount": 40, "umount2": 39, "reboot": 142,
    "init_module": 105, "add_key": 217, "keyctl": 219, "kexec_load": 104, "unshare": 97, "setns": 268,
    "perf_event_open": 241, "open_by_handle_at": 265, "process_vm_readv": 270, "finit_module": 273, "bpf": 280,
    "userfaultfd": 282, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "clone3": 435,
    "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442, "swapon": 224, "chroot": 51, "sethostname": 161,
    "clone": 220, "acct": 89, "settimeofday": 170, "iopl": -1, "syslog": 116, "quotactl": 60, "lookup_dcookie": 18,
}  # fmt: skip
NUMBERS = _AARCH64 if _ARM else _X86
DENIED = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS, errno.ENOENT, errno.EAFNOSUPPORT, errno.ENODEV)

with contextlib.suppress(OSError):
    _LIBC.prctl(15, MARK.encode()[:15], 0, 0, 0)  # PR_SET_NAME: whatever is forked from here carries the mark


# What is said --------------------------------------------------------------------------------


def say(kind: str, what: object) -> None:
    print(f"{kind}:{what}", flush=True)


def tried(name: str) -> None:
    say("TRIED", name)


def escaped(what: str) -> None:
    say("ESCAPED", what)


def refused(what: str, why: object = "nothing there") -> None:
    say("REFUSED", f"{what}: {why}")


def withheld(what: str, why: str = "no wall between this and the machine") -> None:
    say("WITHHELD", f"{what}: {why}")


def attempt(what: str, action: Callable[..., Any], *arguments: Any, undo: Callable[[Any], Any] | None = None) -> Any:
    """One attempt: an OSError is a refusal, anything it gives back an escape; `undo` takes it back."""
    try:
        got = action(*arguments)
    except OSError as error:
        refused(what, _code(error))
        return None
    except ValueError as error:
        refused(what, error)
        return None
    if undo:
        with contextlib.suppress(OSError):
            undo(got)
    escaped(what)
    return got


def attempt_call(what: str, name: str, *arguments: Any, undo: Callable[[int], Any] | None = None) -> None:
    """One system call. Any answer but a denial shows that the kernel took it up, were it only to find it malformed."""
    try:
        got = syscall(name, *arguments)
    except OSError as error:
        if error.errno in DENIED:
            refused(what, _code(error))
        else:
            escaped(f"{what} (the kernel looked at it: {_code(error)})")
        return
    if undo:
        undo(got)
    escaped(what)


def _code(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def syscall(name: str, *arguments: Any) -> int:
    number = NUMBERS[name]
    if number < 0:
        raise OSError(errno.ENOSYS, "not on this machine")
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    ctypes.set_errno(0)
    got: int = _LIBC.syscall(ctypes.c_long(number), *passed)
    if got == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got


# Where this is -------------------------------------------------------------------------------


def is_apart(kind: str) -> bool:
    """Whether this process is in another namespace of that kind than the harness; False where that cannot be told."""
    try:
        return bool(os.readlink(f"/proc/self/ns/{kind}") != TARGET["ns"].get(kind))
    except OSError:
        return False


def proc_is_own() -> bool:
    """Whether /proc shows the processes of a namespace of its own."""
    try:
        return is_apart("pid") and os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def is_powerless() -> bool:
    """Whether the kernel refuses by itself whatever takes a capability."""
    with open("/proc/self/status") as file:
        return any(line.split() == ["CapEff:", "0" * 16] for line in file)


def parent() -> int:
    """As /proc numbers it, which may be that of another namespace."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("PPid:"))


def _is_of_this_box(pid: str) -> bool:
    try:
        return bool(os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user") != TARGET["ns"]["user"])
    except OSError:
        return False


def other_processes() -> list[int]:
    """Process ids that may be looked at: all of an own namespace; else only those that belong to the node."""
    found = []
    own = os.readlink("/proc/self")
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == own or _is_of_this_box(name):
            continue
        if not proc_is_own():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    line = file.read()
            except OSError:
                continue
            if TARGET["data_dir"].encode() not in line and str(TARGET["node_pid"]) != name:
                continue
        found.append(int(name))
    return found


def limit(name: str) -> int:
    return int(TARGET["limits"][name])


# Files ---------------------------------------------------------------------------------------


def canaries_in(data: bytes) -> list[bytes]:
    return re.findall(rb"TMCANARY[0-9a-f]{24}", data)


def opens(path: str, flags: int = os.O_RDONLY) -> None:
    """Open and nothing else."""
    os.close(os.open(path, flags | os.O_NOCTTY | os.O_CLOEXEC))


def opens_of_process(pid: int, name: str) -> None:
    """Open a file of its memory. One that is just ending has none: opening that is not refused, and gives nothing."""
    file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with open(f"/proc/{pid}/stat") as stat:
            if int(stat.read().rpartition(")")[2].split()[20]) == 0:  # bytes of address space
                raise OSError(errno.ESRCH, "it has no memory any more")
    finally:
        os.close(file)


def reads_canary(path: str) -> None:
    """Look for planted text; OSError where it is not to be had."""
    with open(path, "rb") as file:
        found = canaries_in(file.read(1 << 20))
    if not found:
        raise OSError(errno.ENOENT, "no canary")
    say("FOUND", found[0].decode())


def creates(folder: str) -> None:
    """A file with the run's mark, gone again at once."""
    path = os.path.join(folder, f".{MARK}-{os.getpid()}")
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.unlink(path)


def plants(folder: str) -> None:
    """A file with the run's mark, left for the harness to find: a box may have a folder of that name of its own."""
    with contextlib.suppress(OSError):
        opens(os.path.join(folder, f"{MARK}-planted"), os.O_CREAT | os.O_WRONLY)


# Processes -----------------------------------------------------------------------------------


def spawn(code: str = "import time; time.sleep(60)", **arguments: Any) -> subprocess.Popen[bytes]:
    """A process with the mark on its command line, which ends by itself after a minute whatever happens."""
    guard = "import signal; signal.alarm(60); "
    arguments.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([sys.executable, "-c", guard + code, f"{MARK}-{_NAME}"], **arguments)


def fork_and(action: Callable[[], Any]) -> int:
    """Run `action` in a forked copy that never comes back into pytest; gives its id."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(60)
            action()
        finally:
            os._exit(0)
    return pid


def for_a_minute() -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(1)


# Network -------------------------------------------------------------------------------------


def connects(address: str, port: int, timeout: float = 2.0) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt_to:
        attempt_to.settimeout(timeout)
        attempt_to.connect((address, port))


def write_everywhere(lines: bytes) -> int:
    """To every open descriptor but the standard ones that takes it."""
    written = 0
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2:
            with contextlib.suppress(OSError):
                os.set_blocking(number, False)
                written += os.write(number, lines) > 0
    return written


def in_child(action: Callable[[], Any]) -> None:
    """What changes the process itself, in a copy; what it says counts as said here."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(60)
            action()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
