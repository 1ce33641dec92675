"""Archives between nodes, over signed HTTP: orders and questions, downloads that go on, break off or stand still."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
from flask import Flask
from werkzeug.serving import make_server

from testmesh.app.auth import internal_blueprint
from testmesh.app.peer_routes import PeerService, register_peer_routes
from testmesh.app.problems import register_problems
from testmesh.errors import (
    ArchiveAwayError,
    ConflictError,
    DiskFullError,
    DrainingError,
    PeerConflictError,
    PeerError,
    PeerUnableError,
    TestmeshError,
)
from testmesh.model import Counts, ModuleResult, Verdict
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.claims import Claims
from testmesh.node.copying.fetching import ArchiveFetcher
from testmesh.node.copying.taking import CopyTaker
from testmesh.node.messaging.http_peers import HttpPeers
from testmesh.node.messaging.messages import (
    ArchivesAsked,
    ArchivesHeld,
    AttemptReport,
    AttemptReports,
    FetchOrder,
    FetchProgress,
    Load,
    Replicate,
    Task,
)
from testmesh.node.messaging.wire import REPORTS
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from testmesh.signing import RequestVerifier

SECRET = "a-secret-of-the-tests"
CONTENT = bytes(range(256)) * 5000  # many pieces
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Serving:
    """A node's room of archives, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.peers = HttpPeers(SECRET)
        self.archives = ArchiveStore(folder)
        self.ledger = Ledger(MemoryStore())
        self.fetcher = ArchiveFetcher(self.archives, self.peers, lambda: ())
        self.failure: TestmeshError | None = None
        self.taken: list[AttemptReports] = []
        app = Flask(__name__)
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.address = f"127.0.0.1:{self._server.port}"
        self.taker = CopyTaker(self.address, self.ledger, self.archives, self.fetcher, Claims(), lambda: False)
        blueprint = internal_blueprint(RequestVerifier(SECRET, self.address))
        service = SimpleNamespace(
            archive=self.archive,
            fetch_archives=self.fetch,
            held_archives=self.taker.held,
            store_copy=self.store_copy,
            take_reports=self.taken.append,
        )
        register_peer_routes(blueprint, cast(PeerService, service), lambda: None)
        app.register_blueprint(blueprint)
        register_problems(app)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def archive(self, digest: str) -> Path:
        path = self.archives.path(digest)
        if path is None:
            raise ArchiveAwayError("not here")
        return path

    def fetch(self, order: FetchOrder) -> FetchProgress:
        if self.failure:
            raise self.failure
        return self.taker.fetch(order)

    def store_copy(self, message: Replicate) -> None:
        if self.failure:
            raise self.failure

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(20)
        self._server.server_close()
        self.fetcher.stop()
        self.peers.close()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[[], Serving]]:
    made: list[Serving] = []

    def make() -> Serving:
        made.append(Serving(tmp_path / f"node-{len(made)}"))
        return made[-1]

    yield make
    for node in made:
        node.close()


@pytest.fixture
def holder(make_node: Callable[[], Serving]) -> Serving:
    node = make_node()

    def write(part: Path) -> None:
        part.write_bytes(CONTENT)

    node.archives.fetch(DIGEST, write)
    return node


def test_a_node_that_is_ordered_to_fetches_and_tells_what_it_holds(
    holder: Serving, make_node: Callable[[], Serving]
) -> None:
    taker = make_node()
    asked = ArchivesAsked((DIGEST, "b" * 64))
    assert holder.peers.held_archives(taker.address, asked) == ArchivesHeld((), (DIGEST, "b" * 64))
    order = FetchOrder((DIGEST,), holder.address)
    while holder.peers.fetch_archives(taker.address, order).missing:
        pass
    assert holder.peers.held_archives(taker.address, asked) == ArchivesHeld((DIGEST,), ("b" * 64,))
    path = taker.archives.path(DIGEST)
    assert path is not None
    assert path.read_bytes() == CONTENT


