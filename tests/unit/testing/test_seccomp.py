"""The filter, read by an interpreter of its own language; then what it does to real processes of this machine."""

import ctypes
import errno
import json
import platform
import re
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import testmesh
from testmesh.testing import seccomp

SOURCE = str(Path(testmesh.__file__).parents[1])
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
MACHINES = ("x86_64", "aarch64")
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}
X32 = 0x40000000

# From the kernel's own tables: arch/x86/entry/syscalls/syscall_64.tbl and scripts/syscall.tbl.
DENIED = {
    "unshare": (272, 97),
    "setns": (308, 268),
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
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
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
    "io_setup": (206, 0),
    "iopl": (172, None),
    "ioperm": (173, None),
}
BY_ARGUMENT = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
    "prlimit64": (302, 261),
}
NEW_NAMESPACE = {
    "mount": 0x20000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
THREAD = 0x3D0F00  # what libc's threads are cloned with
HIGH = 0xDEADBEEF << 32

needs_seccomp = pytest.mark.skipif(
    not seccomp.available() or seccomp.filter_program(platform.machine()) is None,
    reason="this machine has no seccomp filters",
)


def number(machine: str, name: str) -> int:
    found = {**DENIED, **BY_ARGUMENT}[name][MACHINES.index(machine)]
    assert found is not None
    return found


def program_of(machine: str) -> bytes:
    program = seccomp.filter_program(machine)
    assert program is not None
    return program


def numbers_of(machine: str, names: dict[str, tuple[int, int | None]]) -> set[int]:
    return {found for pair in names.values() if (found := pair[MACHINES.index(machine)]) is not None}


# Reading the program -------------------------------------------------------------------------


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    assert len(program) % 8 == 0
    return list(struct.iter_unpack("<HBBI", program))


def decide(machine: str, call: int, *arguments: int, architecture: str = "") -> str:
    """What the kernel would do: `allow`, `kill`, or the name of an errno."""
    padded = [argument % 2**64 for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", call, AUDIT[architecture or machine], 0x7F0000001234, *padded)
    code, at, loaded = instructions(program_of(machine)), 0, 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                assert value % 4 == 0
                loaded = int.from_bytes(data[value : value + 4], "little")
            case 0x06:
                return meaning(value)
            case 0x15 | 0x25 | 0x35 | 0x45:
                true = {
                    0x15: loaded == value,
                    0x25: loaded > value,
                    0x35: loaded >= value,
                    0x45: loaded & value != 0,
                }[operation]
                at += if_true if true else if_false
            case _:
                raise AssertionError(f"instruction {at - 1} is unknown: {operation:#x}")


def meaning(value: int) -> str:
    action, data = value & 0xFFFF0000, value & 0xFFFF
    if action == 0x00050000:
        return errno.errorcode[data]
    return {0x7FFF0000: "allow", 0x80000000: "kill"}[action]


@pytest.mark.parametrize("machine", MACHINES)
def test_the_kernel_accepts_the_form(machine: str) -> None:
    code = instructions(program_of(machine))
    assert len(code) <= 4096
    for at, (operation, if_true, if_false, _) in enumerate(code):
        if operation not in (0x20, 0x06):
            assert at + 1 + max(if_true, if_false) < len(code), "a jump leaves the program"
    assert code[-1][0] == 0x06, "the program must end in a return"


@pytest.mark.parametrize("machine", ["i686", "riscv64", "aarch64_be", "armv7l", ""])
def test_an_unknown_machine_has_no_filter(machine: str) -> None:
    assert seccomp.filter_program(machine) is None


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip(f"{HEADERS[machine]} is not installed")
    defined = dict(re.findall(r"^#define __NR_(\w+)\s+(\d+)$", HEADERS[machine].read_text(), re.MULTILINE))
    found = {name: int(defined[name]) for name in {**DENIED, **BY_ARGUMENT} if name in defined}
    assert {name: number(machine, name) for name in found} == found
    younger = {"open_tree_attr"}  # than some headers
    assert {**DENIED, **BY_ARGUMENT}.keys() - found.keys() - younger <= {"iopl", "ioperm"}


@pytest.mark.parametrize(
    ("machine", "name"),
    [(machine, name) for machine in MACHINES for name in DENIED if DENIED[name][MACHINES.index(machine)] is not None],
)
def test_a_denied_call_is_denied_whatever_its_arguments(machine: str, name: str) -> None:
    for arguments in ((), (1,) * 6, (2**64 - 1,) * 6, (HIGH,) * 6):
        assert decide(machine, number(machine, name), *arguments) == "EPERM"


@pytest.mark.parametrize("machine", MACHINES)
def test_of_all_numbers_those_of_the_table_and_no_others_are_denied(machine: str) -> None:
    by_argument, denied = numbers_of(machine, dict(BY_ARGUMENT)), numbers_of(machine, DENIED)
    expected = {call: "EPERM" if call in denied else "allow" for call in range(1024) if call not in by_argument}
    if machine == "x86_64":
        expected |= dict.fromkeys(range(512, 548), "ENOSYS")  # x32's own
    assert {call: decide(machine, call) for call in expected} == expected


U64 = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 0x5412, HIGH, HIGH | 0x5412, 2**64 - 1]))


