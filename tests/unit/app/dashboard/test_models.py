"""The pages' models: what a document becomes, whatever is in it."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.app.dashboard import text
from testmesh.app.dashboard.cohort_page import COMPARED, MOST_COLUMNS, MOST_ROWS, cohort_page
from testmesh.app.dashboard.evaluation_page import evaluation_page, segments
from testmesh.app.dashboard.gantt import MOST_BARS, chart, pack, ticks
from testmesh.app.dashboard.matrix import MOST_PLACES, PAGE_LETTERS, PAGE_ROWS, ROW_CELLS
from testmesh.app.dashboard.module_page import FEW_LETTERS, MOST_TESTS, SHOWN_LINES, module_page
from testmesh.app.dashboard.words import STATUSES, VERDICTS, is_failing
from testmesh.model import EvaluationStatus, ProjectStatus, TestResult, Verdict
from testmesh.node.service import ModuleTests
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
    assert page.matrix.is_aligned
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
    assert not page.matrix.is_aligned
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
    assert (page.matrix.found, len(page.rows)) == (1, 3)


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


# Many projects, many modules ---------------------------------------------------------------


def test_one_project_of_many_modules_makes_no_row_of_another_wide() -> None:
    results = {f"p{i}": {"test_a.py": result()} for i in range(400)}
    results["cheat"] = {f"test_{m}.py": result("failed" if m == 299 else "passed") for m in range(300)}
    page = evaluation_page(document(results), now=0)
    assert not page.matrix.is_aligned
    assert len(page.columns) == ROW_CELLS
    (wide,) = (row for row in page.rows if row.name == "cheat")
    assert (len(wide.cells), wide.more) == (ROW_CELLS, 300 - ROW_CELLS)
    assert wide.cells[0] is not None
    assert wide.cells[0].verdict == "failed", "what fails is not what is left out"
    assert all(len(row.cells) == 1 for row in page.rows if row.name != "cheat")
    assert page.matrix.is_cut
    assert page.matrix.known == 401 + 700


def test_many_projects_are_shown_a_page_at_a_time() -> None:
    every = {f"p{i:04}": {"m": result()} for i in range(2 * PAGE_ROWS + 1)}
    pages = [evaluation_page(document(every), 0, page=number) for number in (1, 2, 3, 4, -1)]
    names = [[row.name for row in page.rows] for page in pages]
    assert [len(rows) for rows in names[:3]] == [PAGE_ROWS, PAGE_ROWS, 1]
    assert names[0] + names[1] + names[2] == sorted(every)
    assert (names[3], names[4]) == (names[2], names[0]), "there is no page before the first and behind the last"
    assert pages[1].page_path(3) == f"/dashboard/evaluation/{KNOWN_ID}?page=3"
    found = evaluation_page(document(every), 0, "nota", "p000", page=9)
    assert [row.name for row in found.rows] == [f"p000{i}" for i in range(10)]
    assert (found.matrix.found, found.matrix.page, found.matrix.pages) == (10, 1, 1)
    assert found.page_path(2).endswith("?q=p000&sort=nota&page=2")


def test_a_class_of_a_hundred_is_one_page_in_aligned_columns() -> None:
    results = {f"p{i}": {f"m{m}": result() for m in range(20)} for i in range(100)}
    shown = evaluation_page(document(results), now=0).matrix
    assert (shown.is_aligned, shown.is_paged, shown.is_cut, len(shown.rows)) == (True, False, False, 100)


@pytest.mark.parametrize(("projects", "modules", "letters"), [(200, 500, 1), (300, 250, 20), (150, 200, 250)])
def test_whatever_the_names_a_page_has_but_so_many_letters(projects: int, modules: int, letters: int) -> None:
    one = result()
    results = {f"{i}" + "é" * letters: {f"{m}" + "é" * letters: one for m in range(modules)} for i in range(projects)}
    page = evaluation_page(document(results), now=0)
    assert len(page.rows) * len(page.columns) <= MOST_PLACES
    assert sum(len(cell.href) for row in page.rows for cell in row.cells if cell) < PAGE_LETTERS
    assert page.rows


# Gantt --------------------------------------------------------------------------------------


def test_of_very_many_runs_the_longest_are_drawn() -> None:
    runs = {f"m{i}": result(started_at="2026-11-21T19:05:00.000Z", time=float(i)) for i in range(MOST_BARS + 5)}
    drawn = chart({"p": runs}, now=0)
    assert drawn is not None
    assert (len(drawn.bars), drawn.left_out) == (MOST_BARS, 5)
    assert not any(" m4:" in bar.title for bar in drawn.bars)


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


def test_of_very_many_tests_those_that_fail_are_shown_and_not_much_of_each() -> None:
    shown = document({"p": {"m": result("failed")}})
    failing = [TestResult(f"bad{i}", "failed", longrepr="w" * 100_000) for i in range(800)]
    passing = [TestResult(f"ok{i}", "passed") for i in range(MOST_TESTS)]
    page = module_page(shown, "p", "m", passing + failing)
    assert page is not None
    assert (len(page.tests), page.every_test) == (MOST_TESTS, MOST_TESTS + 800)
    assert [test.outcome for test in page.tests[:800]] == ["failed"] * 800
    letters = {len(output.content) for test in page.tests for output in test.outputs}
    assert FEW_LETTERS <= min(letters) == max(letters) < 10_000
    assert all(output.is_cut for test in page.tests for output in test.outputs)


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


def outcomes_of(project: str, module: str, **outcomes: str) -> ModuleTests:
    return ModuleTests(project, module, tuple(TestResult(name, outcome) for name, outcome in outcomes.items()))


def test_what_everyone_fails_or_passes_is_marked() -> None:
    outcomes = [
        outcomes_of("a", "m", t1="failed", t2="passed", t3="passed"),
        outcomes_of("b", "m", t1="error", t2="xpassed", t3="failed"),
        outcomes_of("c", "m", t1="skipped"),
        outcomes_of("a", "other", t4="failed"),
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


def test_of_very_many_tests_those_that_most_projects_share_are_shown_then_those_that_fail() -> None:
    own = {f"t{i}": "passed" for i in range(MOST_ROWS + 9)} | {f"t{MOST_ROWS + 9}": "failed"}
    parts = [
        outcomes_of("a", "own.py", **own),
        outcomes_of("a", "shared.py", first="passed"),
        outcomes_of("b", "shared.py", first="failed"),
    ]
    page = cohort_page(document({"a": {}, "b": {}}), parts)
    rows = [(group.module, row.name) for group in page.groups for row in group.rows]
    assert len(rows) == MOST_ROWS
    assert rows[-1] == ("shared.py", "first")
    assert rows[-2] == ("own.py", f"t{MOST_ROWS + 9}")
    assert (page.tests, page.more) == (MOST_ROWS + 11, 11)
    some = cohort_page(document({"a": {}, "b": {}}), parts, "some")
    assert (some.more, [group.module for group in some.groups]) == (0, ["shared.py"])


def test_of_a_module_of_very_many_tests_the_first_are_compared() -> None:
    many = {f"t{i}": "passed" for i in range(COMPARED + 30)}
    page = cohort_page(document({"a": {}, "b": {}}), [outcomes_of("a", "m", **many), outcomes_of("b", "m", **many)])
    assert (page.tests, page.everyone_passes, page.uncompared) == (COMPARED + 30, COMPARED, 30)
    assert page.more == COMPARED + 30 - MOST_ROWS


def test_very_many_projects_are_counted_and_have_no_column() -> None:
    names = [f"p{i:03}" for i in range(MOST_COLUMNS + 5)]
    page = cohort_page(document({name: {} for name in names}), [outcomes_of(name, "m", t="failed") for name in names])
    ((row,),) = (group.rows for group in page.groups)
    assert (len(page.projects), page.every_project, len(row.marks)) == (MOST_COLUMNS, MOST_COLUMNS + 5, MOST_COLUMNS)
    assert (row.counted, row.everyone_fails) == (MOST_COLUMNS + 5, True)
    last = cohort_page(
        document({name: {} for name in names}), [outcomes_of(name, "m", t="failed") for name in names[9:]]
    )
    assert last.projects[-1].name == names[-1], "a column is for who has the tests"