def test_a_download_goes_on_where_the_file_ends(holder: Serving, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"x" * 1000)
    holder.peers.archive(holder.address, DIGEST, part)
    assert part.read_bytes() == b"x" * 1000 + CONTENT[1000:]
    part.unlink()
    holder.peers.archive(holder.address, DIGEST, part)
    assert part.read_bytes() == CONTENT


def test_a_fault_of_the_own_disk_is_not_taken_for_the_peers(holder: Serving, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        holder.peers.archive(holder.address, DIGEST, tmp_path / "no-such-folder" / "part")


@pytest.mark.parametrize("path", ["/fetch_archives", "/held_archives"])
def test_strangers_may_not_ask(holder: Serving, path: str) -> None:
    answer = requests.post(f"http://{holder.address}{path}", json={"archives": [DIGEST], "holder": "x:1"}, timeout=10)
    assert answer.status_code == 401


@pytest.mark.parametrize("archives", [("../../etc/passwd",), (DIGEST.upper(),), None])
def test_only_digests_name_archives(holder: Serving, archives: Any) -> None:
    with pytest.raises(PeerError, match="400"):
        holder.peers.fetch_archives(holder.address, FetchOrder(archives, "x:1"))


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (ConflictError("another body"), PeerConflictError),
        (DiskFullError("full"), PeerUnableError),
        (DrainingError("leaving"), PeerUnableError),
        (ArchiveAwayError("nobody has it"), PeerUnableError),
    ],
)
def test_why_a_copy_is_refused_comes_over_the_wire(
    holder: Serving, failure: TestmeshError, seen: type[PeerError]
) -> None:
    holder.failure = failure
    with pytest.raises(seen):
        holder.peers.fetch_archives(holder.address, FetchOrder((DIGEST,), "x:1"))
    with pytest.raises(seen):
        holder.peers.replicate(holder.address, Replicate(Changes(), promise=True), 10.0)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"passed":7', b'"passed":7'),
        (b'"passed":7', b'"passed":9223372036854775808'),
        (b'"time":0.5', b'"time":NaN'),
        (b'"time":0.5', b'"time":-Infinity'),
        (b'"verdict":"passed"', b'"verdict":"running"'),
        (b'"attempt":1', b'"attempt":-1'),
    ],
)
def test_a_signed_report_with_what_no_worker_says_is_refused(holder: Serving, was: bytes, becomes: bytes) -> None:
    result = ModuleResult(Verdict.PASSED, Counts(7), 0.5)
    reports = AttemptReports("b:1", (AttemptReport("e1", Task("p", "t", 0, 1), "b:1", result),), Load(1, 0, 0))
    body = REPORTS.dump_json(reports)
    assert body.count(was) == 1
    sent = body.replace(was, becomes)
    if was == becomes:
        holder.peers._call("POST", holder.address, "/results", sent)
        assert holder.taken == [reports]
        return
    with pytest.raises(PeerError, match="400"):
        holder.peers._call("POST", holder.address, "/results", sent)
    assert holder.taken == []


def fetch_all(taker: Serving, order: FetchOrder) -> None:
    while taker.taker.fetch(order).missing:
        pass


@contextmanager
def sending(content: bytes, length: int) -> Iterator[str]:
    """Something that announces `length` bytes, sends these, and then nothing more, but keeps the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = threading.Event()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + content)
                end.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            end.set()
            thread.join(20)


def test_a_download_that_stands_still_fails_and_leaves_nothing(
    make_node: Callable[[], Serving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testmesh.node.messaging.http_peers._CALL_TIMEOUT_S", 0.2)
    taker = make_node()
    with sending(CONTENT[:1000], len(CONTENT)) as address, pytest.raises(ArchiveAwayError):
        fetch_all(taker, FetchOrder((DIGEST,), address))
    assert list((tmp_path / "node-0").iterdir()) == []


def test_one_that_ends_too_soon_fails_too(make_node: Callable[[], Serving], tmp_path: Path) -> None:
    node = make_node()
    part = tmp_path / "part"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + CONTENT[:1000])

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(PeerError):
            node.peers.archive(f"127.0.0.1:{server.getsockname()[1]}", DIGEST, part)
        thread.join(20)
    assert part.read_bytes() in (b"", CONTENT[:1000])
