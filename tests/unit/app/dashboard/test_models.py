"""The pages' models: what a document becomes, whatever is in it."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.app.dashboard import text
from testmesh.app.dashboard.cohort_page import cohort_page
from testmesh.app.dashboard.evaluation_page import evaluation_page, segments
from testmesh.app.dashboard.gantt import chart, pack, ticks
from testmesh.app.dashboard.module_page import SHOWN_LINES, module_page
from testmesh.app.dashboard.words import STATUSES, VERDICTS, is_failing
from testmesh.model import EvaluationStatus, ProjectStatus, TestResult, Verdict
from tests.support.fake_node import KNOWN_ID


def result(verdict: str = "passed", passed: int = 1, failed: int = 0, **more: Any) -> dict[str, Any]:
    counts = {"passed": passed, "failed": failed, "errors": 0, "skipped": 0}
    found = {"verdict": verdict, "detail": "", "time": 2.0, "cpu_time": 1.0, "started_at": None, "node": "n:1"}
    return {**counts, **found, "attempts": 1, "python": "3.12.4", **more}


def document(results: dict[str, dict[str, dict[str, Any]]], **projects: dict[str, Any]) -> dict[str, Any]:
    every = [one for own in results.values() for one in own.values()]
    info = {"nota": 12.5, "%passed": 62.5, "passed": 5, "failed": 3, "skipped": 0, "eta": 3.0, "eval_time": 9.0}
    known = {name: {"nota": 10.0, "status": "done", "detail": "", **projects.get(name, {})} for name in results}
    return {
        "id": KNOWN_ID,
        "status": "running",
        "submitted_at": "2026-11-21T19:05:00Z",
        "finished_at": None,
        "owner": "n:1",
        "_run_info": {**info, "executed": len(every), "running": 0, "pending": 0},
        "projects": known,
        "module_results": results,
    }


# Text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain é 日本", "plain é 日本"),
        ("a\u202eb", "a\\u202eb"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("bell\x07", "bell\\x07"),
        ("one\r\ntwo\ttab", "one\ntwo\ttab"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("family 👨\u200d👩", "family 👨\u200d👩"),
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_what_cannot_be_seen_is_written_out(given_text: str, shown: str) -> None:
    assert text.visible(given_text) == shown


@given(st.text())
def test_a_line_has_nothing_that_turns_or_breaks_it(anything: str) -> None:
    assert not set(text.line(anything)) & set("\n\t\r\x1b\u202e\u2066\u2028")
    text.line(anything).encode()


@given(st.text(max_size=300), st.integers(min_value=3, max_value=80))
def test_what_is_shortened_keeps_its_ends(anything: str, limit: int) -> None:
    short = text.shortened(anything, limit)
    assert len(short) <= limit
    assert short == anything or (anything.startswith(short[0]) and short[-1] in (anything[-1], "…"))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"), (0, "0.00 s"), (9.994, "9.99 s"), (9.996, "10.0 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"), (200_000, "2 d 7 h"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_units_for_people(seconds: float | None, shown: str) -> None:
    assert text.duration(seconds) == shown


# Words --------------------------------------------------------------------------------------


def test_every_verdict_and_state_has_a_sign_of_its_own_and_a_meaning() -> None:
    assert VERDICTS.keys() == set(Verdict)
    assert STATUSES.keys() == {*EvaluationStatus, *ProjectStatus}
    assert len({words.glyph for words in VERDICTS.values()}) == len(VERDICTS)
    assert all(words.meaning.endswith(".") for words in VERDICTS.values())


def test_failing_is_what_a_reader_should_look_at() -> None:
    assert {verdict for verdict in VERDICTS if not is_failing(verdict)} == {
        *("passed", "no_tests", "cancelled", "running", "pending")
    }
    assert not is_failing("something of a later version")


# One evaluation -----------------------------------------------------------------------------


def test_modules_of_one_name_are_a_column_and_their_common_folder_is_left_out() -> None:
    page = evaluation_page(
        document({"b": {"tests/test_y.py": result("failed")}, "A": {"tests/test_x.py": result()}}), now=0
    )
    assert page.is_aligned
    assert [(column.label, column.title) for column in page.columns] == [
        ("test_x.py", "tests/test_x.py"),
        ("test_y.py", "tests/test_y.py"),
    ]
    assert [row.name for row in page.rows] == ["A", "b"]
    first, second = page.rows
    assert [cell and cell.glyph for cell in first.cells] == ["✓", None]
    assert [cell and cell.glyph for cell in second.cells] == [None, "✕"]


def test_projects_that_share_nothing_have_their_modules_counted_up() -> None:
    results = {f"p{i}": {f"test_{i}_{m}.py": result() for m in range(2)} for i in range(20)}
    page = evaluation_page(document(results), now=0)
    assert not page.is_aligned
    assert [column.label for column in page.columns] == ["1", "2"]
    assert all(
        cell and f"test_{i}" in cell.title
        for i, row in enumerate(sorted(page.rows, key=lambda r: int(r.name[1:])))
        for cell in row.cells
    )


def test_rows_are_sorted_by_name_grade_or_failures() -> None:
    results = {"a": {"m": result()}, "b": {"m": result("failed")}, "c": {"m": result("timeout"), "n": result("failed")}}
    shown = document(results, a={"nota": 3.0}, b={"nota": None}, c={"nota": 20.0})

    def order(sort: str) -> list[str]:
        return [row.name for row in evaluation_page(shown, 0, sort).rows]

    assert [order("name"), order("nota"), order("failing")] == [list("abc"), list("cab"), list("cba")]


def test_what_is_not_asked_for_is_hidden_and_still_there() -> None:
    results = {"Alpha": {"m": result("failed")}, "beta": {"m": result("failed")}, "alps": {"m": result()}}
    page = evaluation_page(document(results), 0, query="alp", failing=True)
    assert {row.name for row in page.rows if not row.is_hidden} == {"Alpha"}
    assert (page.shown_rows, len(page.rows)) == (1, 3)


def test_a_project_without_a_source_has_a_row_that_says_so() -> None:
    shown = document({"lost": {}}, lost={"nota": None, "status": "source_failed", "detail": "not found"})
    (row,) = evaluation_page(shown, 0).rows
    assert (row.nota, row.passed, row.words.label, row.detail) == ("–", "–", "source not to be had", "not found")
    assert row.failing


def test_the_progress_bar_leaves_room_for_what_waits() -> None:
    found = {segment.verdict: segment for segment in segments({"passed": 1, "running": 1, "pending": 2})}
    assert (found["passed"].x, found["passed"].width) == (0, 25)
    assert (found["running"].x, found["running"].width) == (25, 25)
    assert "pending" not in found
    assert segments({}) == ()


@given(
    st.dictionaries(st.text(max_size=8), st.dictionaries(st.text(max_size=8), st.sampled_from([*VERDICTS]), max_size=4))
)
def test_any_names_become_a_page(names: dict[str, dict[str, str]]) -> None:
    results = {p: {m: result(v) for m, v in own.items()} for p, own in names.items()}
    page = evaluation_page(document(results), now=0)
    assert sum(cell is not None for row in page.rows for cell in row.cells) == sum(map(len, results.values()))


# Gantt --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), max_size=40))
def test_no_two_runs_of_a_lane_overlap(drawn: list[tuple[float, float]]) -> None:
    spans = sorted((begun, begun + took) for begun, took in drawn)
    lanes = pack(spans)
    for lane in set(lanes):
        own = [span for span, where in zip(spans, lanes, strict=True) if where == lane]
        assert all(one[1] <= other[0] for one, other in pairwise(own))
    most = max((sum(b <= at < e for b, e in spans) for at, _ in spans), default=0)
    assert len(set(lanes)) <= max(most, 1) + sum(b == e for b, e in spans)


def test_runs_are_drawn_by_node_and_what_runs_ends_now() -> None:
    stamp = "2026-11-21T19:05:{:02}.000Z".format
    results = {
        "p": {
            "a": result(started_at=stamp(0), node="x:1"),
            "b": result("running", started_at=stamp(1), node="y:1"),
            "c": result("pending", node=""),
        }
    }
    begun = text.seconds_of(stamp(0))
    assert begun is not None
    drawn = chart(results, now=begun + 4)
    assert drawn is not None
    assert [lane.node for lane in drawn.nodes] == ["x:1", "y:1"]
    assert [(bar.x, bar.width) for bar in drawn.bars] == [("0.000%", "50.000%"), ("25.000%", "75.000%")]
    assert chart({"p": {"c": result("pending", node="")}}, now=0) is None


@given(st.floats(min_value=0.001, max_value=10_000_000))
def test_there_are_few_ticks_and_none_at_the_edge(span: float) -> None:
    found = ticks(span)
    assert 1 <= len(found) <= 7
    assert all(float(tick.x.rstrip("%")) < 90.001 for tick in found)


# One module ---------------------------------------------------------------------------------


def test_failing_tests_come_first_and_open_and_long_output_is_folded() -> None:
    shown = document({"p": {"m": result("failed")}})
    long = "line\n" * (SHOWN_LINES + 5)
    tests = (TestResult("ok", "passed"), TestResult("bad\u202e", "failed", longrepr="why", stdout=long, stderr="  \n"))
    page = module_page(shown, "p", "m", tests)
    assert page is not None
    bad, ok = page.tests
    assert (bad.shown, bad.is_open, ok.is_open) == ("bad\\u202e", True, False)
    assert [(output.title, output.is_open) for output in bad.outputs] == [("why", True), ("stdout", False)]
    assert module_page(shown, "p", "other", ()) is None


def test_previous_and_next_lead_over_failing_modules_only() -> None:
    results = {
        "a": {"m1": result("failed"), "m2": result()},
        "b": {"m1": result(), "m2": result("timeout"), "m3": result("crashed")},
    }
    page = module_page(document(results), "b", "m2", ())
    assert page is not None
    assert page.previous is not None
    assert page.following is not None
    assert (page.previous.title, page.following.title) == ("a · m1", "b · m3")
    passed = module_page(document(results), "a", "m2", ())
    assert passed is not None
    assert passed.previous is not None
    assert (passed.previous.title, passed.words.label) == ("a · m1", "passed")


# The cohort ---------------------------------------------------------------------------------


def test_what_everyone_fails_or_passes_is_marked() -> None:
    outcomes = [
        *(("a", "m", "t1", "failed"), ("b", "m", "t1", "error"), ("c", "m", "t1", "skipped")),
        *(("a", "m", "t2", "passed"), ("b", "m", "t2", "xpassed")),
        *(("a", "m", "t3", "passed"), ("b", "m", "t3", "failed")),
        ("a", "other", "t4", "failed"),
    ]
    shown = document({"a": {}, "b": {}, "c": {}})
    page = cohort_page(shown, outcomes)
    rows = {row.name: row for group in page.groups for row in group.rows}
    assert [row.name for row in rows.values() if row.everyone_fails] == ["t1"]
    assert [row.name for row in rows.values() if row.everyone_passes] == ["t2"]
    assert (rows["t3"].passed, rows["t3"].counted, rows["t3"].share) == (1, 2, 50.0)
    assert [mark and mark.outcome for mark in rows["t1"].marks] == ["failed", "error", "skipped"]
    assert (page.everyone_fails, page.everyone_passes) == (1, 1)
    some = cohort_page(shown, outcomes, "some")
    assert [row.name for group in some.groups for row in group.rows] == ["t3"]
    everyone = cohort_page(shown, outcomes, "everyone")
    assert [row.name for group in everyone.groups for row in group.rows] == ["t1"]
