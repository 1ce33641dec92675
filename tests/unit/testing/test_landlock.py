"""Real processes that restricted themselves, and what they can still do; run as root they have no more than others."""

import ctypes
import errno
import json
import os
import select
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import testmesh
from testmesh.testing import landlock

SOURCE = str(Path(testmesh.__file__).parents[1])
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", sys.base_prefix, sys.prefix, SOURCE]
ABI = landlock.abi()
ABIS = range(1, ABI + 1)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has Landlock")
needs_landlock = pytest.mark.skipif(ABI == 0, reason="this kernel has no Landlock")
needs_scopes = pytest.mark.skipif(
    ABI < 6, reason=f"this kernel's Landlock (ABI {ABI}) cannot scope signals and sockets"
)

PRELUDE = f"""
import ctypes, errno, json, os, signal, sys
sys.path.insert(0, {SOURCE!r})
from testmesh.testing import landlock
libc = ctypes.CDLL(None, use_errno=True)
readable, writable, abi = json.loads(sys.argv[1])
def no_new_privileges():
    libc.prctl(38, *map(ctypes.c_ulong, (1, 0, 0, 0)))
def restrict():
    no_new_privileges()
    landlock.restrict(readable, writable, abi)
def drop_capabilities():
    assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), bytes(24)) == 0
def tried(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def opened(path, flags=os.O_RDONLY):
    return tried(lambda: os.close(os.open(path, flags)))
def tell(**answers):
    print(json.dumps(answers), flush=True)
"""


class Folders:
    """`work` may be written, `given` be read, and `secret`, beside them, nothing at all."""

    def __init__(self, root: Path) -> None:
        self.root, self.work, self.given, self.secret = root, root / "work", root / "given", root / "secret"
        for folder in (self.work, self.given, self.secret):
            (folder / "inner").mkdir(parents=True)
            (folder / "file").write_text("content")
        self.readable = [*SYSTEM, str(self.given)]
        self.writable = [str(self.work)]

    def start(self, code: str, *arguments: str, abi: int = ABI) -> "subprocess.Popen[str]":
        request = json.dumps([self.readable, self.writable, abi])
        command = [sys.executable, "-I", "-S", "-c", PRELUDE + textwrap.dedent(code), request, *arguments]
        return subprocess.Popen(
            command, cwd=self.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self, code: str, *arguments: str, abi: int = ABI) -> tuple[int, str, str]:
        with self.start(code, *arguments, abi=abi) as child:
            output, errors = child.communicate(timeout=60)
        return child.returncode, output, errors

    def answers(self, code: str, *arguments: str, abi: int = ABI) -> dict[str, str]:
        status, output, errors = self.finish(code, *arguments, abi=abi)
        assert status == 0, errors
        return dict(json.loads(output))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


@pytest.fixture
def victim() -> Iterator["subprocess.Popen[bytes]"]:
    """A process outside, of the same uid, that waits until its standard input ends; it has said that it runs."""
    code = "print(flush=True); input()"
    command = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


# Files ---------------------------------------------------------------------------------------


@needs_landlock
def test_nothing_outside_is_read_written_made_or_removed(folders: Folders) -> None:
    found = folders.answers("""
        os.chdir("secret")
        restrict()
        tell(
            shadow=opened("/etc/shadow"),
            read=opened("file"),
            absolute=opened(os.path.abspath("file")),
            through_work=opened("../work/../secret/file"),
            list=tried(os.listdir, "."),
            list_parent=tried(os.listdir, ".."),
            write=opened("file", os.O_WRONLY),
            append=opened("file", os.O_WRONLY | os.O_APPEND),
            create=opened("new", os.O_WRONLY | os.O_CREAT),
            mkdir=tried(os.mkdir, "new"),
            symlink=tried(os.symlink, "/", "new"),
            fifo=tried(os.mkfifo, "new"),
            remove=tried(os.remove, "file"),
            rmdir=tried(os.rmdir, "inner"),
            rename=tried(os.rename, "file", "new"),
            execute=tried(os.execv, "/etc/shadow", ["x"]),
        )
        """)
    assert found == dict.fromkeys(found, "EACCES")
    assert (folders.secret / "file").read_text() == "content"
    assert sorted(path.name for path in folders.secret.iterdir()) == ["file", "inner"]