@pytest.mark.parametrize("machine", MACHINES)
@given(call=st.one_of(st.integers(0, 511), st.integers(548, X32 - 1)), arguments=st.tuples(*[U64] * 6))
def test_every_other_call_is_allowed_whatever_its_arguments(
    machine: str, call: int, arguments: tuple[int, ...]
) -> None:
    expected = "EPERM" if call in numbers_of(machine, DENIED) else "allow"
    if call not in numbers_of(machine, dict(BY_ARGUMENT)):
        assert decide(machine, call, *arguments) == expected


@given(call=st.one_of(st.integers(X32, 2**32 - 1), st.integers(512, 547)), arguments=st.tuples(*[U64] * 6))
def test_no_x32_call_is_there_with_its_bit_or_without(call: int, arguments: tuple[int, ...]) -> None:
    assert decide("x86_64", call, *arguments) == "ENOSYS"


@pytest.mark.parametrize("machine", MACHINES)
@given(call=st.integers(0, 2**32 - 1), other=st.sampled_from(sorted(AUDIT)))
def test_calls_of_another_architecture_kill(machine: str, call: int, other: str) -> None:
    if other != machine:
        assert decide(machine, call, architecture=other) == "kill"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone3", (0, 88), "ENOSYS"),
        ("clone", (17,), "allow"),  # fork
        ("clone", (0x1200011,), "allow"),  # as libc forks
        ("clone", (0x4111,), "allow"),  # vfork
        ("clone", (THREAD,), "allow"),
        ("clone", (HIGH | 17,), "allow"),
        ("clone", (17, *NEW_NAMESPACE.values()), "allow"),  # the flags come first
        *[("clone", (flag | 17,), "EPERM") for flag in NEW_NAMESPACE.values()],
        *[("clone", (HIGH | flag | THREAD,), "EPERM") for flag in NEW_NAMESPACE.values()],
        ("prlimit64", (0, 7), "allow"),
        ("prlimit64", (HIGH, 7), "allow"),  # to the kernel that is 0 too
        ("prlimit64", (1, 7), "EPERM"),
        ("prlimit64", (HIGH | 1, 7), "EPERM"),
        ("prlimit64", (-1, 7), "EPERM"),
        ("ioctl", (0, 0x5401), "allow"),  # TCGETS
        ("ioctl", (0x5412, 0x5413), "allow"),  # TIOCGWINSZ
        ("ioctl", (0, 0x5412), "EPERM"),
        ("ioctl", (0, HIGH | 0x5412), "EPERM"),  # CVE-2019-10063
        ("ioctl", (0, 0x541C), "EPERM"),
        ("ioctl", (0, HIGH | 0x541C), "EPERM"),
        *[(name, (family, 1), "allow") for name in ("socket", "socketpair") for family in (1, 2, 10, 16)],
        *[
            (name, (family, 1), "EAFNOSUPPORT")
            for name in ("socket", "socketpair")
            for family in (0, 3, 9, 17, 29, 30, 38, 40, 44, 2**32 - 1)
        ],
        *[("socket", (16, 3, protocol), "EPROTONOSUPPORT") for protocol in (4, 9, 12, 15, 16)],  # netlink: not routes
        ("socket", (16, 3, HIGH | 9), "EPROTONOSUPPORT"),
        ("socket", (HIGH | 40, 1), "EAFNOSUPPORT"),
        ("socket", (40, 1, 2), "EAFNOSUPPORT"),
        ("socket", (HIGH | 2, 1), "allow"),
    ],
)
def test_calls_that_depend_on_their_arguments(
    machine: str, name: str, arguments: tuple[int, ...], expected: str
) -> None:
    assert decide(machine, number(machine, name), *arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_clone_has_all_other_flags(machine: str) -> None:
    refused = [1 << bit for bit in range(64) if decide(machine, number(machine, "clone"), 1 << bit) != "allow"]
    assert refused == sorted(NEW_NAMESPACE.values())


@pytest.mark.parametrize("machine", MACHINES)
@given(flags=U64, rest=st.tuples(*[U64] * 5))
def test_clone_makes_no_namespace_whatever_else_it_asks_for(machine: str, flags: int, rest: tuple[int, ...]) -> None:
    asks = any(flags & flag for flag in NEW_NAMESPACE.values())
    assert decide(machine, number(machine, "clone"), flags, *rest) == ("EPERM" if asks else "allow")


# Real processes ------------------------------------------------------------------------------

CONFINE = f"""
import ctypes, os, sys
sys.path.insert(0, {SOURCE!r})
from testmesh.testing import seccomp
libc = ctypes.CDLL(None, use_errno=True)
def confine():
    libc.prctl(38, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    seccomp.install(seccomp.filter_program(os.uname().machine))
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    return ctypes.get_errno() if result < 0 else 0
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A child of its own that imports what the launcher imports and nothing else."""
    command = [sys.executable, "-I", "-S", "-c", CONFINE + textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def answer(code: str, *arguments: str) -> object:
    finished = run(code, *arguments)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@needs_seccomp
def test_the_kernel_denies_every_call_of_the_table() -> None:
    column = MACHINES.index(platform.machine())
    numbers = {name: pair[column] for name, pair in DENIED.items() if pair[column] is not None}
    found = answer(
        """
        import json
        confine()
        # No argument is valid, so that nothing happens should the filter let one through.
        print(json.dumps({name: call(number, *[-1] * 6) for name, number in json.loads(sys.argv[1]).items()}))
        """,
        json.dumps(numbers),
    )
    assert found == dict.fromkeys(numbers, errno.EPERM)


@needs_seccomp
def test_the_kernel_denies_calls_by_their_arguments() -> None:
    machine = platform.machine()
    found = answer(
        """
        import json, pty
        clone, clone3, socket, ioctl, prlimit = map(int, sys.argv[1:])
        leader, follower = pty.openpty()
        confine()
        def cloned(flag):
            child = os.getpid()
            result = call(clone, flag | 17, 0, 0, 0, 0)
            if os.getpid() != child:
                os._exit(0)
            return result
        print(json.dumps({
            "clone": [cloned(flag) for flag in (0x20000, 0x10000000, 0x10000000 | 0xDEAD << 32, 0x40000000)],
            "clone3": call(clone3, 0, 0),
            "socket": [call(socket, family, 1, 0) for family in (17, 38, 40)],
            "ioctl": [call(ioctl, follower, request, 0) for request in (0x5412, 0xDEAD << 32 | 0x5412, 0x541C)],
            "prlimit": call(prlimit, os.getppid(), 7, 0, 0),
        }))
        """,
        *(str(number(machine, name)) for name in ("clone", "clone3", "socket", "ioctl", "prlimit64")),
    )
    assert found == {
        "clone": [errno.EPERM] * 4,
        "clone3": errno.ENOSYS,
        "socket": [errno.EAFNOSUPPORT] * 3,
        "ioctl": [errno.EPERM] * 3,
        "prlimit": errno.EPERM,
    }


@needs_seccomp
@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86_64 has int 0x80")
def test_a_call_of_32_bits_kills_the_process() -> None:
    code = """
        import mmap
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid of i386); int 0x80; ret
        getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        if len(sys.argv) > 1:
            confine()
        sys.exit(getpid() != os.getpid())
        """
    if run(code).returncode:
        pytest.skip("this kernel runs no programs of 32 bits")
    assert run(code, "confined").returncode == -signal.SIGSYS


@needs_seccomp
@pytest.mark.parametrize("program", ["b''", "b'x' * 8", "seccomp.filter_program('x86_64')[:-8]"])
def test_a_filter_that_the_kernel_refuses_is_an_error(program: str) -> None:
    finished = run(f"libc.prctl(38, *map(ctypes.c_ulong, (1, 0, 0, 0)))\nseccomp.install({program})")
    assert finished.returncode == 1
    assert "OSError: [Errno 22] seccomp: the kernel refuses the filter" in finished.stderr


@needs_seccomp
def test_no_new_privs_comes_first_even_for_root() -> None:
    finished = run("seccomp.install(seccomp.filter_program(os.uname().machine))")
    assert finished.returncode == 1
    assert "PermissionError: [Errno 13] seccomp: set no_new_privs before" in finished.stderr


@needs_seccomp
def test_asking_for_it_changes_nothing() -> None:
    status = Path("/proc/self/status")
    before = [line for line in status.read_text().splitlines() if line.startswith("Seccomp")]
    assert seccomp.available()
    assert [line for line in status.read_text().splitlines() if line.startswith("Seccomp")] == before != []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has seccomp")
@pytest.mark.parametrize(
    ("asked", "tried", "expected"),
    [
        pytest.param(0, errno.EFAULT, True, id="the filter was looked for at NULL"),
        pytest.param(0, errno.EINVAL, False, id="a kernel without filters"),
        pytest.param(0, errno.EPERM, False, id="not permitted by what confines it"),
        pytest.param(-1, errno.EFAULT, False, id="a kernel without seccomp"),
    ],
)
def test_it_is_there_where_the_kernel_looks_for_a_filter(
    monkeypatch: pytest.MonkeyPatch, asked: int, tried: int, expected: bool
) -> None:
    def prctl(option: int, *values: object) -> int:
        ctypes.set_errno(tried)
        return {21: asked, 22: -1}[option]

    monkeypatch.setattr(seccomp, "_prctl", prctl)
    assert seccomp.available() is expected


def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not seccomp.available()


ORDINARY = {
    "subprocess": """
        import subprocess
        assert subprocess.run(["/bin/sh", "-c", "echo hi | cat"], capture_output=True).stdout == b"hi\\n"
        assert os.system("exit 3") >> 8 == 3
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 4"], os.environ)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
        started = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
        started.terminate()
        assert started.wait() == -15
        """,
    "multiprocessing": """
        import multiprocessing
        from multiprocessing import shared_memory
        for method in ("fork", "spawn", "forkserver"):
            context = multiprocessing.get_context(method)
            queue, lock = context.Queue(), context.Lock()
            child = context.Process(target=work, args=(queue, lock))
            child.start()
            assert queue.get(timeout=30) == 42
            child.join()
            assert child.exitcode == 0
        memory = shared_memory.SharedMemory(create=True, size=10)
        memory.buf[0] = 7
        memory.close()
        memory.unlink()
        """,
    "threads": """
        import concurrent.futures, threading
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(lambda n: n * n, range(100))) == 328350
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            assert list(pool.map(abs, [-1, -2])) == [1, 2]
        """,
    "asyncio": """
        import asyncio
        async def main():
            async def echo(reader, writer):
                writer.write(await reader.readline())
                await writer.drain()
                writer.close()
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hi\\n")
            assert await reader.readline() == b"hi\\n"
            writer.close()
            server.close()
            child = await asyncio.create_subprocess_exec("/bin/echo", "yes", stdout=asyncio.subprocess.PIPE)
            assert (await child.communicate())[0] == b"yes\\n"
        asyncio.run(main())
        """,
    "sockets": """
        import array, socket
        assert socket.getaddrinfo("localhost", 80)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as first, socket.socket(socket.AF_INET, kind) as second:
                first.bind(("127.0.0.1", 0))
                if kind == socket.SOCK_STREAM:
                    first.listen()
                second.connect(first.getsockname())
        one, other = socket.socketpair()
        socket.send_fds(one, [b"x"], [0])
        assert len(socket.recv_fds(other, 1, 1)[1]) == 1
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind(f"\\0testmesh-{os.getpid()}")
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
            netlink.bind((0, 0))
        assert socket.if_nameindex()
        """,
    "terminals": """
        import fcntl, pty, struct, termios, tty
        leader, follower = pty.openpty()
        assert os.isatty(follower)
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 20, 70, 0, 0))
        assert os.get_terminal_size(follower).lines == 20
        tty.setraw(follower)
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv("/bin/echo", ["echo", "from the terminal"])
        assert b"from" in os.read(terminal, 100)
        os.waitpid(pid, 0)
        """,
    "descriptors": """
        import ctypes, fcntl, mmap, select, signal, tempfile
        libc = ctypes.CDLL(None, use_errno=True)
        event = os.eventfd(1)
        assert os.eventfd_read(event) == 1
        os.close(os.memfd_create("memory"))
        mask = (ctypes.c_ulong * 16)(1 << 9)
        assert libc.signalfd(-1, mask, 0) >= 0
        assert libc.timerfd_create(1, 0) >= 0
        assert libc.inotify_init1(0) >= 0
        with select.epoll() as poll, tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as copy:
            poll.register(event)
            file.write(b"content")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            assert os.sendfile(copy.fileno(), file.fileno(), 0, 7) == 7
            with mmap.mmap(file.fileno(), 7) as mapped:
                assert mapped[:] == b"content"
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        signal.sigwait([signal.SIGALRM]) if signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]) else None
        """,
    "limits": """
        import resource, time
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        os.nice(0)
        assert time.clock_gettime(time.CLOCK_REALTIME) and time.get_clock_info("monotonic").resolution
        assert os.uname() and os.getloadavg() and os.cpu_count()
        """,
    "libraries": """
        import ctypes, hashlib, sqlite3, ssl, tempfile, uuid, zoneinfo
        ssl.create_default_context()
        with tempfile.TemporaryDirectory() as folder, sqlite3.connect(folder + "/a.db") as database:
            database.execute("pragma journal_mode=wal")
            database.execute("create table t (x)")
        assert uuid.uuid1() and os.urandom(8) and hashlib.scrypt(b"a", salt=b"b", n=2, r=1, p=1)
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda a, b: 0)
        ctypes.CDLL(None).qsort(ctypes.create_string_buffer(8), 8, 1, compare)
        """,
}
SCRIPT = """
import os, sys
def work(queue, lock):
    with lock:
        queue.put(42)
def main():
    {body}
    assert [line.split()[1] for line in open("/proc/self/status") if line.startswith("Seccomp:")] == ["2"]
if __name__ == "__main__":
    main()
"""


def confined(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the launcher does: the filter first, then another program."""
    return run(f"os.chdir({str(tmp_path)!r})\nconfine()\nos.execv(sys.argv[1], sys.argv[1:])", *command)


@needs_seccomp
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_programs_do_not_notice(tmp_path: Path, name: str) -> None:
    body = textwrap.indent(textwrap.dedent(ORDINARY[name]).strip(), "    ").lstrip()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(body=body))
    finished = confined(tmp_path, sys.executable, str(script))
    assert finished.returncode == 0, finished.stdout + finished.stderr


@needs_seccomp
def test_pytest_runs_and_tests_see_ordinary_errors(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
        import os, resource, socket
        import pytest
        def test_files(tmp_path, capfd):
            (tmp_path / "a").write_text("x")
            os.system("echo hello")
            assert capfd.readouterr().out == "hello\\n"
        def test_errors():
            with pytest.raises(PermissionError):
                os.chroot("/")
            with pytest.raises(PermissionError):
                resource.prlimit(os.getppid(), resource.RLIMIT_CORE)
            with pytest.raises(OSError, match="not supported"):
                socket.socket(socket.AF_VSOCK)
        """)
    )
    finished = confined(tmp_path, sys.executable, "-m", "pytest", "-q", "--basetemp=base", "test_it.py")
    assert "2 passed" in finished.stdout, finished.stdout + finished.stderr
