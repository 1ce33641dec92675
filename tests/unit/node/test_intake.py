"""Submissions at several nodes: one key is one submission, and a 202 outlives the node that gave it."""

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from testmesh.clock import SystemClock
from testmesh.errors import (
    ConflictError,
    DiskFullError,
    InfrastructureError,
    NotFoundError,
    PeerConflictError,
    PeerError,
    PeerUnableError,
    TestmeshError,
)
from testmesh.model import Evaluation, Options, Source, SourceKind
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.holding import Holding
from testmesh.node.detector import Detector
from testmesh.node.intake import Intake
from testmesh.node.membership.ownership import rendezvous, successor
from testmesh.node.messaging.messages import FetchOrder, FetchProgress, Replicate
from testmesh.node.messaging.pages import page_of
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from testmesh.settings import Settings
from tests.support.waiting import until
from tests.support.zips import PASSING, make_zip

UPLOAD = make_zip({"p/test_a.py": PASSING})
STAFF = make_zip({"test_a.py": PASSING})
KEY = "key"


class OneAtATimeStore(MemoryStore):
    """As a real store is, safe from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def merge(self, changes: Changes) -> Changes:
        with self._lock:
            return super().merge(changes)


class Node:
    def __init__(self, mesh: "Mesh", address: str, folder: Path, replicas: int) -> None:
        self.address = address
        self.settings = Settings(advertise=address, data_dir=folder, replicas=replicas)
        (folder / "incoming").mkdir(parents=True)
        self.store = OneAtATimeStore()
        self.ledger = Ledger(self.store)
        self.archives = ArchiveStore(folder / "archives")
        self.peers = cast(PeerClient, Peers(mesh, self))
        clock = SystemClock()
        self.holding = Holding(
            self.settings, self.ledger, self.archives, self.peers, clock, lambda: mesh.live(self), lambda: False
        )
        self.intake = Intake(
            self.settings,
            self.ledger,
            self.archives,
            self.holding,
            Detector(),
            self.peers,
            clock,
            "seal",
            lambda: mesh.live(self),
            lambda _: None,
        )
        self._uploads = iter(range(10_000))

    def file(self, content: bytes) -> Path:
        path = self.settings.data_dir / "incoming" / f"{next(self._uploads)}.zip"
        path.write_bytes(content)
        return path

    def submit(
        self, body: str = "body", key: str | None = KEY, content: bytes = UPLOAD, tests: bytes | None = None
    ) -> str:
        staff = None if tests is None else self.file(tests)
        return self.intake.receive_upload(self.file(content), "up", staff, Options(), key, body)

    def files(self) -> list[str]:
        return [
            path.name for folder in ("incoming", "archives") for path in (self.settings.data_dir / folder).iterdir()
        ]

    def close(self) -> None:
        self.intake.stop()
        self.holding.stop()


class Mesh:
    """Nodes that speak to each other without a network. Those in `dead` answer nobody, and nobody thinks they live."""

    def __init__(self, folder: Path, count: int, replicas: int = 2) -> None:
        self.dead: set[str] = set()
        self.nodes = {
            a: Node(self, a, folder / str(i), replicas) for i, a in enumerate(f"n{n}:1" for n in range(count))
        }

    def __getitem__(self, number: int) -> Node:
        return self.nodes[f"n{number}:1"]

    def live(self, asking: Node) -> tuple[str, ...]:
        return tuple(address for address in self.nodes if address not in {asking.address, *self.dead})

    def publish(self) -> None:
        """As replication does: everybody gets every record."""
        for address, node in self.nodes.items():
            for other in self.nodes.values():
                if address not in self.dead:
                    other.store.merge(Changes(tuple(node.store.newest(100))))


class Peers:
    """What one node sends to the others. `interrupt` is called before a message is handed over."""

    def __init__(self, mesh: Mesh, own: Node) -> None:
        self._mesh = mesh
        self._own = own
        self.after_copy: Callable[[str], None] = lambda _: None

    def _at(self, address: str) -> Node:
        if {address, self._own.address} & self._mesh.dead:
            raise PeerError("away")
        return self._mesh.nodes[address]

    def fetch_archives(self, address: str, order: FetchOrder) -> FetchProgress:
        return as_peer(lambda: self._at(address).holding.taker.fetch(order))

    def replicate(self, address: str, message: Replicate, timeout: float) -> None:
        as_peer(lambda: self._at(address).holding.taker.take(message))
        self.after_copy(address)

    def archive(self, address: str, digest: str, destination: Path) -> None:
        path = self._at(address).archives.path(digest)
        if path is None:
            raise PeerError("404")
        destination.write_bytes(path.read_bytes())

    def records(self, address: str, evaluation_id: str, timeout: float) -> Iterator[Changes]:
        try:
            yield page_of(self._at(address).store, evaluation_id, 0).changes
        except NotFoundError as error:
            raise PeerError("404") from error


def as_peer(call: Callable[[], FetchProgress | None]) -> FetchProgress:
    """Errors as they come over the wire."""
    try:
        return call() or FetchProgress()
    except ConflictError as error:
        raise PeerConflictError("409") from error
    except (DiskFullError, InfrastructureError) as error:
        raise PeerUnableError("503") from error


@pytest.fixture
def make_mesh(tmp_path: Path) -> Iterator[Callable[..., Mesh]]:
    made: list[Mesh] = []

    def make(count: int, replicas: int = 2) -> Mesh:
        made.append(Mesh(tmp_path / str(len(made)), count, replicas))
        return made[-1]

    yield make
    for mesh in made:
        for node in mesh.nodes.values():
            node.close()


def only(node: Node) -> Evaluation:
    (found,) = node.store.newest(10)
    return found


def test_what_is_acknowledged_is_held_here_and_on_another(make_mesh: Callable[..., Mesh]) -> None:
    mesh = make_mesh(3)
    mesh[0].submit(tests=STAFF)
    evaluation = only(mesh[0])
    first = rendezvous(evaluation.id, ("n1:1", "n2:1"))[0]
    assert evaluation.holders == tuple(sorted(("n0:1", first)))
    for address in evaluation.holders:
        assert mesh.nodes[address].archives.held() == set(evaluation.archives)
    assert evaluation.number == 1


class TestOneKeyAtTwoNodes:
    def together(self, mesh: Mesh, bodies: tuple[str, str]) -> list[str | TestmeshError]:
        barrier = threading.Barrier(2)

        def submit(number: int) -> str | TestmeshError:
            barrier.wait()
            try:
                return mesh[number].submit(bodies[number])
            except TestmeshError as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(submit, range(2)))

    @pytest.mark.parametrize("replicas", [2, 3])
    @pytest.mark.parametrize("count", [2, 3, 5])
    def test_with_two_bodies_at_most_one_is_acknowledged_and_stays(
        self, make_mesh: Callable[..., Mesh], count: int, replicas: int
    ) -> None:
        for _ in range(8):
            mesh = make_mesh(count, replicas)
            answers = self.together(mesh, ("one body", "another"))
            accepted = [number for number, answer in enumerate(answers) if isinstance(answer, str)]
            assert all(isinstance(answer, str | ConflictError) for answer in answers), answers
            assert len(accepted) <= 1
            mesh.publish()
            for number in accepted:
                assert only(mesh[number]).body_digest == ("one body", "another")[number]

    def test_with_one_body_both_are_and_it_is_one_evaluation(self, make_mesh: Callable[..., Mesh]) -> None:
        for _ in range(5):
            mesh = make_mesh(3)
            first, second = self.together(mesh, ("body", "body"))
            assert isinstance(first, str), first
            assert first == second
            mesh.publish()
            assert len({(only(node).id, only(node).owner, only(node).epoch) for node in mesh.nodes.values()}) == 1

    def test_one_in_flight_here_refuses_a_copy_of_the_other(self, make_mesh: Callable[..., Mesh]) -> None:
        mesh = make_mesh(2)
        reached, go_on = threading.Event(), threading.Event()

        def stop_after_copy(_: str) -> None:
            reached.set()
            go_on.wait(20)

        mesh[0].peers.after_copy = stop_after_copy  # type: ignore[attr-defined]
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(mesh[0].submit, "slow")
            reached.wait(20)
            with pytest.raises(ConflictError, match="another submission"):
                mesh[1].submit("quick")
            go_on.set()
            slow.result(20)
        assert only(mesh[0]).body_digest == "slow"
        assert mesh[0].holding.claims._held == {}

    def test_a_refused_one_leaves_no_file(self, make_mesh: Callable[..., Mesh]) -> None:
        mesh = make_mesh(2)
        mesh[0].submit("first")
        other = make_zip({"p/test_b.py": PASSING})
        with pytest.raises(ConflictError):
            mesh[1].submit("second", content=other)
        assert f"{hashlib.sha256(other).hexdigest()}.zip" not in mesh[1].files()


class TestTheEntranceDies:
    """After a peer took the copy, before it stored anything itself."""

    @pytest.fixture
    def bereft(self, make_mesh: Callable[..., Mesh]) -> tuple[Mesh, str]:
        mesh = make_mesh(4)
        took: list[str] = []

        def die(address: str) -> None:
            took.append(address)
            mesh.dead.add("n0:1")

        mesh[0].peers.after_copy = die  # type: ignore[attr-defined]
        mesh[0].ledger.merge = lambda changes, *, publish: changes  # type: ignore[method-assign]
        mesh[0].submit()
        assert mesh[0].store.newest(10) == []
        return mesh, took[0]

    def test_the_peer_that_took_it_can_go_on(self, bereft: tuple[Mesh, str]) -> None:
        mesh, taker = bereft
        evaluation = only(mesh.nodes[taker])
        assert evaluation.owner == "n0:1"
        assert successor(evaluation, mesh.nodes.keys() - mesh.dead) == taker

    @pytest.mark.parametrize("at_the_taker", [True, False])
    def test_a_retry_with_the_key_gets_the_same_id_at_any_node(
        self, bereft: tuple[Mesh, str], at_the_taker: bool
    ) -> None:
        mesh, taker = bereft
        others = [node for node in mesh.nodes.values() if node.address not in ("n0:1", taker)]
        node = mesh.nodes[taker] if at_the_taker else others[0]
        assert node.submit() == only(mesh.nodes[taker]).id
        with pytest.raises(ConflictError):
            node.submit("another body")

    def test_at_the_taker_it_is_durable_again_before_it_is_acknowledged_again(self, bereft: tuple[Mesh, str]) -> None:
        mesh, taker = bereft
        mesh.nodes[taker].submit()
        holders = set(only(mesh.nodes[taker]).holders) - mesh.dead
        assert len(holders) == 2
        for address in holders:
            assert mesh.nodes[address].archives.held() == set(only(mesh.nodes[taker]).archives)


class TestAFullDisk:
    def test_in_the_middle_of_taking_the_files_nothing_is_left(
        self, make_mesh: Callable[..., Mesh], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mesh = make_mesh(2)
        real, taken = Path.replace, 0

        def replace(path: Path, target: Path) -> Path:
            nonlocal taken
            taken += 1
            if taken == 2:  # the staff's tests
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(path, target)

        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(DiskFullError):
            mesh[0].submit(tests=STAFF)
        assert taken == 2
        assert mesh[0].files() == mesh[1].files() == []
        assert mesh[1].store.newest(10) == []

    def test_where_the_record_does_not_fit_nothing_is_left(self, make_mesh: Callable[..., Mesh]) -> None:
        mesh = make_mesh(1)

        def merge(changes: Changes) -> Changes:
            raise DiskFullError("full")

        mesh[0].store.merge = merge  # type: ignore[method-assign]
        with pytest.raises(DiskFullError):
            mesh[0].submit()
        assert mesh[0].files() == []
        assert mesh[0].holding.claims._held == {}

    def test_where_it_is_the_only_peers_the_client_is_told_at_once(
        self, make_mesh: Callable[..., Mesh], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mesh = make_mesh(2)
        monkeypatch.setattr(mesh[1].holding.taker, "_is_full", lambda: True)
        with pytest.raises(TestmeshError, match="No other node"):
            mesh[0].submit()
        assert mesh[0].files() == []


def test_a_rerun_fetches_files_that_are_not_here(make_mesh: Callable[..., Mesh]) -> None:
    mesh = make_mesh(4)
    mesh[0].submit()
    earlier = only(mesh[0])
    away = next(node for node in mesh.nodes.values() if node.address not in earlier.holders)
    again = away.intake.receive_again(earlier, None, None)
    until(lambda: away.store.evaluation(again))
    assert away.archives.held() == set(earlier.archives)
    found = away.store.evaluation(again)
    assert found is not None
    assert away.address in found.holders


def test_a_rerun_has_the_same_options_but_calls_nobody_back(make_mesh: Callable[..., Mesh]) -> None:
    mesh = make_mesh(1)
    asked = Options(module_timeout_s=7.0, callback_url="https://grades.example.org/")
    mesh[0].intake.receive_upload(mesh[0].file(UPLOAD), "up", None, asked, None, "body")
    earlier = only(mesh[0])
    assert earlier.options.callback_url == asked.callback_url
    found = mesh[0].store.evaluation(mesh[0].intake.receive_again(earlier, None, None))
    assert found is not None
    assert found.options == Options(module_timeout_s=7.0)


def test_a_rerun_does_not_leave_out_what_is_still_being_fetched(make_mesh: Callable[..., Mesh]) -> None:
    mesh = make_mesh(1)
    mesh[0].submit()
    earlier = only(mesh[0])
    fetching = Source(SourceKind.REPOSITORY, "o-r", url="https://github.com/o/r")
    opened = replace(earlier, sources=(*earlier.sources, fetching))
    for project in (None, "o-r"):
        with pytest.raises(ConflictError, match="still being fetched"):
            mesh[0].intake.receive_again(opened, project, None)
    name = earlier.projects[0].name
    assert mesh[0].intake.receive_again(opened, name, None)
    ended = replace(opened, cancelled=True, finished_at=1.0)
    assert mesh[0].intake.receive_again(ended, None, None), "what was not fetched before it ended is left out"