@needs_landlock
def test_a_link_in_the_work_folder_leads_nowhere(folders: Folders) -> None:
    (folders.work / "link").symlink_to(folders.secret)
    found = folders.answers("""
        restrict()
        os.symlink("/etc", "work/etc")
        tell(before=opened("work/link/file"), after=opened("work/etc/shadow"), listing=tried(os.listdir, "work/link"))
        """)
    assert found == dict.fromkeys(found, "EACCES")


@needs_landlock
def test_readable_means_read_list_and_execute_and_no_more(folders: Folders) -> None:
    script = folders.given / "script"
    script.write_text("#!/bin/sh\nexit 7\n")
    script.chmod(0o755)
    found = folders.answers("""
        os.chdir("given")
        restrict()
        tell(
            read=opened("file"),
            listing=tried(os.listdir, "."),
            execute=str(os.waitstatus_to_exitcode(os.system("./script"))),
            write=opened("file", os.O_WRONLY),
            create=opened("new", os.O_WRONLY | os.O_CREAT),
            remove=tried(os.remove, "file"),
            rename=tried(os.rename, "file", "new"),
            mkdir=tried(os.mkdir, "new"),
            rmdir=tried(os.rmdir, "inner"),
        )
        """)
    assert found == {"read": "done", "listing": "done", "execute": "7"} | dict.fromkeys(
        ("write", "create", "remove", "rename", "mkdir", "rmdir"), "EACCES"
    )


@needs_landlock
def test_everything_is_possible_in_the_work_folder(folders: Folders) -> None:
    found = folders.answers("""
        import socket
        os.chdir("work")
        restrict()
        def write():
            with open("new", "w") as file:
                file.write("longer")
            with open("new", "r+") as file:
                file.truncate(1)
        tell(
            write=tried(write),
            truncate=tried(os.truncate, "file", 0),
            rename=tried(os.rename, "file", "renamed"),
            replace=tried(os.replace, "new", "renamed"),
            mkdir=tried(os.makedirs, "a/b/c"),
            rmdir=tried(os.removedirs, "a/b/c"),
            rename_folder=tried(os.rename, "inner", "other"),
            symlink=tried(os.symlink, "renamed", "link"),
            hard_link=tried(os.link, "renamed", "linked"),
            fifo=tried(os.mkfifo, "fifo"),
            socket=tried(socket.socket(socket.AF_UNIX).bind, "socket"),
            remove=tried(os.remove, "link"),
            chmod=tried(os.chmod, "renamed", 0o600),
            listing=tried(os.listdir, "."),
        )
        """)
    assert found == dict.fromkeys(found, "done")


@needs_landlock
def test_nothing_is_moved_or_linked_in_or_out(folders: Folders) -> None:
    found = folders.answers("""
        restrict()
        tell(
            move_out=tried(os.rename, "work/file", "secret/moved"),
            move_in=tried(os.rename, "secret/file", "work/moved"),
            link_in=tried(os.link, "secret/file", "work/linked"),
            link_to_write=tried(os.link, "given/file", "work/linked"),
            exchange=tried(os.rename, "given/file", "work/file"),
        )
        """)
    assert set(found.values()) <= {"EACCES", "EXDEV"}
    assert sorted(path.name for path in folders.work.iterdir()) == ["file", "inner"]
    assert (folders.secret / "file").exists()


