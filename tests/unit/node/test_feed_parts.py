"""Events are parts of the document: who merges them has it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from testmesh.node.feed_parts import changes, encoded, whole
from tests.support.event_stream import Told, document_of, events_of

_values = st.none() | st.integers(0, 3)
_entries = st.fixed_dictionaries({"verdict": st.sampled_from(["running", "passed"]), "nota": _values})
_names = st.sampled_from(["p", "q/r", "é"])
documents = st.fixed_dictionaries(
    {
        "id": st.just("e"),
        "status": st.sampled_from(["queued", "running", "done"]),
        "finished_at": _values,
        "owner": st.sampled_from(["a:1", "b:1"]),
        "_run_info": st.fixed_dictionaries({"eta": _values, "passed": _values}),
        "projects": st.dictionaries(_names, _entries, max_size=3),
        "module_results": st.dictionaries(_names, st.dictionaries(_names, _entries, max_size=3), max_size=3),
    }
)


def told(events: list[tuple[str, dict[str, Any]]]) -> list[Told]:
    """Over the wire."""
    return list(events_of(b"".join(encoded(event, "x.1") for event in events).split(b"\n")))


@given(documents, documents, documents, st.booleans())
def test_whoever_merges_all_events_has_the_document(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any], is_over: bool
) -> None:
    events = told([*whole(first, False), *changes(first, second, False), *changes(second, third, is_over)])
    assert document_of(events) == third
    assert document_of(told(whole(third, is_over))) == third


@given(documents, documents)
def test_the_whole_of_another_node_corrects_what_was_known(mine: dict[str, Any], now: dict[str, Any]) -> None:
    """But for what is there no more: that takes a node that knew it."""
    merged = document_of(told([*whole(mine, False), *whole(now, False)]))
    assert {name: merged["projects"][name] for name in now["projects"]} == now["projects"]
    assert merged["_run_info"] == now["_run_info"]


@given(documents, documents)
def test_nothing_is_told_twice_and_the_last_event_is_done(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert changes(after, after, False) == []
    kinds = [kind for kind, _ in changes(before, after, True)]
    assert kinds[-1] == "done"
    assert set(kinds[:-1]) <= {"module"}
    assert all(part[0] == "module" for part in changes(before, after, False)[:-1])


def test_an_event_is_one_line_of_data() -> None:
    data = encoded(("project", {"projects": {"a\nb\r\u2028": {"detail": "\n\n"}}}), "i.1")
    assert data.count(b"\n") == 4
    assert b"\r" not in data
    assert data.isascii()
