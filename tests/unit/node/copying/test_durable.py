"""A 202 needs a copy elsewhere: asked of peers in their order, followed while bytes flow, not waited for in vain."""

import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from testmesh.clock import FakeClock, SystemClock
from testmesh.errors import (
    ConflictError,
    DrainingError,
    InfrastructureError,
    PeerConflictError,
    PeerError,
    PeerUnableError,
)
from testmesh.node.copying import durable as module
from testmesh.node.copying.durable import DurableCopies
from testmesh.node.messaging.messages import FetchOrder, FetchProgress, Replicate
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.replica import Changes
from tests.support.records import ARCHIVE, evaluation
from tests.support.waiting import until

ME = "me:1"
HELD = evaluation(holders=(ME,))


class Peers:
    """Other nodes. By address: an error that is raised, an event that is waited for, what a fetch has got so far."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Replicate]] = []
        self.asked: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.hangs: dict[str, threading.Event] = {}
        self.progress: dict[str, Callable[[], FetchProgress]] = {}

    def fetch_archives(self, address: str, order: FetchOrder) -> FetchProgress:
        assert order == FetchOrder((ARCHIVE,), ME)
        self.asked.append(address)
        if address in self.hangs:
            self.hangs[address].wait(30)
        if address in self.errors:
            raise self.errors[address]
        return self.progress.get(address, FetchProgress)()

    def replicate(self, address: str, message: Replicate, timeout: float) -> None:
        self.messages.append((address, message))


@pytest.fixture
def peers() -> Iterator[Peers]:
    found = Peers()
    yield found
    for event in found.hangs.values():
        event.set()


@pytest.fixture
def durable(peers: Peers) -> Iterator[DurableCopies]:
    found = DurableCopies(ME, cast(PeerClient, peers), SystemClock())
    yield found
    for event in peers.hangs.values():
        event.set()
    found.stop()


def always(*addresses: str) -> Callable[[], tuple[str, ...]]:
    return lambda: addresses


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NEXT_AFTER_S", 0.05)
    monkeypatch.setattr(module, "_AGAIN_S", 0.0)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)


def test_the_first_peers_fetch_the_archives_and_get_the_record(durable: DurableCopies, peers: Peers) -> None:
    assert sorted(durable.make_durable(HELD, always("a:1", "b:1", "c:1"), 2)) == ["a:1", "b:1"]
    assert {address for address, _ in peers.messages} == {"a:1", "b:1"}
    assert peers.messages[0][1] == Replicate(Changes((HELD,)), (ARCHIVE,), ME, promise=True)


def test_one_that_has_ended_never_looks_open_to_who_takes_its_files(durable: DurableCopies, peers: Peers) -> None:
    ended = evaluation(holders=(ME,), finished_at=9.0, eval_time=1.0)
    durable.copy_to(ended, durable.to("a:1"))
    assert [message.changes.evaluations for _, message in peers.messages] == [(ended,)]


@pytest.mark.parametrize("error", [PeerError("away"), PeerUnableError("507"), InfrastructureError("no disk")])
def test_where_one_fails_the_next_is_asked(durable: DurableCopies, peers: Peers, error: Exception) -> None:
    peers.errors["a:1"] = error
    assert durable.make_durable(HELD, always("a:1", "b:1"), 1) == ("b:1",)


@pytest.mark.usefixtures("impatient")
def test_where_one_hangs_the_next_is_asked(durable: DurableCopies, peers: Peers) -> None:
    peers.hangs["a:1"] = threading.Event()
    assert durable.make_durable(HELD, always("a:1", "b:1"), 1) == ("b:1",)


def test_fewer_copies_than_wanted_are_better_than_a_refusal(durable: DurableCopies, peers: Peers) -> None:
    peers.errors["a:1"] = PeerError("away")
    assert durable.make_durable(HELD, always("a:1", "b:1"), 3) == ("b:1",)
    assert peers.asked.count("a:1") == 1


@pytest.mark.usefixtures("impatient")
def test_where_nobody_takes_a_copy_it_is_not_durable(durable: DurableCopies, peers: Peers) -> None:
    peers.errors |= {"a:1": PeerError("away"), "b:1": PeerError("away")}
    with pytest.raises(DrainingError):
        durable.make_durable(HELD, always("a:1", "b:1"), 1)
    assert peers.asked.count("a:1") == module._TRIES


@pytest.mark.usefixtures("impatient")
def test_one_that_was_out_of_reach_for_a_moment_is_asked_again(durable: DurableCopies, peers: Peers) -> None:
    def progress() -> FetchProgress:
        if len(peers.asked) < 3:
            raise PeerError("away")
        return FetchProgress()

    peers.progress["a:1"] = progress
    assert durable.make_durable(HELD, always("a:1"), 1) == ("a:1",)
    assert len(peers.asked) == 3


def test_one_that_cannot_is_not_asked_twice(durable: DurableCopies, peers: Peers) -> None:
    peers.errors["a:1"] = PeerUnableError("its disk is full")
    with pytest.raises(DrainingError):
        durable.make_durable(HELD, always("a:1"), 1)
    assert peers.asked == ["a:1"]


def test_a_node_without_peers_is_a_mesh_of_one(durable: DurableCopies) -> None:
    assert durable.make_durable(HELD, always(), 1) == ()


def test_with_one_copy_wanted_in_all_nobody_is_asked(durable: DurableCopies, peers: Peers) -> None:
    assert durable.make_durable(HELD, always("a:1"), 0) == ()
    assert peers.asked == []


def test_a_peer_that_dies_is_not_waited_for_any_more(durable: DurableCopies, peers: Peers) -> None:
    """It hangs, stopped; then the membership declares it dead and this node is a mesh of one."""
    peers.hangs["a:1"] = threading.Event()
    live = ["a:1"]
    promised: list[tuple[str, ...]] = []
    thread = threading.Thread(target=lambda: promised.append(durable.make_durable(HELD, lambda: tuple(live), 1)))
    thread.start()
    until(lambda: peers.asked)
    assert thread.is_alive()
    live.clear()
    thread.join(20)
    assert promised == [()]
    assert not peers.hangs["a:1"].is_set()


def test_a_peer_that_joins_meanwhile_is_asked(durable: DurableCopies, peers: Peers) -> None:
    peers.hangs["a:1"] = threading.Event()
    live = ["a:1"]

    def seen() -> tuple[str, ...]:
        if peers.asked:
            live[:] = ["b:1"]
        return tuple(live)

    assert durable.make_durable(HELD, seen, 1) == ("b:1",)


def test_another_submission_under_the_id_is_a_conflict(durable: DurableCopies, peers: Peers) -> None:
    peers.errors["a:1"] = PeerConflictError("409")
    with pytest.raises(ConflictError, match="Idempotency-Key"):
        durable.make_durable(HELD, always("a:1", "b:1"), 1)
    assert peers.asked == ["a:1"]


def test_one_first_asks_nobody_else_before_the_first_agreed(durable: DurableCopies, peers: Peers) -> None:
    peers.errors["a:1"] = PeerConflictError("409")
    with pytest.raises(ConflictError):
        durable.make_durable(HELD, always("a:1", "b:1", "c:1"), 3, one_first=True)
    assert peers.asked == ["a:1"]
    peers.errors.clear()
    assert sorted(durable.make_durable(HELD, always("a:1", "b:1", "c:1"), 3, one_first=True)) == ["a:1", "b:1", "c:1"]


class TestASlowLink:
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def slow(self, peers: Peers, clock: FakeClock) -> Iterator[DurableCopies]:
        found = DurableCopies(ME, cast(PeerClient, peers), clock)
        yield found
        found.stop()

    def test_a_copy_takes_as_long_as_bytes_flow(self, slow: DurableCopies, peers: Peers, clock: FakeClock) -> None:
        """20 MB at 4 Mbit/s, and then some: no limit on the whole."""
        received = iter(range(0, 120))

        def progress() -> FetchProgress:
            clock.advance(1.0)
            got = next(received, None)
            return FetchProgress() if got is None else FetchProgress((ARCHIVE,), got)

        peers.progress["a:1"] = progress
        assert slow.make_durable(HELD, always("a:1"), 1) == ("a:1",)
        assert len(peers.asked) == 121

    def test_one_that_gets_nothing_any_more_has_failed(
        self, slow: DurableCopies, peers: Peers, clock: FakeClock
    ) -> None:
        def progress() -> FetchProgress:
            clock.advance(1.0)
            return FetchProgress((ARCHIVE,), 1000)

        peers.progress["a:1"] = progress
        with pytest.raises(PeerError, match="nothing of the archives"):
            slow.copy_to(HELD, slow.to("a:1"))
        assert len(peers.asked) < 30

    def test_while_bytes_flow_nobody_else_shares_the_link(
        self, slow: DurableCopies, peers: Peers, clock: FakeClock
    ) -> None:
        received = iter(range(0, 10))

        def progress() -> FetchProgress:
            clock.advance(1.0)
            got = next(received, None)
            return FetchProgress() if got is None else FetchProgress((ARCHIVE,), got)

        peers.progress["a:1"] = progress
        assert slow.make_durable(HELD, always("a:1", "b:1"), 1) == ("a:1",)
        assert "b:1" not in peers.asked

    def test_what_is_given_up_ends(self, slow: DurableCopies, peers: Peers) -> None:
        transfer = slow.to("a:1")

        def progress() -> FetchProgress:
            transfer.given_up.set()
            return FetchProgress((ARCHIVE,), len(peers.asked))

        peers.progress["a:1"] = progress
        with pytest.raises(PeerError, match="not waited for"):
            slow.copy_to(HELD, transfer)
        assert len(peers.asked) == 1
        assert peers.messages == []
