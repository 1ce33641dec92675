"""A promise is given for what is on the disk, whole, and to one submission of an id only."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from testmesh.errors import ConflictError, DiskFullError, PeerError
from testmesh.model import Evaluation
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.claims import Claims
from testmesh.node.copying.fetching import ArchiveFetcher
from testmesh.node.copying.taking import CopyTaker
from testmesh.node.membership.ownership import successor
from testmesh.node.messaging.messages import ArchivesAsked, ArchivesHeld, FetchOrder, Replicate
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation
from tests.support.waiting import until

ME = "me:1"
CONTENT = b"PK not really"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def submitted(body: str = "body", **fields: object) -> Evaluation:
    plain = evaluation(owner="entrance:1", body_digest=body, holders=("entrance:1",))
    with_file = replace(plain, sources=(replace(plain.sources[0], archive=DIGEST),))
    return replace(with_file, **fields)  # type: ignore[arg-type]


def promise(wanted: Evaluation) -> Replicate:
    return Replicate(Changes((wanted,)), wanted.archives, "entrance:1", promise=True)


class Room:
    def __init__(self, folder: Path) -> None:
        self.archives = ArchiveStore(folder / "archives")
        self.ledger = Ledger(MemoryStore())
        self.claims = Claims()
        self.full = False
        self.go_on = threading.Event()
        self.go_on.set()
        self.downloads = 0
        self.fetcher = ArchiveFetcher(self.archives, cast(PeerClient, self), lambda: ())
        self.taker = CopyTaker(ME, self.ledger, self.archives, self.fetcher, self.claims, lambda: self.full)

    def archive(self, address: str, digest: str, destination: Path) -> None:
        self.downloads += 1
        self.go_on.wait(30)
        if digest != DIGEST:
            raise PeerError("404")
        destination.write_bytes(CONTENT)

    def kept(self) -> Evaluation | None:
        return self.ledger.store.evaluation("e1")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    found = Room(tmp_path)
    yield found
    found.go_on.set()
    found.fetcher.stop()


def test_who_promises_names_itself_a_holder_so_that_it_goes_on_when_the_entrance_dies_before_its_202(
    room: Room,
) -> None:
    room.taker.take(promise(submitted()))
    kept = room.kept()
    assert kept is not None
    assert kept.holders == ("entrance:1", ME)
    assert room.archives.held() == {DIGEST}
    assert successor(kept, {ME, "other:1"}) == ME


def test_records_alone_make_nobody_a_holder(room: Room) -> None:
    room.taker.take(Replicate(Changes((submitted(),))))
    kept = room.kept()
    assert kept is not None
    assert kept.holders == ("entrance:1",)
    assert room.downloads == 0


class TestAnotherBody:
    def test_a_stored_submission_is_not_replaced(self, room: Room) -> None:
        room.taker.take(promise(submitted("first")))
        with pytest.raises(ConflictError):
            room.taker.take(promise(submitted("second")))
        kept = room.kept()
        assert kept is not None
        assert kept.body_digest == "first"

    def test_nor_is_one_that_was_pruned(self, room: Room) -> None:
        room.ledger.merge(Changes((submitted("first", sources=(), finished_at=1.0),)), publish=False)
        with pytest.raises(ConflictError):
            room.taker.take(promise(submitted("second")))

    def test_one_that_is_being_submitted_here_keeps_another_out_until_it_ends(self, room: Room) -> None:
        with room.claims.hold("e1", "mine"):
            with pytest.raises(ConflictError):
                room.taker.take(promise(submitted("theirs")))
            room.taker.take(promise(submitted("mine")))
        assert room.kept()

    def test_one_whose_copy_is_under_way_keeps_another_out(self, room: Room) -> None:
        room.go_on.clear()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(room.taker.take, promise(submitted("first")))
            until(lambda: room.downloads)
            with pytest.raises(ConflictError):
                room.taker.take(promise(submitted("second")))
            same = pool.submit(room.taker.take, promise(submitted("first")))
            room.go_on.set()
            first.result(20)
            same.result(20)
        assert room.downloads == 1

    def test_one_that_comes_as_a_record_meanwhile_counts_too(self, room: Room) -> None:
        room.go_on.clear()
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(room.taker.take, promise(submitted("slow")))
            until(lambda: room.downloads)
            room.ledger.merge(Changes((submitted("quick"),)), publish=False)
            room.go_on.set()
            with pytest.raises(ConflictError):
                slow.result(20)
        kept = room.kept()
        assert kept is not None
        assert kept.body_digest == "quick"

    def test_a_submission_that_failed_leaves_the_way_free(self, room: Room) -> None:
        with pytest.raises(RuntimeError), room.claims.hold("e1", "failed"):
            raise RuntimeError
        room.taker.take(promise(submitted("next")))
        assert room.claims._held == {}


class TestAFullDisk:
    def test_it_takes_no_archive_and_leaves_nothing(self, room: Room) -> None:
        room.full = True
        for take in (
            lambda: room.taker.take(promise(submitted())),
            lambda: room.taker.fetch(FetchOrder((DIGEST,), "entrance:1")),
        ):
            with pytest.raises(DiskFullError):
                take()
        assert room.kept() is None
        assert room.downloads == 0

    def test_it_promises_what_it_has_already(self, room: Room) -> None:
        room.taker.fetch(FetchOrder((DIGEST,), "entrance:1"))
        room.full = True
        room.taker.take(promise(submitted()))
        assert room.kept()

    def test_and_takes_records(self, room: Room) -> None:
        room.full = True
        room.taker.take(Replicate(Changes((submitted(),))))
        assert room.kept()


class TestWhatIsHeld:
    def test_what_is_damaged_is_not_held(self, room: Room) -> None:
        room.taker.take(promise(submitted()))
        other = "b" * 64
        assert room.taker.held(ArchivesAsked((DIGEST, other))) == ArchivesHeld((DIGEST,), (other,))
        path = room.archives.path(DIGEST)
        assert path is not None
        path.write_bytes(CONTENT[:-1])
        assert room.taker.held(ArchivesAsked((DIGEST,))) == ArchivesHeld((), (DIGEST,))

    def test_what_cannot_be_looked_at_in_time_is_left_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "archives").mkdir()
        (tmp_path / "archives" / f"{DIGEST}.zip").write_bytes(CONTENT)
        room = Room(tmp_path)
        monkeypatch.setattr("testmesh.node.copying.taking._LOOK_FOR_S", -1.0)
        missing = "b" * 64
        assert room.taker.held(ArchivesAsked((DIGEST, missing))) == ArchivesHeld((), (missing,))
        monkeypatch.setattr("testmesh.node.copying.taking._LOOK_FOR_S", 60.0)
        assert room.taker.held(ArchivesAsked((DIGEST,))) == ArchivesHeld((DIGEST,))
        room.fetcher.stop()


def test_what_is_promised_is_not_dropped_before_the_record_says_so(room: Room) -> None:
    """The cleaner drops what no evaluation needs; one that ended just now named the same archive."""
    room.taker.fetch(FetchOrder((DIGEST,), "entrance:1"))
    real = room.ledger.merge

    def merge(changes: Changes, *, publish: bool) -> Changes:
        room.archives.drop(DIGEST)
        return real(changes, publish=publish)

    room.ledger.merge = merge  # type: ignore[method-assign]
    room.taker.take(promise(submitted()))
    assert room.archives.held() == {DIGEST}
    room.archives.drop(DIGEST)
    assert room.archives.held() == set()


def test_the_files_of_one_that_has_ended_are_taken_and_its_end_comes_with_its_results(room: Room) -> None:
    room.taker.take(promise(submitted(finished_at=9.0)))
    assert room.archives.held() == {DIGEST}
    assert room.kept() is None


@pytest.mark.parametrize("known_end", [None, 9.0])
def test_who_knows_one_that_has_ended_promises_by_what_it_knows(room: Room, known_end: float | None) -> None:
    room.ledger.merge(Changes((submitted(finished_at=known_end),)), publish=False)
    room.taker.take(promise(submitted(finished_at=9.0)))
    kept = room.kept()
    assert kept is not None
    assert (kept.holders, kept.finished_at) == (("entrance:1", ME), known_end)
