"""What becomes of a repository once it is fetched: its projects, with the staff's tests or ready to be compared."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testmesh.clock import SystemClock
from testmesh.model import Evaluation, Source, SourceKind
from testmesh.node.archives import ArchiveStore
from testmesh.node.durable import DurableCopies
from testmesh.node.ledger import Ledger
from testmesh.node.peers import PeerClient
from testmesh.node.replica import Changes
from testmesh.node.sources import SourceResolver
from testmesh.node.store import MemoryStore
from testmesh.settings import Settings
from testmesh.testing.github import FetchedRepository, RepositoryFetcher
from testmesh.testing.repository_url import Repository
from tests.support.waiting import until
from tests.support.zips import PASSING, make_zip

STAFF = make_zip({"tests/test_a.py": PASSING})


class Fetcher:
    """Every repository is this zip."""

    def fetch(self, repository: Repository, token: str | None, destination: Path) -> FetchedRepository:
        destination.write_bytes(make_zip({"calc.py": "", "tests/test_a.py": "mine", "tests/test_b.py": PASSING}))
        return FetchedRepository("c" * 40, destination, repository.project_name, ("A note.",))


class Room:
    def __init__(self, folder: Path) -> None:
        settings = Settings(data_dir=folder)
        (folder / "incoming").mkdir()
        self.archives = ArchiveStore(folder / "archives")
        self.ledger = Ledger(MemoryStore())
        self.durable = DurableCopies("me:1", cast(PeerClient, SimpleNamespace()), SystemClock())
        fetcher = cast(RepositoryFetcher, Fetcher())
        self.resolver = SourceResolver(settings, self.ledger, self.archives, self.durable, fetcher, "key", lambda: ())

    def resolved(self, **fields: Any) -> Source:
        source = Source(SourceKind.REPOSITORY, "ana-lab", url="https://github.com/ana/lab")
        evaluation = Evaluation("e1", 1.0, "me:1", (source,), **fields)
        self.ledger.merge(Changes((evaluation,)), publish=False)
        self.resolver.resolve(evaluation)
        until(lambda: self._source().is_resolved)
        return self._source()

    def _source(self) -> Source:
        evaluation = self.ledger.store.evaluation("e1")
        assert evaluation is not None
        return evaluation.sources[0]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    found = Room(tmp_path)
    yield found
    found.resolver.stop()
    found.durable.stop()


def test_its_test_files_are_kept_to_be_compared_with_other_repositories(room: Room) -> None:
    (project,) = room.resolved().projects
    assert (project.name, project.detail) == ("ana-lab", "A note.")
    assert [path for path, _ in project.test_files] == ["tests/test_a.py", "tests/test_b.py"]


def test_the_staffs_tests_are_laid_over_a_repository_too(room: Room, tmp_path: Path) -> None:
    upload = tmp_path / "staff.zip"
    upload.write_bytes(STAFF)
    with room.archives.taking() as take:
        digest = take(upload)
    (project,) = room.resolved(tests_archive=digest).projects
    assert [module.path for module in project.modules] == ["tests/test_a.py"]
    assert project.detail == ("replaced by the staff's tests: tests/test_a.py; not run: tests/test_b.py; A note.")
    assert project.test_files == ()


def test_without_the_staffs_tests_at_hand_the_students_give_no_grade(room: Room) -> None:
    source = room.resolved(tests_archive=hashlib.sha256(STAFF).hexdigest())
    assert source.error is not None
    assert "staff's tests" in source.error
    assert source.projects == ()
