"""No more modules start at once than there are gates, and none holds a gate for ever."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from testmesh.testing.cancellation import Cancellation
from testmesh.testing.start_gate import start_gate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_the_next_starts_only_when_the_gate_is_opened(folder: Path) -> None:
    inside = threading.Event()

    def follow() -> None:
        with start_gate(Cancellation(), folder, gates=1):
            inside.set()

    with start_gate(Cancellation(), folder, gates=1, hold_s=600) as opened:
        follower = threading.Thread(target=follow)
        follower.start()
        assert not inside.wait(0.2)
        opened()
        assert inside.wait(30)
        follower.join()
        opened()  # a second time is nothing


def test_one_that_hangs_is_passed_by(folder: Path) -> None:
    with start_gate(Cancellation(), folder, gates=1, hold_s=0.05), start_gate(Cancellation(), folder, gates=1):
        pass


def test_a_cancelled_one_does_not_wait(folder: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with ExitStack() as stack:
        stack.enter_context(start_gate(Cancellation(), folder, gates=1, hold_s=600))
        stack.enter_context(start_gate(cancellation, folder, gates=1))
