"""What must be as it was after any attack, seen from outside: files, processes, mounts, ports, the node itself."""

import contextlib
import hashlib
import os
import secrets
import socket
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.support.mesh import children, wait_for

CANARY = "TMCANARY"
OUTSIDE = "outside-of-the-wheel.py"  # what a wheel tries to put into /tmp


def new_canary() -> str:
    return CANARY + secrets.token_hex(12)


class Trap:
    """Listens where code under test has no business; remembers who came."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.caught: list[str] = []
        self.abstract = f"{mark}-trap"
        self.unix = folder / "trap.socket"
        server = socket.create_server(("0.0.0.0", 0))
        self.port: int = server.getsockname()[1]
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("0.0.0.0", self.port))
        self._sockets = [server, datagrams]
        with contextlib.suppress(OSError):
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        for address in (f"\0{self.abstract}", str(self.unix)):
            local = socket.socket(socket.AF_UNIX)
            local.bind(address)
            local.listen()
            self._sockets.append(local)
        self._threads = [threading.Thread(target=self._watch, args=(one,), daemon=True) for one in self._sockets]

    def __enter__(self) -> "Trap":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.unix.unlink(missing_ok=True)

    def _watch(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                if one.type == socket.SOCK_DGRAM:
                    data, peer = one.recvfrom(1000)
                    if data:
                        self.caught.append(f"{data[:60]!r} by datagram from {peer}")
                else:
                    connection, peer = one.accept()
                    self.caught.append(f"a connection to {one.getsockname()!r} from {peer!r}")
                    connection.close()


@dataclass
class Canary:
    """A file that nobody may read or touch."""

    path: Path
    text: str = field(default_factory=new_canary)
    state: tuple[int, ...] = ()

    def plant(self) -> None:
        self.path.write_text(self.text)
        self.path.chmod(0o600)
        self.state = self._now()

    def changed(self) -> str:
        try:
            same = self._now() == self.state and self.path.read_text() == self.text
        except OSError as error:
            return f"{self.path}: {error}"
        return "" if same else f"{self.path} was changed"

    def _now(self) -> tuple[int, ...]:
        found = self.path.lstat()
        return found.st_mtime_ns, found.st_mode, found.st_nlink, found.st_ino


@contextlib.contextmanager
def canaries(folder: Path) -> Iterator[list[Canary]]:
    """In a folder of the caller's, the machine's folder for temporary files and the user's home."""
    name = f".canary-{secrets.token_hex(6)}"  # without the run's mark, which siblings look for
    places = [folder / name, Path("/tmp") / name, Path.home() / name]
    planted = [Canary(path) for path in places]
    try:
        for canary in planted:
            canary.plant()
        yield planted
    finally:
        for canary in planted:
            canary.path.unlink(missing_ok=True)


# Processes, mounts, ports --------------------------------------------------------------------


def marked_processes(mark: str, folder: Path) -> list[str]:
    """Living processes that attacks started: by the mark in their name or arguments, or a run's folder as their own."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            name, line = (process / "comm").read_text(errors="replace"), (process / "cmdline").read_bytes()
            if state in "ZX":
                continue
            if mark[:15] in name or (mark.encode() in line and b"tests.attacks" not in line):
                found.append(f"process {process.name} ({name.strip()}, {state}): {line[:120]!r}")
            elif str((process / "cwd").readlink()).startswith(f"{folder}/work/"):
                found.append(f"process {process.name} ({name.strip()}) in a run's folder")
    return found


def mounts(folder: Path, mark: str) -> set[str]:
    """Mounts on or of anything of ours; others on this machine may come and go."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line for line in lines if str(folder) in line or mark in line}


def marked_files(mark: str, keep: set[Path], own: tuple[Path, ...]) -> list[str]:
    """Files with the mark in their name: in the node's `own` folders, where any user may leave some, or root might."""
    shared = (
        "/",
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/dev/mqueue",
        "/usr",
        "/usr/lib",
        "/usr/bin",
        "/etc",
        "/opt",
        "/srv",
    )
    found: list[Path] = []
    for folder in (*map(Path, shared), *own):
        if folder.is_dir():
            found += [path for path in folder.iterdir() if mark in path.name or path.name == OUTSIDE]
    return [str(path) for path in found if path not in keep]


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex(("127.0.0.1", port)) == 0


# The node ------------------------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    found = children(pid)
    for one in found:  # grows while it is read
        found += children(one)
    return found


def command_line(pid: int) -> str:
    """Empty where it has ended meanwhile."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def fingerprint_of_environments(folder: Path) -> dict[str, tuple[int, str]]:
    """Every Python file of the node's environments; bytecode may be added where a level lets it."""
    found = {}
    for path in sorted(folder.glob("*/*/env/lib/python*/site-packages/**/*.p*")):
        if path.suffix in (".py", ".pth") and path.is_file():
            found[str(path)] = (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def database_is_whole(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return bool(database.execute("PRAGMA quick_check").fetchone() == ("ok",))


def runs_left(data: Path, patience: float = 15.0) -> list[str]:
    """Folders of runs, once those that end have had their time."""
    work = data / "work"

    def names() -> list[str]:
        return sorted(path.name for path in work.glob("run-*")) if work.is_dir() else []

    with contextlib.suppress(AssertionError):
        wait_for(lambda: not names(), patience)
    return names()
