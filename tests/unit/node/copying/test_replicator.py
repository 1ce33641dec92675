"""Records get to every peer: pushed as they change, compared for what got lost."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testmesh.errors import DiskFullError, MalformedError, PeerError, PeerFailedError
from testmesh.model import ModuleState, TestResult, Verdict
from testmesh.node.copying import replicator as module
from testmesh.node.copying.replicator import PeerLink, Replicator
from testmesh.node.messaging.messages import Replicate
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation
from tests.support.waiting import until

ME = "me:1"


def running(name: str = "t", attempt: int = 1, of: str = "e1") -> ModuleRecord:
    return ModuleRecord(ModuleState(of, "p", name, Verdict.RUNNING, attempt=attempt))


class Peers:
    """Other nodes, each with a store. Faults by address: an error that is raised, an event that is waited for."""

    def __init__(self) -> None:
        self.stores: dict[str, MemoryStore] = {}
        self.messages: list[tuple[str, Replicate]] = []
        self.errors: dict[str, Exception] = {}
        self.hangs: dict[str, threading.Event] = {}
        self.asked: list[tuple[str, str]] = []

    def store(self, address: str) -> MemoryStore:
        return self.stores.setdefault(address, MemoryStore())

    def _meet(self, address: str, what: str) -> MemoryStore:
        self.asked.append((address, what))
        if address in self.hangs:
            self.hangs[address].wait(30)
        if address in self.errors:
            raise self.errors[address]
        return self.store(address)

    def replicate(self, address: str, message: Replicate, timeout: float) -> None:
        store = self._meet(address, "replicate")
        self.messages.append((address, message))
        store.merge(message.changes)

    def digests(self, address: str) -> dict[str, int]:
        return self._meet(address, "digests").digests()

    def records(self, address: str, evaluation_id: str, timeout: float) -> Iterator[Changes]:
        found = self._meet(address, evaluation_id).records(evaluation_id)
        if evaluation_id in self.errors:
            raise self.errors[evaluation_id]
        yield found

    def tries(self, address: str) -> int:
        return sum(asked == address for asked, _ in self.asked)


@pytest.fixture
def peers() -> Iterator[Peers]:
    found = Peers()
    yield found
    for event in found.hangs.values():
        event.set()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(MemoryStore())


@pytest.fixture
def replicator(ledger: Ledger, peers: Peers) -> Iterator[Replicator]:
    found = Replicator(ME, ledger, cast(PeerClient, peers))
    yield found
    for event in peers.hangs.values():
        event.set()
    found.stop()


class TestPushing:
    def test_what_begins_here_is_told_to_every_peer(self, ledger: Ledger, replicator: Replicator, peers: Peers) -> None:
        replicator.peer_joined("a:1")
        replicator.peer_joined("b:1")
        changes = Changes((evaluation(),), (running(),))
        ledger.merge(changes, publish=True)
        for address in ("a:1", "b:1"):
            until(lambda address=address: peers.store(address).digest() == ledger.store.digest())  # type: ignore[misc]

    def test_what_came_from_a_peer_is_not_sent_round(
        self, ledger: Ledger, replicator: Replicator, peers: Peers
    ) -> None:
        replicator.peer_joined("a:1")
        ledger.merge(Changes((evaluation("theirs"),)), publish=False)
        ledger.merge(Changes((evaluation("mine"),)), publish=True)
        until(lambda: peers.store("a:1").evaluation("mine"))
        assert peers.store("a:1").evaluation("theirs") is None

    def test_a_peer_that_hangs_holds_up_no_other(self, ledger: Ledger, replicator: Replicator, peers: Peers) -> None:
        peers.hangs["slow:1"] = threading.Event()
        replicator.peer_joined("slow:1")
        replicator.peer_joined("b:1")
        for number in range(3):
            ledger.merge(Changes((evaluation(f"e{number}"),)), publish=True)
        until(lambda: len(peers.store("b:1").newest(10)) == 3)
        assert peers.store("slow:1").newest(10) == []

    def test_a_peer_that_is_gone_is_told_nothing_more_and_told_again_when_it_is_back(
        self, ledger: Ledger, replicator: Replicator, peers: Peers
    ) -> None:
        replicator.peer_joined("a:1")
        replicator.peer_gone("a:1")
        replicator.peer_gone("a:1")
        ledger.merge(Changes((evaluation("while away"),)), publish=True)
        replicator.peer_joined("a:1")
        replicator.peer_joined("a:1")
        ledger.merge(Changes((evaluation("back"),)), publish=True)
        until(lambda: peers.store("a:1").evaluation("back"))
        assert peers.store("a:1").evaluation("while away") is None


class TestLink:
    @pytest.fixture
    def link(self, peers: Peers) -> Iterator[PeerLink]:
        found = PeerLink("a:1", cast(PeerClient, peers))
        yield found
        for event in peers.hangs.values():
            event.set()
        found.abandon()
        found.join(20)

    def test_records_that_wait_are_coalesced_to_their_newest(self, link: PeerLink, peers: Peers) -> None:
        peers.hangs["a:1"] = threading.Event()
        link.push(Changes(modules=(running("first"),)))
        until(lambda: peers.tries("a:1") == 1)
        for attempt in range(1, 50):
            link.push(Changes((evaluation(epoch=attempt),), (running(attempt=attempt),)))
        peers.hangs["a:1"].set()

        until(lambda: len(peers.messages) == 2)
        _, second = peers.messages[1]
        assert second.changes == Changes((evaluation(epoch=49),), (running(attempt=49),))

    def test_an_older_record_that_comes_later_does_not_replace_a_newer_one(self, link: PeerLink, peers: Peers) -> None:
        """Two threads merge; their listeners may be called in the other order."""
        peers.hangs["a:1"] = threading.Event()
        link.push(Changes(modules=(running("first"),)))
        until(lambda: peers.tries("a:1") == 1)
        link.push(Changes(modules=(running(attempt=2),)))
        link.push(Changes(modules=(running(attempt=1),)))
        peers.hangs["a:1"].set()
        until(lambda: len(peers.messages) == 2)
        assert peers.messages[1][1].changes.modules == (running(attempt=2),)

    def test_what_could_not_be_sent_is_sent_again_with_what_came_meanwhile(self, link: PeerLink, peers: Peers) -> None:
        peers.errors["a:1"] = PeerError("away")
        link.push(Changes((evaluation(),), (running("t1"), running("t2"))))
        until(lambda: peers.tries("a:1") > 1)
        link.push(Changes(modules=(running("t2", attempt=2),)))
        del peers.errors["a:1"]
        until(lambda: len(peers.store("a:1").states("e1")) == 2)
        until(lambda: [s.attempt for s in peers.store("a:1").states("e1")] == [1, 2])

    def test_many_records_are_several_messages(self, link: PeerLink, peers: Peers) -> None:
        link.push(Changes(modules=tuple(running(f"t{i:03}") for i in range(450))))
        until(lambda: len(peers.store("a:1").states("e1")) == 450)
        assert len(peers.messages) > 1

    def test_an_end_is_told_after_all_results(self, link: PeerLink, peers: Peers) -> None:
        peers.hangs["a:1"] = threading.Event()
        link.push(Changes((evaluation(),)))
        until(lambda: peers.tries("a:1") == 1)
        link.push(Changes((evaluation(finished_at=9.0),), tuple(running(f"t{i:03}") for i in range(450))))
        peers.hangs["a:1"].set()
        until(lambda: peers.store("a:1").evaluation("e1") == evaluation(finished_at=9.0))
        assert len(peers.store("a:1").states("e1")) == 450

    def test_records_that_can_never_be_sent_do_not_end_the_link(self, link: PeerLink, peers: Peers) -> None:
        peers.errors["a:1"] = ValueError("cannot be encoded")
        link.push(Changes((evaluation("poison"),)))
        until(lambda: peers.tries("a:1"))
        del peers.errors["a:1"]
        link.push(Changes((evaluation("good"),)))
        until(lambda: peers.store("a:1").evaluation("good"))

    def test_stopping_sends_what_waits(self, link: PeerLink, peers: Peers) -> None:
        peers.hangs["a:1"] = threading.Event()
        link.push(Changes((evaluation("e1"),)))
        until(lambda: peers.tries("a:1") == 1)
        link.push(Changes((evaluation("e2"),)))
        link.stop()
        peers.hangs["a:1"].set()
        link.join(20)
        assert peers.store("a:1").evaluation("e2")

    def test_stopping_is_not_delayed_by_a_peer_that_is_away(self, link: PeerLink, peers: Peers) -> None:
        peers.errors["a:1"] = PeerError("away")
        link.push(Changes((evaluation("e1"),)))
        until(lambda: peers.tries("a:1") > 3)  # it waits longer and longer between two tries
        link.stop()
        link.join(20)
        assert not link._thread.is_alive()


class TestComparing:
    def test_what_the_peer_knows_better_is_fetched_and_only_that(
        self, ledger: Ledger, replicator: Replicator, peers: Peers
    ) -> None:
        same, news, ahead = evaluation("same"), evaluation("new", epoch=3), evaluation("mine", epoch=9)
        ledger.merge(Changes((same, replace(news, epoch=1), ahead)), publish=False)
        peers.store("a:1").merge(Changes((same, news), (running(of="new"), running(of="unknown"))))

        replicator.compare("a:1")

        assert ledger.store.evaluation("new") == news
        assert ledger.store.states("unknown") == (running(of="unknown").state,)
        assert ledger.store.evaluation("mine") == ahead
        assert ("a:1", "same") not in peers.asked

    def test_two_stores_that_compare_with_each_other_are_equal(
        self, ledger: Ledger, replicator: Replicator, peers: Peers
    ) -> None:
        theirs = Ledger(peers.store("a:1"))
        peers.stores["me:1"] = cast(MemoryStore, ledger.store)
        ledger.merge(Changes((evaluation("e1", owner="x:1"), evaluation("e2")), (running(attempt=2),)), publish=False)
        theirs.merge(
            Changes((evaluation("e1", epoch=2), evaluation("e3")), (running("u"), running(attempt=1))), publish=False
        )
        other = Replicator("a:1", theirs, cast(PeerClient, peers))
        try:
            replicator.compare("a:1")
            other.compare("me:1")
        finally:
            other.stop()
        assert ledger.store.digests() == theirs.store.digests()

    @pytest.mark.parametrize("error", [PeerFailedError("404"), MalformedError("not so"), ValueError("unforeseen")])
    def test_one_evaluation_that_cannot_be_had_keeps_no_other_away(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, error: Exception
    ) -> None:
        peers.store("a:1").merge(Changes((evaluation("e1"), evaluation("e2"), evaluation("e3"))))
        peers.errors["e2"] = error
        replicator.compare("a:1")
        assert {e.id for e in ledger.store.newest(10)} == {"e1", "e3"}

    def test_a_peer_out_of_reach_is_given_up_and_what_came_is_kept(
        self, ledger: Ledger, replicator: Replicator, peers: Peers
    ) -> None:
        ids = [f"e{number}" for number in range(5)]
        peers.store("a:1").merge(Changes(tuple(map(evaluation, ids))))
        second, third = list(peers.store("a:1").digests())[1:3]
        peers.errors[second] = PeerError("away")
        with pytest.raises(PeerError):
            replicator.compare("a:1")
        assert len(ledger.store.newest(10)) == 1
        assert ("a:1", third) not in peers.asked

    def test_a_long_history_is_merged_in_few_writes_of_a_bounded_size(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_TEXT", 10 * module._evaluation_weight(evaluation()))
        peers.store("a:1").merge(Changes(tuple(evaluation(f"e{number}") for number in range(25))))
        heard: list[int] = []
        ledger.subscribe(lambda changes, _: heard.append(len(changes.evaluations)))
        replicator.compare("a:1")
        assert heard == [10, 10, 5]

    def test_one_record_that_cannot_be_merged_keeps_no_other_away(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        merge = ledger.store.merge

        def refuse(changes: Changes) -> Changes:
            if "e2" in changes.evaluation_ids():
                raise OverflowError("too large for the database")
            return merge(changes)

        monkeypatch.setattr(ledger.store, "merge", refuse)
        peers.store("a:1").merge(Changes(tuple(evaluation(f"e{number}") for number in range(4))))
        replicator.compare("a:1")
        assert {e.id for e in ledger.store.newest(10)} == {"e0", "e1", "e3"}

    def test_with_a_full_disk_nothing_is_merged_one_by_one(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries: list[Changes] = []

        def refuse(changes: Changes) -> Changes:
            tries.append(changes)
            raise DiskFullError("no room")

        monkeypatch.setattr(ledger.store, "merge", refuse)
        peers.store("a:1").merge(Changes(tuple(evaluation(f"e{number}") for number in range(4))))
        with pytest.raises(DiskFullError):
            replicator.compare("a:1")
        assert len(tries) == 1

    def test_a_digest_that_differs_and_stands_still_is_compared(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 0.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
        peers.store("a:1").merge(Changes((evaluation(),)))
        replicator.digest_seen("a:1", 5)
        now = 0.9
        replicator.digest_seen("a:1", 5)
        assert replicator._to_compare == set()
        assert peers.asked == []

        now = 1.1
        replicator.digest_seen("a:1", 5)

        until(lambda: ledger.store.evaluation("e1"))

    def test_one_that_moves_is_compared_now_and_then_only(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 0.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
        peers.store("a:1").merge(Changes((evaluation(),)))
        for beat in range(10):
            now = beat * 0.5
            replicator.digest_seen("a:1", 100 + beat)
        assert replicator._to_compare == set()
        assert peers.asked == []

        now = 5.0
        replicator.digest_seen("a:1", 200)

        until(lambda: ledger.store.evaluation("e1"))

    def test_equal_digests_end_a_difference(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 0.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
        replicator.digest_seen("a:1", 5)
        now = 0.9
        replicator.digest_seen("a:1", ledger.store.digest())
        now = 1.8
        replicator.digest_seen("a:1", 5)
        assert replicator._to_compare == set()
        assert peers.asked == []

    @pytest.mark.parametrize("error", [PeerError("away"), MalformedError("another release"), ValueError("unforeseen")])
    def test_a_comparison_that_fails_does_not_end_the_comparing(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, error: Exception
    ) -> None:
        peers.errors["a:1"] = error
        replicator.compare_soon("a:1")
        until(lambda: peers.tries("a:1") == 1)
        del peers.errors["a:1"]
        peers.store("a:1").merge(Changes((evaluation(),)))
        replicator.compare_soon("a:1")
        until(lambda: ledger.store.evaluation("e1"))

    def test_a_peer_that_is_gone_is_not_compared_with_any_more(self, replicator: Replicator, peers: Peers) -> None:
        peers.hangs["slow:1"] = threading.Event()
        replicator.compare_soon("slow:1")
        until(lambda: peers.tries("slow:1") == 1)
        replicator.compare_soon("a:1")
        replicator.peer_gone("a:1")
        replicator.compare_soon("b:1")
        peers.hangs["slow:1"].set()
        until(lambda: peers.tries("b:1"))
        assert peers.tries("a:1") == 0


def test_stopping_ends_every_thread(ledger: Ledger, peers: Peers) -> None:
    replicator = Replicator(ME, ledger, cast(PeerClient, peers))
    for address in ("a:1", "b:1"):
        replicator.peer_joined(address)
    links: list[Any] = list(replicator._links.values())
    ledger.merge(Changes((evaluation(),)), publish=True)
    replicator.stop()
    assert not replicator._thread.is_alive()
    assert not any(link._thread.is_alive() for link in links)
    assert all(peers.store(address).evaluation("e1") for address in ("a:1", "b:1"))


def test_the_wait_between_tries_never_overflows(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that lives and cannot store for half an hour has failed more than a thousand times."""
    peers.errors["a:1"] = PeerError("its disk is full")
    link = PeerLink("a:1", cast(PeerClient, peers))
    monkeypatch.setattr(link._changed, "wait_for", impatient(link._changed.wait_for))
    link.push(Changes((evaluation(),)))
    until(lambda: peers.tries("a:1") > 1100)
    del peers.errors["a:1"]
    until(lambda: peers.store("a:1").evaluation("e1"))
    link.stop()
    link.join(20)


