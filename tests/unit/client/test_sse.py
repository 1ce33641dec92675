import json

from hypothesis import given
from hypothesis import strategies as st

from testmesh.client.sse import Event, EventParser, merged

STREAM = (
    b": a comment\nretry: 1000\n\n"
    b'id: x.1\nevent: module\ndata: {"status":\ndata: "running"}\n\n'
    b": heartbeat\n\n"
    b'event: done\r\ndata:{"a": "\xc3\xbc"}\r\n\r\n'
)
EVENTS = [Event("module", {"status": "running"}, "x.1"), Event("done", {"a": "ü"}, "x.1")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_events_are_the_same_in_whatever_pieces_they_come(cuts: list[int]) -> None:
    parser = EventParser()
    ends = [*cuts, len(STREAM)]
    pieces = [STREAM[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS


def test_half_an_event_is_none() -> None:
    assert list(EventParser().feed(b'event: module\ndata: {"a": 1}\n')) == []


def test_a_part_is_laid_over_the_document() -> None:
    document = {"status": "running", "results": {"p": {"a.py": {"verdict": "running", "time": 1}}, "q": {}}}
    before = json.dumps(document)
    part = {"status": "done", "results": {"p": {"a.py": {"verdict": "passed"}, "b.py": {}}}, "new": {"x": [1]}}
    assert merged(document, part) == {
        "status": "done",
        "results": {"p": {"a.py": {"verdict": "passed", "time": 1}, "b.py": {}}, "q": {}},
        "new": {"x": [1]},
    }
    assert json.dumps(document) == before


def test_what_is_no_object_is_replaced() -> None:
    assert merged({"a": {"b": 1}, "c": None}, {"a": None, "c": {"d": 2}}) == {"a": None, "c": {"d": 2}}


def test_a_project_or_module_that_is_null_is_there_no_more() -> None:
    document = {
        "finished_at": "x",
        "projects": {"o-r": {}, "p": {}},
        "module_results": {"p": {"a": {}, "b": {}}, "q": {}},
    }
    part = {"finished_at": None, "projects": {"o-r": None}, "module_results": {"p": {"a": None}, "q": None}}
    assert merged(document, part) == {"finished_at": None, "projects": {"p": {}}, "module_results": {"p": {"b": {}}}}
