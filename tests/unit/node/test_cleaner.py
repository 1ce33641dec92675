"""An evaluation's archives go when nobody needs them any more, and never before."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testmesh.model import Counts, Evaluation, ModuleState, Verdict
from testmesh.node.archives import ArchiveStore
from testmesh.node.cleaner import Cleaner
from testmesh.node.ledger import Ledger
from testmesh.node.replica import Changes, prune
from testmesh.node.store import MemoryStore
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
