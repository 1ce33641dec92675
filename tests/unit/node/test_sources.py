"""What becomes of a repository once it is fetched: its projects, with the staff's tests or ready to be compared."""

import errno
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testmesh.clock import SystemClock
from testmesh.errors import DiskFullError, InfrastructureError, SourceError
from testmesh.model import Evaluation, Source, SourceKind
from testmesh.node import sources as module
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.durable import DurableCopies
from testmesh.node.detector import Detector
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.sources import SourceResolver
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from testmesh.settings import Settings
from testmesh.testing.github import FetchedRepository, RepositoryFetcher
from testmesh.testing.repository_url import Repository
from tests.support.waiting import until
from tests.support.zips import PASSING, make_zip

STAFF = make_zip({"tests/test_a.py": PASSING})


class Fetcher:
    """Every repository is this zip, once `faults` are over; `meanwhile` happens while it is fetched."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.tries = 0

    def fetch(self, repository: Repository, token: str | None, destination: Path) -> FetchedRepository:
        self.tries += 1
        self.meanwhile()
        if self.faults:
            raise self.faults.pop(0)
        destination.write_bytes(make_zip({"calc.py": "", "tests/test_a.py": "mine", "tests/test_b.py": PASSING}))
        return FetchedRepository("c" * 40, destination, repository.project_name, ("A note.",))


class Room:
    def __init__(self, folder: Path) -> None:
        settings = Settings(data_dir=folder, advertise="me:1")
        (folder / "incoming").mkdir()
        self.archives = ArchiveStore(folder / "archives")
        self.ledger = Ledger(MemoryStore())
        self.durable = DurableCopies("me:1", cast(PeerClient, SimpleNamespace()), SystemClock())
        self.fetcher = Fetcher()
        fetcher = cast(RepositoryFetcher, self.fetcher)
        self.resolver = SourceResolver(
            settings, self.ledger, self.archives, self.durable, fetcher, Detector(), "key", lambda: ()
        )

    def resolved(self, **fields: Any) -> Source:
        self.begin(**fields)
        until(lambda: self.source().is_resolved)
        return self.source()

    def begin(self, **fields: Any) -> Evaluation:
        source = Source(SourceKind.REPOSITORY, "ana-lab", url="https://github.com/ana/lab")
        evaluation = Evaluation("e1", 1.0, "me:1", (source,), **fields)
        self.ledger.merge(Changes((evaluation,)), publish=False)
        self.resolver.resolve(evaluation)
        return evaluation

    def hand_over(self) -> None:
        evaluation = self.ledger.store.evaluation("e1")
        assert evaluation is not None
        self.ledger.merge(Changes((replace(evaluation, owner="new:1", epoch=1),)), publish=False)

    def source(self) -> Source:
        evaluation = self.ledger.store.evaluation("e1")
        assert evaluation is not None
        return evaluation.sources[0]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    found = Room(tmp_path)
    yield found
    found.resolver.stop()
    found.durable.stop()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.005)


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


@pytest.mark.usefixtures("soon")
def test_without_the_staffs_tests_at_hand_the_students_give_no_grade(room: Room) -> None:
    source = room.resolved(tests_archive=hashlib.sha256(STAFF).hexdigest())
    assert source.error is not None
    assert source.projects == ()


def no_room() -> Exception:
    """As it comes out of a fetch."""
    error = InfrastructureError("A repository's archive cannot be written.")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("fault", [InfrastructureError("disk I/O error"), DiskFullError("full"), ValueError("a bug")])
def test_a_fault_of_this_nodes_own_is_nobodys_grade(room: Room, fault: Exception) -> None:
    room.fetcher.faults = [fault] * (module._TRIES - 1)
    assert room.resolved().archive is not None


@pytest.mark.usefixtures("soon")
def test_one_that_stays_is_told_in_the_end_as_no_evaluation_waits_for_ever(room: Room) -> None:
    room.fetcher.faults = [ValueError("a bug")] * 100
    assert "its log says why" in (room.resolved().error or "")
    assert room.fetcher.tries == module._TRIES


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("full", [DiskFullError("full"), no_room()])
def test_room_on_the_disk_is_waited_for_however_long(room: Room, full: Exception) -> None:
    room.fetcher.faults = [full] * (2 * module._TRIES)
    assert room.resolved().archive is not None


def test_what_nobody_can_have_is_told_at_once(room: Room) -> None:
    room.fetcher.faults = [SourceError("There is no such repository.")]
    assert room.resolved().error == "There is no such repository."


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("fault", [None, SourceError("There is no such repository."), DiskFullError("full")])
def test_who_has_handed_it_over_has_no_more_say_in_it(room: Room, fault: Exception | None) -> None:
    room.fetcher.faults = [fault] if fault else []
    room.fetcher.meanwhile = room.hand_over
    room.begin()
    until(lambda: room.fetcher.tries and not room.resolver._fetching)
    assert not room.source().is_resolved
    assert room.fetcher.tries == 1
    assert room.archives.held() == set()


@pytest.mark.usefixtures("soon")
def test_a_store_that_cannot_be_read_for_a_moment_loses_no_source(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    faults, read = [InfrastructureError("disk I/O error")], room.ledger.store.evaluation

    def fails_once(evaluation_id: str) -> Evaluation | None:
        if faults:
            raise faults.pop()
        return read(evaluation_id)

    monkeypatch.setattr(room.ledger.store, "evaluation", fails_once)
    room.begin()
    until(lambda: not faults)
    until(lambda: room.source().is_resolved)


def test_who_stops_waits_for_no_next_try(room: Room) -> None:
    room.fetcher.faults = [DiskFullError("full")]
    room.begin()
    until(lambda: room.resolver._alarm)
    alarm = room.resolver._alarm
    assert alarm is not None
    room.resolver.stop()
    assert alarm.finished.is_set()