@needs_landlock
def test_a_file_may_be_given_by_itself_and_what_is_missing_is_passed_over(folders: Folders) -> None:
    folders.readable += [str(folders.secret / "file"), str(folders.secret / "missing"), "/nowhere/at/all"]
    folders.writable = [str(folders.work / "file"), str(folders.work / "file" / "below"), str(folders.work / "missing")]
    found = folders.answers("""
        restrict()
        tell(
            read=opened("secret/file"),
            write=opened("work/file", os.O_RDWR | os.O_TRUNC),
            write_readable=opened("secret/file", os.O_WRONLY),
            missing=opened("work/missing", os.O_WRONLY | os.O_CREAT),
            remove=tried(os.remove, "work/file"),
            listing=tried(os.listdir, "secret"),
        )
        """)
    assert found == {"read": "done", "write": "done"} | dict.fromkeys(
        ("write_readable", "missing", "remove", "listing"), "EACCES"
    )


@needs_landlock
def test_devices_work_and_terminals_can_be_opened(folders: Folders) -> None:
    folders.writable += ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/ptmx", "/dev/pts"]
    found = folders.answers("""
        import fcntl, pty, struct, termios
        restrict()
        def terminal():
            leader, follower = pty.openpty()
            fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 20, 70, 0, 0))
            assert os.ttyname(follower) and os.get_terminal_size(follower).lines == 20
        def read():
            with open("/dev/zero", "rb") as zeros, open("/dev/urandom", "rb") as noise:
                assert zeros.read(3) == bytes(3) and noise.read(3)
        tell(terminal=tried(terminal), read=tried(read), null=opened("/dev/null", os.O_RDWR), other=opened("/dev/full"))
        """)
    assert found == {"terminal": "done", "read": "done", "null": "done", "other": "EACCES"}


@needs_landlock
def test_what_was_open_before_stays_open(folders: Folders) -> None:
    found = folders.answers("""
        before = os.open("secret/file", os.O_RDONLY)
        restrict()
        tell(content=os.read(before, 100).decode(), again=opened("secret/file"))
        """)
    assert found == {"content": "content", "again": "EACCES"}


@needs_landlock
@pytest.mark.parametrize("abi", ABIS)
def test_each_abi_denies_what_is_said_of_it(folders: Folders, abi: int, victim: "subprocess.Popen[bytes]") -> None:
    folders.readable.append("/dev/ptmx")
    found = folders.answers(
        """
        import fcntl
        restrict()
        def ioctl():
            fcntl.ioctl(os.open("/dev/ptmx", os.O_RDONLY), 0x80045430, bytes(4))  # TIOCGPTN: the terminal's number
        tell(
            read=opened("secret/file"),
            move=tried(os.rename, "work/file", "work/inner/file"),
            truncate=tried(os.truncate, "secret/file", 0),
            ioctl=tried(ioctl),
            signal=tried(os.kill, int(sys.argv[2]), 0),
        )
        """,
        str(victim.pid),
        abi=abi,
    )
    assert found == {
        "read": "EACCES",
        "move": "EXDEV" if abi < 2 else "done",
        "truncate": "done" if abi < 3 else "EACCES",
        "ioctl": "done" if abi < 5 else "EACCES",
        "signal": "done" if abi < 6 else "EPERM",
    }


@needs_landlock
def test_not_even_root_can_mount(folders: Folders) -> None:
    code = """
        def mount(source, target, flags):
            return libc.mount(source, target, b"tmpfs", ctypes.c_ulong(flags), None) == 0
        # Whatever happens, it happens to mounts of this process alone: in a namespace of its own, private throughout.
        if libc.unshare(0x20000) or not mount(None, b"/", 0x44000):
            tell(mount="nobody may here")
            sys.exit()
        if len(sys.argv) > 2:
            restrict()
        mounted = mount(b"tmpfs", os.path.abspath("work").encode(), 0)
        tell(mount="done" if mounted else errno.errorcode[ctypes.get_errno()])
        """
    if folders.answers(code)["mount"] != "done":
        pytest.skip("only root may mount, and not in every container")
    assert folders.answers(code, "restricted") == {"mount": "EPERM"}


# Programs ------------------------------------------------------------------------------------


