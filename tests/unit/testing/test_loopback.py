"""Modules that may bind ports on a shared loopback run one at a time on a host."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from testmesh.errors import InfrastructureError
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.loopback import loopback_lock
from tests.support.projects import wait_until


def is_free(folder: Path) -> bool:
    with (folder / "loopback.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def waiting_threads() -> int:
    return sum(thread.name == "host-lock" for thread in threading.enumerate())


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    inside = []

    def hold(number: int) -> int:
        with loopback_lock(Cancellation(), tmp_path / "lock") as descriptor:
            inside.append(number)
            assert descriptor is not None
            assert inside == [number]
            assert not is_free(tmp_path / "lock")
            inside.remove(number)
        return number

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(hold, range(30))) == list(range(30))
    assert is_free(tmp_path / "lock")


def test_a_cancelled_wait_ends_and_takes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lock"
    cancellation = Cancellation()

    def wait() -> int | None:
        with loopback_lock(cancellation, folder) as descriptor:
            return descriptor

    with ThreadPoolExecutor(1) as pool:
        with loopback_lock(Cancellation(), folder):
            waiting = pool.submit(wait)
            wait_until(waiting_threads, "it waits")
            cancellation.cancel()
            assert waiting.result(30) is None
        wait_until(lambda: is_free(folder), "the late lock is let go")
    wait_until(lambda: not waiting_threads(), "its thread has ended")


def test_a_child_that_inherits_it_goes_on_holding_it(tmp_path: Path) -> None:
    folder = tmp_path / "lock"
    with loopback_lock(Cancellation(), folder) as descriptor:
        assert descriptor is not None
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(descriptor,), stderr=subprocess.DEVNULL
        )
    assert not is_free(folder)
    child.communicate(b"\n", timeout=30)
    assert is_free(folder)


def test_where_the_file_system_has_no_locks_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(InfrastructureError, match="No locks available"), ExitStack() as stack:
        stack.enter_context(loopback_lock(Cancellation(), tmp_path / "lock"))


def test_the_default_folder_is_this_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with loopback_lock(Cancellation()) as descriptor:
        assert descriptor is not None
        assert [folder.name for folder in tmp_path.iterdir()] == [f"testmesh-{os.geteuid()}"]


def _link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def _link_inside(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "loopback.lock").symlink_to(folder.parent / "victim")


def _open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


@pytest.mark.parametrize("trick", [_link, _link_inside, _open_to_others, Path.touch])
def test_tricks_in_the_shared_folder_are_refused(tmp_path: Path, trick: Callable[[Path], None]) -> None:
    trick(tmp_path / "lock")
    with pytest.raises(InfrastructureError), ExitStack() as stack:
        stack.enter_context(loopback_lock(Cancellation(), tmp_path / "lock"))
    assert not (tmp_path / "victim").exists()
