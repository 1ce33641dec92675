"""Lost copies are made again: on members' changes and now and then, a few at a time, and failures are tried again."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from testmesh.clock import FakeClock, SystemClock
from testmesh.errors import ArchiveAwayError, InfrastructureError, PeerError, PeerUnableError
from testmesh.model import Evaluation, Pruned
from testmesh.node.copying import copier as module
from testmesh.node.copying.copier import Copier
from testmesh.node.copying.durable import DurableCopies
from testmesh.node.copying.fetching import ArchiveFetcher
from testmesh.node.messaging.messages import ArchivesAsked, ArchivesHeld, FetchOrder, FetchProgress, Replicate
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from tests.support.records import ARCHIVE, evaluation
from tests.support.waiting import until

ME = "me:1"
A, B, C = "a:1", "b:1", "c:1"


class Mesh:
    """This node and its peers: who lives, and who has which archive. Faults by address."""

    def __init__(self) -> None:
        self.live = [A, B, C]
        self.has: dict[str, set[str]] = {ME: {ARCHIVE}, A: {ARCHIVE}, B: set(), C: set()}
        self.errors: dict[str, Exception] = {}
        self.hangs: dict[str, threading.Event] = {}
        self.questions: list[str] = []
        self.copied: list[tuple[str, str]] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def held(self, asked: ArchivesAsked) -> ArchivesHeld:
        mine = self.has[ME]
        return ArchivesHeld(
            tuple(d for d in asked.archives if d in mine), tuple(d for d in asked.archives if d not in mine)
        )

    def held_archives(self, address: str, asked: ArchivesAsked) -> ArchivesHeld:
        self.questions.append(address)
        if address in self.errors:
            raise self.errors[address]
        there = self.has[address]
        return ArchivesHeld(
            tuple(d for d in asked.archives if d in there), tuple(d for d in asked.archives if d not in there)
        )

    def fetch_archives(self, address: str, order: FetchOrder) -> FetchProgress:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if address in self.hangs:
                self.hangs[address].wait(30)
            if address in self.errors:
                raise self.errors[address]
            self.has[address] |= set(order.archives)
            return FetchProgress()
        finally:
            with self._lock:
                self.at_once -= 1

    def replicate(self, address: str, message: Replicate, timeout: float) -> None:
        assert message.promise
        self.copied.append((message.changes.evaluations[0].id, address))

    def ensure(self, digest: str, holders: object) -> Path:
        if not any(digest in self.has[address] for address in (ME, *self.live)):
            raise ArchiveAwayError("nobody has it")
        self.has[ME].add(digest)
        return Path(digest)


class Room:
    def __init__(self, clock: FakeClock | SystemClock) -> None:
        self.mesh = Mesh()
        self.ledger = Ledger(MemoryStore())
        self.published: list[Evaluation] = []
        self.ledger.subscribe(lambda changes, publish: self.published.extend(changes.evaluations if publish else ()))
        peers = cast(PeerClient, self.mesh)
        self.durable = DurableCopies(ME, peers, clock)
        self.copier = Copier(
            ME,
            self.ledger,
            cast(ArchiveFetcher, self.mesh),
            self.durable,
            peers,
            clock,
            lambda: tuple(self.mesh.live),
            self.mesh.held,
            2,
        )

    def add(self, *evaluations: Evaluation) -> None:
        self.ledger.merge(Changes(evaluations), publish=False)

    def holders(self, name: str = "e1") -> tuple[str, ...]:
        found = self.ledger.store.evaluation(name)
        assert found is not None
        return found.holders

    def close(self) -> None:
        for event in self.mesh.hangs.values():
            event.set()
        self.durable.stop()
        self.copier.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def room(clock: FakeClock) -> Iterator[Room]:
    found = Room(clock)
    yield found
    found.close()


def held(name: str = "e1", holders: tuple[str, ...] = (A, ME), **fields: Any) -> Evaluation:
    return evaluation(name, holders=holders, **fields)


def archived(name: str, archive: str, holders: tuple[str, ...]) -> Evaluation:
    plain = held(name, holders)
    return replace(plain, sources=(replace(plain.sources[0], archive=archive),))


class TestLooking:
    def test_a_lost_copy_is_made_again_and_everybody_is_told(self, room: Room) -> None:
        room.add(held())
        room.copier.look(finished_too=True)
        assert room.mesh.copied == []
        room.mesh.live.remove(A)
        room.copier.look(finished_too=True)
        ((_, target),) = room.mesh.copied
        assert target in (B, C)
        assert room.holders() == tuple(sorted((A, ME, target)))
        assert [e.holders for e in room.published] == [room.holders()]
        room.copier.look(finished_too=True)
        assert len(room.mesh.copied) == 1

    def test_a_holder_that_came_back_empty_gets_it_again(self, room: Room) -> None:
        room.add(held())
        room.mesh.has[A].clear()
        room.copier.look(finished_too=True)
        assert room.mesh.copied == [("e1", A)]

    def test_this_node_fetches_back_what_it_lost(self, room: Room) -> None:
        room.add(held())
        room.mesh.has[ME].clear()
        room.copier.look(finished_too=True)
        assert room.mesh.has[ME] == {ARCHIVE}
        assert room.mesh.copied == []

    def test_where_no_holder_is_left_who_has_it_becomes_one_and_copies(self, room: Room) -> None:
        room.add(held(holders=("gone:1",)))
        room.mesh.live = [B]
        room.copier.look(finished_too=True)
        assert room.holders() == (B, "gone:1", ME)
        assert room.mesh.copied == [("e1", B)]

    def test_ended_evaluations_are_left_for_later_where_it_is_said(self, room: Room) -> None:
        room.add(held(holders=(ME,), finished_at=1.0))
        room.copier.look(finished_too=False)
        assert room.mesh.copied == []
        room.copier.look(finished_too=True)
        assert len(room.mesh.copied) == 1

    def test_what_was_pruned_is_nobodys_concern(self, room: Room) -> None:
        room.add(held(holders=(ME,)))
        room.add(replace(held(holders=(ME,)), pruned=Pruned()))
        room.copier.look(finished_too=True)
        assert room.mesh.copied == []

    def test_what_is_told_in_the_wrong_order_is_looked_at_as_it_is(self, room: Room) -> None:
        older = held(holders=(ME,))
        room.add(older, held(holders=(A, ME)))
        room.copier._changed(Changes((older,)), False)
        room.copier.look(finished_too=True)
        assert room.mesh.copied == []

    def test_a_peer_is_asked_once_and_again_when_it_is_another_process(self, room: Room) -> None:
        room.add(held())
        for _ in range(3):
            room.copier.look(finished_too=True)
        assert room.mesh.questions == [A]
        room.mesh.has[A].clear()
        room.copier.member_changed(A)
        room.copier.look(finished_too=True)
        assert room.mesh.questions.count(A) == 2
        assert room.mesh.copied == [("e1", A)]

    def test_only_so_many_at_once(self, room: Room) -> None:
        room.mesh.hangs = {peer: threading.Event() for peer in (A, B, C)}
        names = [f"{number:064x}" for number in range(10)]
        room.mesh.has[ME] = set(names)
        room.add(*(archived(f"e{name}", name, (ME,)) for name in names))
        thread = threading.Thread(target=lambda: room.copier.look(finished_too=True))
        thread.start()
        until(lambda: room.mesh.at_once == module._AT_ONCE)
        for event in room.mesh.hangs.values():
            event.set()
        thread.join(20)
        assert len(room.mesh.copied) == 10
        assert room.mesh.most_at_once == module._AT_ONCE


class TestFailures:
    @pytest.mark.parametrize("error", [PeerError("away"), PeerUnableError("507")])
    def test_where_one_fails_the_next_takes_it(self, room: Room, error: Exception) -> None:
        room.mesh.live = [B, C]
        room.add(held(holders=(ME,)))
        room.mesh.errors[B] = error
        room.copier.look(finished_too=True)
        assert room.mesh.copied == [("e1", C)]

    def test_what_failed_is_tried_again_after_a_rest(self, room: Room, clock: FakeClock) -> None:
        room.mesh.live = [B]
        room.add(held(holders=(ME,)))
        room.mesh.errors[B] = PeerError("away")
        room.copier.look(finished_too=True)
        room.mesh.errors.clear()
        room.copier.look(finished_too=True)
        assert room.mesh.copied == []
        clock.advance(module._REST_S)
        room.copier.look(finished_too=True)
        assert room.mesh.copied == [("e1", B)]

    def test_a_peer_whose_disk_is_full_is_left_alone_for_a_while(self, room: Room, clock: FakeClock) -> None:
        room.mesh.live = [B]
        room.mesh.errors[B] = PeerUnableError("507")
        room.add(held(holders=(ME,)))
        room.copier.look(finished_too=True)
        room.mesh.errors.clear()
        room.add(held("e2", holders=(ME,)))
        room.copier.look(finished_too=True)
        assert room.mesh.copied == []
        clock.advance(module._REST_S)
        room.copier.look(finished_too=True)
        assert sorted(room.mesh.copied) == [("e1", B), ("e2", B)]

    def test_steps_that_succeed_and_change_nothing_end(self, room: Room) -> None:
        room.add(held(holders=(ME,)))
        room.mesh.live = [B]
        room.ledger.merge = lambda changes, *, publish: changes  # type: ignore[method-assign]
        room.copier.look(finished_too=True)
        assert 1 <= len(room.mesh.copied) <= module._STEPS

    def test_what_nobody_has_waits_quietly(self, room: Room) -> None:
        room.mesh.has = {node: set() for node in room.mesh.has}
        room.add(held())
        room.copier.look(finished_too=True)
        room.mesh.has[A].add(ARCHIVE)
        room.copier.member_changed(A)
        room.copier.look(finished_too=True)
        assert room.mesh.has[ME] == {ARCHIVE}


class TestLeaving:
    def test_what_the_others_would_lack_is_copied(self, room: Room, clock: FakeClock) -> None:
        room.add(held(), held("last", holders=(ME,), finished_at=1.0), held("kept", finished_at=1.0))
        assert room.copier.hand_over(clock.monotonic() + 5) == ()
        copied = {name for name, _ in room.mesh.copied}
        assert copied == {"e1", "last"}
        assert len(room.holders("last")) == 2

    def test_what_could_not_be_copied_is_told(self, room: Room, clock: FakeClock) -> None:
        room.add(held(holders=(ME,)), held("e2"))
        room.mesh.errors = {B: PeerError("away"), C: PeerError("away")}
        room.mesh.live = [A, B, C]
        assert set(room.copier.hand_over(clock.monotonic() + 5)) == {"e1", "e2"}  # one copy, two wanted
        assert ("e1", A) in room.mesh.copied

    def test_the_deadline_is_kept_though_a_peer_hangs(self) -> None:
        room = Room(SystemClock())
        try:
            room.mesh.live = [B]
            room.mesh.hangs[B] = threading.Event()
            room.add(held(holders=(ME,)))
            assert room.copier.hand_over(SystemClock().monotonic() + 0.2) == ("e1",)
            assert not room.mesh.hangs[B].is_set()
        finally:
            room.close()

    def test_alone_nobody_is_asked(self, room: Room, clock: FakeClock) -> None:
        room.mesh.live = []
        room.add(held(holders=(ME,)))
        assert room.copier.hand_over(clock.monotonic() + 5) == ()


class TestTheThread:
    @pytest.fixture
    def running(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
        monkeypatch.setattr(module, "_SOON_S", 0.05)
        monkeypatch.setattr(module, "_LATER_S", 0.2)
        found = Room(SystemClock())
        found.add(*(held(f"e{number}") for number in range(250)))  # several pages of the store, before the start
        yield found
        found.close()

    def test_a_death_wakes_it_for_everything_that_was_stored(self, running: Room) -> None:
        fresh = Copier(
            ME,
            running.ledger,
            cast(ArchiveFetcher, running.mesh),
            running.durable,
            cast(PeerClient, running.mesh),
            SystemClock(),
            lambda: tuple(running.mesh.live),
            running.mesh.held,
            2,
        )
        fresh.start()
        try:
            until(lambda: A in running.mesh.questions)
            running.mesh.live.remove(A)
            fresh.member_changed(A)
            until(lambda: len({name for name, _ in running.mesh.copied}) == 250)
        finally:
            fresh.stop()
        assert not fresh._thread.is_alive()

    def test_a_store_that_cannot_be_read_at_the_start_is_read_later(
        self, running: Room, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_PERIOD_S", 0.05)
        newest = running.ledger.store.newest
        failures = [InfrastructureError("disk I/O error")]

        def fails_once(limit: int, after: str | None = None) -> list[Evaluation]:
            if failures:
                raise failures.pop()
            return newest(limit, after)

        monkeypatch.setattr(running.ledger.store, "newest", fails_once)
        running.copier._bundles.clear()
        running.copier.start()
        until(lambda: len(running.copier._bundles) == 250)

    def test_ended_evaluations_follow_later(self, running: Room, clock: FakeClock) -> None:
        copier = running.copier
        copier.member_changed(A)
        assert copier._due[True] > copier._due[False]