@needs_landlock
def test_pytest_runs_from_readable_folders(folders: Folders) -> None:
    (folders.work / "test_it.py").write_text(
        textwrap.dedent("""
        import pathlib, subprocess, sys
        import pytest
        def test_files(tmp_path, capfd):
            (tmp_path / "a").write_text("x")
            subprocess.run([sys.executable, "-c", "import json, sqlite3, ssl; print('started')"], check=True)
            assert "started" in capfd.readouterr().out
        def test_outside():
            with pytest.raises(PermissionError):
                pathlib.Path("../secret/file").read_text()
        """)
    )
    folders.writable += ["/dev/null", "/dev/urandom"]
    folders.readable += ["/etc", "/proc"]
    status, output, errors = folders.finish(
        """
        os.chdir("work")
        restrict()
        os.environ.update(TMPDIR=os.getcwd(), HOME=os.getcwd(), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        os.execv(sys.argv[2], [sys.argv[2], "-m", "pytest", "-q", "--rootdir=.", "test_it.py"])
        """,
        sys.executable,
    )
    assert "2 passed" in output, output + errors
    assert status == 0


# Other processes -----------------------------------------------------------------------------


@needs_scopes
def test_no_signal_leaves_but_all_reach_its_own(folders: Folders, victim: "subprocess.Popen[bytes]") -> None:
    found = folders.answers(
        """
        restrict()
        outside = int(sys.argv[2])
        child = os.fork()
        if child == 0:
            signal.pause()
        tell(
            terminate=tried(os.kill, outside, signal.SIGTERM),
            kill=tried(os.kill, outside, signal.SIGKILL),
            by_descriptor=tried(signal.pidfd_send_signal, os.pidfd_open(outside), signal.SIGKILL),
            parent=tried(os.kill, os.getppid(), 0),
            own=tried(os.kill, child, signal.SIGKILL),
            reaped=tried(os.waitpid, child, 0),
        )
        """,
        str(victim.pid),
    )
    assert found == dict.fromkeys(("terminate", "kill", "by_descriptor", "parent"), "EPERM") | {
        "own": "done",
        "reaped": "done",
    }
    assert victim.poll() is None


@needs_scopes
def test_those_restricted_by_separate_calls_are_strangers(folders: Folders) -> None:
    with folders.start("restrict(); tell(ready='yes'); input()") as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = folders.answers("restrict(); tell(signal=tried(os.kill, int(sys.argv[2]), 0))", str(other.pid))
        other.communicate("\n", timeout=60)
    assert found == {"signal": "EPERM"}
    assert other.returncode == 0


@needs_scopes
def test_abstract_sockets_outside_are_out_of_reach_and_its_own_are_not(folders: Folders) -> None:
    with socket.socket(socket.AF_UNIX) as outside, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        outside.bind("")  # the kernel gives it an abstract name
        outside.listen()
        datagrams.bind("")
        found = folders.answers(
            """
            import socket
            restrict()
            stream, datagrams = (b"\\0" + bytes.fromhex(name) for name in sys.argv[2:])
            own = socket.socket(socket.AF_UNIX)
            own.bind("")
            own.listen()
            tell(
                connect=tried(socket.socket(socket.AF_UNIX).connect, stream),
                send=tried(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto, b"x", datagrams),
                own=tried(socket.socket(socket.AF_UNIX).connect, own.getsockname()),
            )
            """,
            outside.getsockname()[1:].hex(),
            datagrams.getsockname()[1:].hex(),
        )
        assert found == {"connect": "EPERM", "send": "EPERM", "own": "done"}
        assert select.select([outside, datagrams], [], [], 0)[0] == []


