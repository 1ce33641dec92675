"""GET /evaluation/<id>/events, without a server."""

import pytest
from flask.testing import FlaskClient

from testmesh.model import Evaluation
from tests.support.event_stream import document_of, events_of
from tests.support.fake_node import KNOWN_ID, SUBMITTED_AT, FakeNode, add_finished
from tests.unit.app.test_submissions import problem

PATH = f"/evaluation/{KNOWN_ID}/events"


def test_the_events_of_what_has_ended_are_all_of_it_and_the_end(client: FlaskClient, node: FakeNode) -> None:
    add_finished(node)
    answer = client.get(PATH)
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Content-Length" not in answer.headers
    lines = answer.data.split(b"\n")
    assert lines[:2] == [b"retry: 1000", b""]
    events = list(events_of(lines))
    assert [event.kind for event in events] == ["project", "module", "module", "done"]
    assert document_of(events) == client.get(f"/evaluation/{KNOWN_ID}").get_json()
    assert node.streams[0].is_closed


def test_after_the_last_event_there_is_nothing(client: FlaskClient, node: FakeNode) -> None:
    add_finished(node)
    answer = client.get(PATH, headers={"Last-Event-ID": "fake.last"})
    assert (answer.status_code, answer.data) == (204, b"")


def test_a_head_request_leaves_no_reader_behind(client: FlaskClient, node: FakeNode) -> None:
    node.add(Evaluation(KNOWN_ID, SUBMITTED_AT, node.address, ()))
    answer = client.head(PATH)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert node.streams[0].is_closed


def test_a_node_with_all_its_readers_says_when_to_come_back(client: FlaskClient, node: FakeNode) -> None:
    add_finished(node)
    node.has_room_for_readers = False
    answer = client.get(PATH)
    problem(answer, 503)
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["/evaluation/x/events", PATH])
def test_what_nobody_knows_has_no_events(client: FlaskClient, path: str) -> None:
    problem(client.get(path), 404)
