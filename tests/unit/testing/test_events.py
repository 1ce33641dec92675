"""The parser believes only what is well formed and carries the nonce, and is bounded."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.model import Counts
from testmesh.testing import events
from testmesh.testing.events import MAX_NAMES, EventParser, ProcessEnd, RunReport

NONCE = "0123456789abcdef"


def line(kind: str, nonce: str = NONCE, **fields: Any) -> bytes:
    return json.dumps({"n": nonce, "e": kind, **fields}).encode() + b"\n"


def report_line(name: str, category: str = "passed", when: str = "call", **changed: Any) -> bytes:
    fields = {
        "id": f"tests/test_it.py::{name}",
        "when": when,
        "category": category,
        "outcome": "failed" if category in ("failed", "error") else "passed",
        "duration": 0.5,
        "longrepr": "",
        "stdout": "",
        "stderr": "",
        "subtest": False,
    }
    return line("report", **(fields | changed))


STREAM = b"".join(
    [
        line("start", python="3.11.7", pytest="9.2.0"),
        line("collected", ids=["tests/test_it.py::test_a", "tests/test_it.py::test_b"]),
        line("collection_end", deselected=1),
        line("begin", id="tests/test_it.py::test_a"),
        report_line("test_a", "", "setup"),
        report_line("test_a"),
        report_line("test_a", "error", "teardown", longrepr="untidy", stdout="out"),
        line("begin", id="tests/test_it.py::test_b"),
        line("session_end", status=1, stopped="stopping"),
        line("exit", status=1),
    ]
)


def parse(*pieces: bytes) -> RunReport:
    parser = EventParser(NONCE, "tests/test_it.py")
    for piece in pieces:
        parser.feed(piece)
    return parser.report(ProcessEnd())


def test_a_stream_becomes_a_report() -> None:
    report = parse(STREAM)
    assert (report.python, report.pytest, report.deselected) == ("3.11.7", "9.2.0", 1)
    assert report.collected == ("test_a", "test_b")
    assert report.unreported == ("test_b",)
    assert report.counts == Counts(passed=1, errors=1)
    (test,) = report.tests
    assert (test.name, test.outcome, test.time, test.longrepr, test.stdout) == ("test_a", "error", 1.5, "untidy", "out")
    assert (report.running, report.stopped, report.session_status) == ("test_b", "stopping", 1)


@given(st.lists(st.integers(0, len(STREAM))).map(sorted))
def test_how_the_stream_is_cut_into_pieces_changes_nothing(cuts: list[int]) -> None:
    edges = [0, *cuts, len(STREAM)]
    assert parse(*(STREAM[a:b] for a, b in pairwise(edges))) == parse(STREAM)


@given(st.integers(0, len(STREAM)))
def test_a_torn_stream_is_never_an_end(at: int) -> None:
    report = parse(STREAM[:at])
    assert (report.session_status is not None) == (at == len(STREAM))


junk = st.binary(max_size=200) | st.builds(
    lambda value: json.dumps(value).encode(),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
    | st.dictionaries(st.sampled_from(["n", "e", "id", "status"]), st.sampled_from([NONCE[:-1], "exit", 0, None])),
)


@given(st.lists(junk))
def test_lines_without_the_nonce_change_nothing(lines: list[bytes]) -> None:
    noise = b"\n".join(lines) + b"\n"
    assert parse(noise, STREAM) == parse(STREAM)


kinds = [
    "start",
    "collect_error",
    "collect_skip",
    "collected",
    "collection_end",
    "begin",
    "report",
    "interrupted",
    "internal_error",
    "session_end",
    "cut",
    "exit",
    "_apply",
    "nonsense",
]
fields = [
    "id",
    "ids",
    "when",
    "category",
    "outcome",
    "duration",
    "longrepr",
    "stdout",
    "stderr",
    "subtest",
    "status",
    "python",
    "pytest",
    "deselected",
    "reason",
    "collection",
    "text",
    "stopped",
]
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.integers())


@given(st.lists(st.tuples(st.sampled_from(kinds), st.dictionaries(st.sampled_from(fields), values))))
def test_lines_with_the_nonce_and_odd_fields_give_a_report_that_can_be_stored(made: list[tuple[str, Any]]) -> None:
    report = parse(*(line(kind, **given_fields) for kind, given_fields in made))
    json.dumps([[test.name, test.longrepr, test.stdout, test.time] for test in report.tests]).encode()
    for test in report.tests:
        (test.name + test.longrepr + test.stdout + test.stderr).encode()
        assert 0 <= test.time < float("inf")
    assert min(report.counts.passed, report.counts.failed, report.counts.errors, report.counts.skipped) >= 0


def test_a_line_that_is_too_long_is_dropped_and_the_next_one_read() -> None:
    parser = EventParser(NONCE, "tests/test_it.py")
    for _ in range(10):
        parser.feed(b"x" * (events.MAX_LINE // 8))
    parser.feed(b"\n" + line("exit", status=0))
    assert parser.report(ProcessEnd()).session_status == 0


def test_no_more_than_so_many_tests_and_so_much_text_are_kept() -> None:
    parser = EventParser(NONCE, "tests/test_it.py")
    text = "x" * (events.MAX_TEXT // 5)
    for number in range(7):
        parser.feed(report_line(f"test_{number}", longrepr=text))
    ids = [f"tests/test_it.py::test_{number}" for number in range(events.MAX_TESTS + 10)]
    for start in range(0, len(ids), 500):
        parser.feed(line("collected", ids=ids[start : start + 500]))
    parser.feed(line("collection_end", deselected=0))
    report = parser.report(ProcessEnd())
    assert len(report.collected or ()) == events.MAX_TESTS
    assert sum(len(test.longrepr) for test in report.tests) == events.MAX_TEXT
    assert report.text_cut


def test_a_name_keeps_its_file_where_it_is_another() -> None:
    report = parse(report_line("x", id="tests/test_other.py::test_a"), report_line("y", id="test_it.py::test_b"))
    assert [test.name for test in report.tests] == ["tests/test_other.py::test_a", "test_b"]


def test_lone_surrogates_become_text_that_can_be_stored() -> None:
    report = parse(report_line("test_\ud800", stdout="a\udc80b"))
    assert (report.tests[0].name, report.tests[0].stdout) == ("test_?", "a?b")


@pytest.mark.parametrize(
    "line",
    [
        '"e": "collection_end", "deselected": Infinity',
        '"e": "exit", "status": -Infinity',
        '"e": "exit", "status": 1e999',
        '"e": "collection_end", "deselected": NaN',
        '"e": "report", "id": "a", "when": "call", "duration": 1' + "0" * 400 + ', "category": "", "outcome": "passed"',
    ],
)
def test_numbers_that_are_none_are_dropped(line: str) -> None:
    parser = EventParser("nonce", "test_a.py")
    assert parser.feed(f'{{"n": "nonce", {line}}}\n'.encode()) == []


def test_names_of_tests_are_bounded_together() -> None:
    parser = EventParser("nonce", "test_a.py")
    for number in range(4000):
        name = f"{number}" + "x" * 4000
        parser.feed(json.dumps({"n": "nonce", "e": "collected", "ids": [name]}).encode() + b"\n")
    parser.feed(b'{"n": "nonce", "e": "collection_end", "deselected": 0}\n')
    report = parser.report(ProcessEnd())
    assert sum(map(len, report.collected or ())) <= MAX_NAMES
    assert report.text_cut