@needs_landlock
def test_environment_and_memory_outside_are_unreadable(folders: Folders) -> None:
    folders.readable.append("/proc")
    look = """
        drop_capabilities()
        outside = f"/proc/{sys.argv[2]}/"
        def attach(pid):
            if libc.ptrace(ctypes.c_long(0x4206), ctypes.c_long(pid), None, None) < 0:  # PTRACE_SEIZE
                raise OSError(ctypes.get_errno(), "")
        child = os.fork()
        if child == 0:
            signal.pause()
        tell(
            environment=opened(outside + "environ"),
            memory=opened(outside + "mem"),
            maps=opened(outside + "maps"),
            descriptor=opened(outside + "fd/1"),
            folder=tried(os.listdir, outside + "cwd/"),
            trace=tried(attach, int(sys.argv[2])),
            own=opened(f"/proc/{child}/environ"),
        )
        os.kill(child, signal.SIGKILL)
        """
    # An equal but for Landlock: a capability of the one or the other would decide instead.
    with folders.start("drop_capabilities(); tell(ready='yes'); input()") as outside:
        assert outside.stdout is not None
        outside.stdout.readline()
        before = folders.answers(look, str(outside.pid))
        found = folders.answers("restrict()\n" + textwrap.dedent(look), str(outside.pid))
        outside.communicate("\n", timeout=60)
    assert before["environment"] == before["maps"] == "done"
    assert found.pop("own") == "done"
    assert found.pop("trace") == "EPERM"
    assert found == dict.fromkeys(found, "EACCES")


# Asking and failing --------------------------------------------------------------------------


def refuses(folders: Folders, code: str, sentence: str, abi: int = ABI) -> None:
    status, _, errors = folders.finish(code, abi=abi)
    assert status == 1
    assert sentence in errors


@needs_landlock
def test_no_new_privs_comes_first_even_for_root(folders: Folders) -> None:
    sentence = "PermissionError: [Errno 1] landlock: set no_new_privs before"
    refuses(folders, "landlock.restrict(readable, writable, abi)", sentence)


def test_without_landlock_it_is_an_error(folders: Folders) -> None:
    refuses(folders, "restrict()", "OSError: [Errno 38] landlock: this kernel does not have it", abi=0)


@needs_landlock
def test_what_the_kernel_refuses_is_an_error(folders: Folders) -> None:
    code = "for _ in range(99): restrict()"  # the kernel nests 16
    refuses(folders, code, "OSError: [Errno 7] landlock: the kernel refuses to restrict this process")


@needs_landlock
def test_asking_leaves_nothing_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert landlock.abi() == ABI
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert landlock.abi() == 0


class Kernel:
    """Answers as a kernel does that claims an ABI and takes the rights and scopes that it has."""

    def __init__(self, claimed: int, rights: int, scopes: int) -> None:
        self.claimed, self.rights, self.scopes = claimed, rights, scopes

    def __call__(self, number: int, *arguments: int | bytes | None) -> int:
        assert number == 444
        attributes, size, flags = arguments
        if flags == 1:
            assert (attributes, size) == (None, 0)
            return self.claimed
        assert isinstance(attributes, bytes)
        rights, network, scopes = struct.unpack("=QQQ", attributes)
        assert (network, size) == (0, len(attributes))
        if rights & ~self.rights or scopes & ~self.scopes:
            ctypes.set_errno(errno.EINVAL)
            return -1
        return os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize(
    ("claimed", "rights", "scopes", "expected"),
    [
        (-1, 0, 0, 0),
        (1, 0x1FFF, 0, 1),
        (2, 0x3FFF, 0, 2),
        (3, 0x7FFF, 0, 3),
        (4, 0x7FFF, 0, 4),
        (5, 0xFFFF, 0, 5),
        (6, 0xFFFF, 3, 6),
        (7, 0xFFFF, 3, 7),
        (9, 0x1FFFF, 3, 9),
        (99, 0x1FFFFF, 7, 99),
        pytest.param(6, 0xFFFF, 1, 5, id="RHEL 9, which cannot scope signals"),
        pytest.param(9, 0xFFFF, 3, 8, id="a part of 9"),
        pytest.param(3, 0, 0, 0, id="nothing works"),
    ],
)
def test_the_version_is_one_that_is_wholly_there(
    monkeypatch: pytest.MonkeyPatch, claimed: int, rights: int, scopes: int, expected: int
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(landlock, "_syscall", Kernel(claimed, rights, scopes))
    assert landlock.abi() == expected
