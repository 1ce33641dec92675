import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.testing.single_flight import SingleFlight


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as pool:
        yield pool


class Work:
    """Waits until told to end; counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.times = 0
        self.error: BaseException | None = None

    def __call__(self) -> str:
        self.times += 1
        self.begun.set()
        assert self.go_on.wait(30)
        if self.error:
            raise self.error
        return "done"


class Looks:
    """`cancelled` of a waiter: shows that it waits, since only waiters are asked."""

    def __init__(self, answer: bool = False) -> None:
        self.asked = threading.Event()
        self._answer = answer

    def __call__(self) -> bool:
        self.asked.set()
        return self._answer


def start(
    pool: ThreadPoolExecutor, flights: SingleFlight[str], work: Work, waiters: int
) -> tuple[Future[str], list[Future[str]]]:
    leader = pool.submit(flights.run, "key", work)
    assert work.begun.wait(30)
    looks = [Looks() for _ in range(waiters)]
    waiting = [pool.submit(flights.run, "key", work, look) for look in looks]
    assert all(look.asked.wait(30) for look in looks)
    return leader, waiting


def test_all_who_ask_for_a_key_share_one_piece_of_work(pool: ThreadPoolExecutor) -> None:
    work = Work()
    leader, waiting = start(pool, SingleFlight(), work, 7)
    work.go_on.set()
    assert [future.result(30) for future in [leader, *waiting]] == ["done"] * 8
    assert work.times == 1


def test_all_who_waited_get_the_error(pool: ThreadPoolExecutor) -> None:
    work = Work()
    work.error = EnvironmentFailedError("no such version")
    leader, waiting = start(pool, SingleFlight(), work, 3)
    work.go_on.set()
    for future in [leader, *waiting]:
        with pytest.raises(EnvironmentFailedError, match="no such version"):
            future.result(30)


def test_a_cancelled_waiter_leaves_and_the_work_goes_on(pool: ThreadPoolExecutor) -> None:
    work, flights = Work(), SingleFlight[str]()
    leader, _ = start(pool, flights, work, 0)
    with pytest.raises(CancelledError):
        flights.run("key", work, Looks(answer=True))
    work.go_on.set()
    assert leader.result(30) == "done"


def test_the_exit_of_one_thread_is_not_that_of_the_waiters(pool: ThreadPoolExecutor) -> None:
    work = Work()
    work.error = SystemExit(1)
    _, waiting = start(pool, SingleFlight(), work, 1)
    work.go_on.set()
    with pytest.raises(InfrastructureError):
        waiting[0].result(30)


def test_keys_do_not_wait_for_each_other_and_nothing_is_kept(pool: ThreadPoolExecutor) -> None:
    work, flights = Work(), SingleFlight[str]()
    leader, _ = start(pool, flights, work, 0)
    assert flights.run("other", lambda: "other's") == "other's"
    work.go_on.set()
    assert leader.result(30) == "done"
    assert flights.run("key", lambda: "again") == "again"
