"""Refuses the system calls that tests do not need and attacks do: on the kernel, on the machine, on other processes.

Linux on x86_64 and aarch64. Everything is allowed but what is named here, so that ordinary programs never notice:
  EPERM         what makes or enters namespaces, mounts, changes root, loads code into the kernel or sets up the
                machine, looks into other processes or changes their limits; keyrings, bpf, perf, userfaultfd,
                io_uring; putting characters into a terminal
  ENOSYS        clone3, whose flags a filter cannot see (libc then takes clone); the x32 calls of x86_64
  EAFNOSUPPORT  sockets other than unix, IPv4, IPv6 and netlink: vsock has no namespaces, AF_ALG loads kernel modules
Calls of another architecture (int 0x80) kill the process. What is allowed and yet refused by the kernel without
capabilities (raw sockets, device files) is not repeated here.

Only the standard library, and little of it: the launcher loads this for every run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_GET_NO_NEW_PRIVS = 21, 22, 39
_MODE_FILTER = 2

# Classic BPF: load a word, compare it with a constant, return.
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_KILL_PROCESS, _FAIL, _PASS = 0x80000000, 0x00050000, 0x7FFF0000

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables below, AUDIT_ARCH_*
_X32_BIT, _X32_FIRST, _X32_LAST = 0x40000000, 512, 547

# NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. NEWTIME is a part of clone's signal number, no flag.
_CLONE_NEW = 0x7E020000
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
_NETLINK, _NETLINK_ROUTE = 16, 0  # through which libc asks the kernel for addresses; audit and others are refused
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

# Numbers on (x86_64, aarch64); None where there is no such call.
_CLONE, _CLONE3 = (56, 220), (435, 435)
_SOCKET, _SOCKETPAIR = (41, 198), (53, 199)
_IOCTL, _PRLIMIT64 = (16, 29), (302, 261)
_REFUSED = {
    "unshare": (272, 97),
    "setns": (308, 268),
    # mounts, roots and files by handle
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # other processes; nothing in a run traces itself either
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # what most attacks on the kernel begin with
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "io_setup": (206, 0),  # the machine has few of its slots, for all
    "iopl": (172, None),
    "ioperm": (173, None),
}

_libc = ctypes.CDLL(None, use_errno=True)


# The program ---------------------------------------------------------------------------------


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _fail(number: int) -> bytes:
    return _instruction(_RETURN, _FAIL | number)


def _argument(index: int) -> bytes:
    """Load its low word. The kernel ignores the upper half of all that is looked at here, so the filter must too."""
    return _instruction(_LOAD, _ARGUMENTS + 8 * index)


def _when(comparison: int, value: int, *then: bytes) -> tuple[bytes, ...]:
    """`then`, which must end the program, where the loaded word compares so with `value`; else on to what follows."""
    return _instruction(comparison, value, 0, len(then)), *then


def filter_program(machine: str) -> bytes | None:
    """PURE. The filter, 8 bytes an instruction, for a machine as `os.uname` names it; None where none is known."""
    if machine not in _MACHINES:
        return None
    column, architecture = _MACHINES[machine]
    allow, refuse = _instruction(_RETURN, _PASS), _fail(errno.EPERM)
    unknown, no_family = _fail(errno.ENOSYS), _fail(errno.EAFNOSUPPORT)
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        program += _when(_AT_LEAST, _X32_BIT, unknown)
    program += _when(
        _EQUAL,
        _IOCTL[column],
        _argument(1),
        *_when(_EQUAL, _TIOCSTI, refuse),
        *_when(_EQUAL, _TIOCLINUX, refuse),
        allow,
    )
    program += _when(_EQUAL, _CLONE[column], _argument(0), *_when(_ANY_BIT, _CLONE_NEW, refuse), allow)
    program += _when(_EQUAL, _CLONE3[column], unknown)
    families = [instruction for family in _FAMILIES for instruction in _when(_EQUAL, family, allow)]
    routes = (_argument(2), *_when(_EQUAL, _NETLINK_ROUTE, allow), _fail(errno.EPROTONOSUPPORT))
    families += _when(_EQUAL, _NETLINK, *routes)
    for call in (_SOCKET, _SOCKETPAIR):
        program += _when(_EQUAL, call[column], _argument(0), *families, no_family)
    # Of another process: the one that watches the tests may have the same uid.
    program += _when(_EQUAL, _PRLIMIT64[column], _argument(0), *_when(_EQUAL, 0, allow), refuse)
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += _when(_EQUAL, number, refuse)
    if machine == "x86_64":
        # Before Linux 5.4 x32's own calls, ptrace among them, were to be had without its bit.
        program += _when(_AT_LEAST, _X32_FIRST, *_when(_GREATER, _X32_LAST, allow), unknown)
    return b"".join([*program, allow])


# Installing it -------------------------------------------------------------------------------


def _prctl(option: int, *values: int | bytes | None) -> int:
    padded = [*values, 0, 0, 0, 0][:4]
    return int(_libc.prctl(option, *(ctypes.c_ulong(value) if isinstance(value, int) else value for value in padded)))


def available() -> bool:
    """Whether this kernel, and what confines this process already, permit a filter. Changes nothing."""
    if sys.platform != "linux" or _prctl(_PR_GET_SECCOMP) < 0:
        return False
    _prctl(_PR_SET_SECCOMP, _MODE_FILTER, None)  # a kernel with filters tries to read this one
    return ctypes.get_errno() == errno.EFAULT


def install(program: bytes) -> None:
    """Bind this thread, and whatever it starts from now on, to `program`, for good: the last step of a box.

    Raises OSError where no_new_privs is not set, on a Python of 32 bits, and where the kernel refuses.
    """
    if struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, "seccomp: a Python of 64 bits is needed, the filter kills programs of 32 bits")
    if _prctl(_PR_GET_NO_NEW_PRIVS) != 1:
        raise OSError(errno.EACCES, "seccomp: set no_new_privs before the filter is installed")
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(instructions))  # struct sock_fprog
    if _prctl(_PR_SET_SECCOMP, _MODE_FILTER, header) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: the kernel refuses the filter: {os.strerror(number)}")
