"""Live events of real nodes: many readers, a node that dies or leaves, and Nginx between."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bench.watchers import Watchers, waiting_zip, watched
from testmesh.app.lanes import THREADS
from testmesh.local import nginx
from tests.support.event_stream import Told, document_of, events_of
from tests.support.mesh import RunningMesh, RunningNode, mesh, wait_for, zip_of
from tests.support.nginx import running_nginx

pytestmark = pytest.mark.mesh
SLOW = zip_of({f"p{n}/test_{n}.py": "import time\n\ndef test_a():\n    time.sleep(3)\n" for n in range(3)})
QUICK = zip_of({"p/test_a.py": "def test_a():\n    pass\n"})


class Reader:
    """Reads a stream in a thread until it ends."""

    def __init__(self, url: str, evaluation_id: str, last_id: str | None = None) -> None:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        self.answer = requests.get(
            f"{url}/evaluation/{evaluation_id}/events", headers=headers, stream=True, timeout=(10, 60)
        )
        self.events: list[Told] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(requests.RequestException):
            for event in events_of(self.answer.iter_lines(chunk_size=1)):
                self.events.append(event)

    @property
    def last_id(self) -> str | None:
        return next((event.id for event in reversed(self.events) if event.id), None)

    def wait_ended(self) -> "Reader":
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self


def kinds(reader: Reader) -> set[str]:
    return {event.kind for event in reader.events}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with mesh(tmp_path_factory.mktemp("events"), 2) as running:
        yield running


def runs(node: RunningNode, evaluation_id: str) -> bool:
    return bool(node.get(f"/evaluation/{evaluation_id}")["_run_info"]["running"])


def test_twenty_watchers_have_every_event(nodes: RunningMesh, tmp_path: Path) -> None:
    found = watched(nodes[0].url, waiting_zip(tmp_path / "class.zip", 4, 2, 0.2), 20)
    assert found.right == found.watchers == 20
    assert found.events > 10


@pytest.mark.skipif(nginx.find_nginx() is None, reason="Nginx is not installed")
def test_events_pass_nginx_as_they_happen_and_so_does_the_last_id(nodes: RunningMesh, tmp_path: Path) -> None:
    with running_nginx(tmp_path / "nginx", [node.address for node in nodes.nodes]) as port:
        url = f"http://127.0.0.1:{port}"
        evaluation_id = nodes[0].submit(SLOW)
        reader = Reader(url, evaluation_id)
        assert reader.answer.headers["Content-Type"].startswith("text/event-stream")
        wait_for(lambda: reader.events)
        assert not nodes[0].get(f"/evaluation/{evaluation_id}")["finished_at"]
        reader.wait_ended()
        assert document_of(reader.events) == nodes[0].get(f"/evaluation/{evaluation_id}")
        for _ in range(4):
            assert Reader(url, evaluation_id, reader.last_id).wait_ended().answer.status_code == 204


@pytest.mark.parametrize("ending", ["killed", "told to stop"])
def test_a_reader_of_a_node_that_ends_goes_on_with_another(tmp_path: Path, ending: str) -> None:
    with mesh(tmp_path, 2) as running:
        evaluation_id = running[0].submit(SLOW)
        reader = Reader(running[1].url, evaluation_id)
        wait_for(lambda: runs(running[0], evaluation_id))
        if ending == "killed":
            running[1].kill()
        else:
            assert running[1].terminate() == 0
        reader.wait_ended()
        assert reader.last_id
        again = Reader(running[0].url, evaluation_id, reader.last_id).wait_ended()
        assert document_of([*reader.events, *again.events]) == running[0].get(f"/evaluation/{evaluation_id}")
        assert again.events[-1].kind == "done"


def test_what_has_ended_is_told_whole_by_every_node(nodes: RunningMesh) -> None:
    evaluation_id = nodes[0].submit(QUICK)
    final = nodes[0].wait_done(evaluation_id)
    for node in nodes.nodes:
        reader = Reader(node.url, evaluation_id).wait_ended()
        assert document_of(reader.events) == final
        assert kinds(reader) == {"project", "module", "done"}


def test_a_cancelled_evaluation_ends_its_events(nodes: RunningMesh) -> None:
    evaluation_id = nodes[0].submit(SLOW)
    reader = Reader(nodes[1].url, evaluation_id)
    wait_for(lambda: runs(nodes[0], evaluation_id))
    nodes[1].request("DELETE", f"/evaluation/{evaluation_id}", timeout=30)
    reader.wait_ended()
    assert document_of(reader.events)["status"] == "cancelled"


def test_more_streams_than_threads_leave_the_api_free(nodes: RunningMesh) -> None:
    evaluation_id = nodes[0].submit(SLOW)
    watchers = Watchers(nodes[0].url, evaluation_id, sum(THREADS.values()) + 20)
    wait_for(lambda: all(watcher.received for watcher in watchers.each))
    assert nodes[0].get("/peers") == [nodes[1].address]
    watchers.wait()
    final = nodes[0].get(f"/evaluation/{evaluation_id}")
    assert all(watcher.document() == final for watcher in watchers.each)
