"""An evaluation's archives go when nobody needs them any more, and never before."""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testmesh.clock import FakeClock
from testmesh.model import Counts, Evaluation, ModuleState, Verdict
from testmesh.node.copying import cleaner as module
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.cleaner import Cleaner
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, prune
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation
from tests.support.waiting import until

ME = "me:1"


class Place:
    """One archive on a node, and what names it."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(MemoryStore())
        self.archives = ArchiveStore(folder / "archives")
        self.forgotten: list[str] = []
        self.digest = self.take(b"a zip")

    def take(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()

        def download(path: Path) -> None:
            path.write_bytes(content)

        self.archives.fetch(digest, download)
        return digest

    def cleaner(self) -> Cleaner:
        return Cleaner(ME, self.ledger, self.archives, self.forgotten.append)

    def named(self, name: str, holders: tuple[str, ...] = (ME,), **fields: object) -> Evaluation:
        found = evaluation(name, holders=holders, finished_at=9.0)
        source = replace(found.sources[0], archive=self.digest)
        return replace(found, sources=(source,), **fields)  # type: ignore[arg-type]

    def prune(self, name: str) -> None:
        of = self.ledger.store.evaluation(name)
        assert of is not None
        done = ModuleState(name, "p", "test_1.py", Verdict.PASSED, 0, 1, ME, Counts(1))
        self.ledger.merge(Changes((prune(of, [done]),)), publish=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def cleaner(place: Place) -> Iterator[Cleaner]:
    found = place.cleaner()
    yield found
    found.stop()


@pytest.mark.usefixtures("cleaner")
def test_a_holder_keeps_the_archive_of_one_that_ended_and_drops_that_of_one_that_was_pruned(place: Place) -> None:
    place.ledger.merge(Changes((place.named("e1"),)), publish=False)
    until(lambda: place.forgotten == ["e1"])
    assert place.archives.held() == {place.digest}

    place.prune("e1")
    until(lambda: not place.archives.held())


def test_an_archive_that_another_evaluation_names_stays(place: Place, cleaner: Cleaner) -> None:
    place.ledger.merge(Changes((place.named("e1"), place.named("e2"))), publish=False)
    place.prune("e1")
    cleaner.stop()
    assert place.archives.held() == {place.digest}


def test_what_was_pruned_before_the_start_is_cleaned_then_and_what_nobody_names_is_left(place: Place) -> None:
    unnamed = place.take(b"on its way here")
    place.ledger.merge(Changes((place.named("e1"),)), publish=False)
    place.prune("e1")
    cleaner = place.cleaner()
    cleaner.stop()
    assert place.archives.held() == {unnamed}


class TestWhatNobodyNames:
    """Archives that this node fetched for a submission that was refused in the end."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock(time.monotonic(), time.time())

    @pytest.fixture
    def cleaner(self, place: Place, clock: FakeClock) -> Iterator[Cleaner]:
        path = place.archives.path(place.digest)
        assert path is not None
        os.utime(path, (1.0, clock.wall() - module._OLD_S))
        clock.advance(60)
        found = Cleaner(ME, place.ledger, place.archives, place.forgotten.append, clock)
        yield found
        found.stop()

    def test_it_goes_when_it_is_old_and_was_unnamed_for_long(
        self, place: Place, cleaner: Cleaner, clock: FakeClock
    ) -> None:
        cleaner.sweep_unnamed()
        clock.advance(module._UNNAMED_S - 1)
        cleaner.sweep_unnamed()
        assert place.archives.held() == {place.digest}
        clock.advance(2)  # sums of such numbers are not exact
        cleaner.sweep_unnamed()
        assert place.archives.held() == set()

    def test_a_jump_of_the_clock_alone_removes_nothing(self, place: Place, cleaner: Cleaner, clock: FakeClock) -> None:
        for _ in range(3):
            cleaner.sweep_unnamed()
            clock.jump(10 * module._OLD_S)
        assert place.archives.held() == {place.digest}

    def test_a_young_one_stays(self, place: Place, cleaner: Cleaner, clock: FakeClock) -> None:
        young = place.take(b"just fetched")
        for _ in range(3):
            cleaner.sweep_unnamed()
            clock.advance(module._UNNAMED_S + 1)
        assert place.archives.held() == {young}

    def test_one_that_is_named_meanwhile_stays_and_so_does_one_that_was(
        self, place: Place, cleaner: Cleaner, clock: FakeClock
    ) -> None:
        cleaner.sweep_unnamed()
        place.ledger.merge(Changes((place.named("e1"),)), publish=False)
        for _ in range(3):
            clock.advance(module._UNNAMED_S + 1)
            cleaner.sweep_unnamed()
        assert place.archives.held() == {place.digest}

    def test_one_that_is_being_taken_stays(self, place: Place, cleaner: Cleaner, clock: FakeClock) -> None:
        with place.archives.keeping([place.digest]):
            for _ in range(3):
                cleaner.sweep_unnamed()
                clock.advance(module._UNNAMED_S + 1)
        assert place.archives.held() == {place.digest}

    def test_one_that_was_just_asked_for_stays(
        self, place: Place, cleaner: Cleaner, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a peer whose records are still on their way, perhaps."""
        cleaner.sweep_unnamed()
        clock.advance(module._UNNAMED_S)
        monkeypatch.setattr(place.archives, "used_at", lambda _: clock.monotonic())
        cleaner.sweep_unnamed()
        assert place.archives.held() == {place.digest}

    def test_it_is_looked_for_now_and_then(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, seconds in (("_LOOK_EVERY_S", 0.01), ("_UNNAMED_S", 0.0), ("_OLD_S", 0.0)):
            monkeypatch.setattr(module, name, seconds)
        cleaner = place.cleaner()
        until(lambda: not place.archives.held())
        cleaner.stop()