def impatient(wait_for: Callable[..., bool]) -> Callable[..., bool]:
    def wait(condition: Callable[[], bool], timeout: float | None = None) -> bool:
        return wait_for(condition, None if timeout is None else 0.0)

    return wait


class TestAPeerThatTakesNothing:
    """Stopped, or its disk is full: what waits for it is bounded, in records and in their text."""

    def pushed_until_dropped(self, link: PeerLink, peers: Peers, changes: Callable[[int], Changes]) -> int:
        number = 0
        while not link._dropped:
            number += 1
            link.push(changes(number))
            assert link._weight <= module._MAX_WAITING
        assert link._next() == Changes()
        return number

    @pytest.mark.parametrize("kind", ["evaluations", "modules", "text"])
    def test_what_waits_is_dropped_when_it_is_too_much_and_asked_for_when_it_answers_again(
        self, peers: Peers, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.setattr(module, "_MAX_WAITING", 100_000)
        told: list[str] = []
        peers.hangs["a:1"] = threading.Event()
        link = PeerLink("a:1", cast(PeerClient, peers), told.append)
        try:
            link.push(Changes((evaluation("first"),)))
            until(lambda: peers.tries("a:1") == 1)

            def changes(number: int) -> Changes:
                if kind == "evaluations":
                    return Changes((evaluation(f"e{number}"),))
                tests = (TestResult("t", "failed", longrepr="x" * 20_000),) if kind == "text" else ()
                return Changes(modules=(ModuleRecord(running(f"t{number}").state, tests),))

            pushed = self.pushed_until_dropped(link, peers, changes)
            assert pushed < (10 if kind == "text" else 250)
            assert told == []
            peers.hangs["a:1"].set()
            until(lambda: told == ["a:1"])
            link.push(Changes((evaluation("last"),)))
            until(lambda: peers.store("a:1").evaluation("last"))
            assert {e.id for e in peers.store("a:1").newest(1000)} == {"first", "last"}
            assert told == ["a:1"]
            assert link._weight == 0
        finally:
            link.abandon()
            link.join(20)

    def test_it_is_compared_when_it_answers_again(
        self, ledger: Ledger, replicator: Replicator, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_MAX_WAITING", 3000)
        peers.errors["a:1"] = PeerError("its disk is full")
        peers.store("a:1").merge(Changes((evaluation("theirs"),)))
        replicator.peer_joined("a:1")
        for number in range(10):
            ledger.merge(Changes((evaluation(f"e{number}"),)), publish=True)
        until(lambda: replicator._links["a:1"]._dropped)
        del peers.errors["a:1"]
        ledger.merge(Changes((evaluation("more"),)), publish=True)
        until(lambda: ledger.store.evaluation("theirs"))

    def test_what_is_replaced_while_it_waits_does_not_count_twice(self, peers: Peers) -> None:
        peers.hangs["a:1"] = threading.Event()
        link = PeerLink("a:1", cast(PeerClient, peers))
        try:
            link.push(Changes((evaluation("first"),)))
            until(lambda: peers.tries("a:1") == 1)
            link.push(Changes((evaluation(),), (running(),)))
            once = link._weight
            for attempt in range(2, 50):
                link.push(Changes((evaluation(epoch=attempt),), (running(attempt=attempt),)))
            assert link._weight == once > 0
        finally:
            peers.hangs["a:1"].set()
            link.abandon()
            link.join(20)

    def test_many_evaluations_go_in_messages_of_a_bounded_size(self, peers: Peers) -> None:
        peers.hangs["a:1"] = threading.Event()
        link = PeerLink("a:1", cast(PeerClient, peers))
        try:
            link.push(Changes((evaluation("first"),)))
            until(lambda: peers.tries("a:1") == 1)
            link.push(Changes(tuple(evaluation(f"e{n}") for n in range(450)), (running(of="e1"),)))
            peers.hangs["a:1"].set()
            until(lambda: peers.store("a:1").states("e1"))
            assert [len(message.changes.evaluations) for _, message in peers.messages] == [1, 200, 200, 50]
        finally:
            link.abandon()
            link.join(20)
