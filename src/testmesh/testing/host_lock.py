"""Locks that all nodes of one user on a host share, whatever process they are."""

import fcntl
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testmesh.errors import InfrastructureError
from testmesh.testing.cancellation import Cancellation


@contextmanager
def host_lock(name: str, cancellation: Cancellation, folder: Path | None = None) -> Iterator[int | None]:
    """Wait for the lock of this name and hold it. Gives its descriptor, or None if it was cancelled meanwhile.

    The lock is the open file's: a child that inherits the descriptor goes on holding it, should this process die.
    Waiters are served in the kernel's order, which is that of their coming. `folder` must be the same for all nodes of
    this user on the host; by default one below the system's folder for temporary files.

    Raises:
        InfrastructureError: the folder or the file in it is not this user's alone, or cannot be locked.
    """
    waiting = _Waiting(_open_lock_file(folder or default_folder(), f"{name}.lock"))
    try:
        with cancellation.telling(waiting.done.set):
            waiting.start()
            waiting.done.wait()
        if waiting.error is not None:
            raise _cannot_be_locked(name, waiting.error)
        yield waiting.descriptor if waiting.is_held else None
    finally:
        waiting.give_up()


def try_host_lock(name: str, folder: Path | None = None) -> int | None:
    """A descriptor that holds the lock of this name until it is closed. None: another holds it.

    Raises:
        InfrastructureError: as `host_lock`.
    """
    descriptor = _open_lock_file(folder or default_folder(), f"{name}.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise _cannot_be_locked(name, error) from error
    return descriptor


def default_folder() -> Path:
    """Below the system's folder for temporary files."""
    return Path(tempfile.gettempdir()) / f"testmesh-{os.geteuid()}"


class _Waiting:
    """A blocking flock cannot be interrupted, so a thread waits in it, and lets go if it comes too late."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.done = threading.Event()
        self.is_held = False
        self.error: OSError | None = None  # why it cannot be had at all
        self._given_up = False
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._wait, name="host-lock", daemon=True).start()

    def give_up(self) -> None:
        with self._lock:
            self._given_up = True
            if self.is_held:
                os.close(self.descriptor)

    def _wait(self) -> None:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        except OSError as error:
            os.close(self.descriptor)
            self.error = error
            self.done.set()
            return
        with self._lock:
            if self._given_up:
                os.close(self.descriptor)
                return
            self.is_held = True
        self.done.set()


def _cannot_be_locked(name: str, error: OSError) -> InfrastructureError:
    """As on some network file systems."""
    return InfrastructureError(
        f"the lock {name} cannot be held: {error}; let TMPDIR name a folder on a disk of this machine"
    )


def _open_lock_file(folder: Path, name: str) -> int:
    """Others may write where the folder lies: what is there is checked to be a plain folder of this user alone."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(handle)
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise InfrastructureError(f"{folder} belongs to someone else or is open to others; remove it")
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, 0o600, dir_fd=handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise InfrastructureError(f"the lock {name} cannot be opened: {error}") from error
