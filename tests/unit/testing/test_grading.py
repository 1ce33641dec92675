"""The verdict table to the letter, on reports; and the arithmetic of percentages and grades."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.model import Counts, EvaluationStatus, ModuleState, ProjectStatus, TestResult, Verdict
from testmesh.testing.events import ProcessEnd, RunReport, ServiceReport
from testmesh.testing.grades import (
    ProjectSummary,
    evaluation_status,
    evaluation_summary,
    percentages_of,
    project_summary,
)
from testmesh.testing.grading import (
    cancelled,
    environment_failed,
    grade_module,
    infrastructure_failed,
    lost_with_its_node,
    source_failed,
)

FULL = RunReport(
    started=True,
    python="3.11.7",
    collected=("test_a", "test_b"),
    counts=Counts(passed=2),
    tests=(TestResult("test_a", "passed"), TestResult("test_b", "passed")),
    session_status=0,
    end=ProcessEnd(exit_code=0, duration=1.23456),
)
HALF = replace(FULL, counts=Counts(passed=1), tests=FULL.tests[:1], running="test_b")
FAILED_B = replace(
    FULL,
    counts=Counts(passed=1, failed=1),
    tests=(FULL.tests[0], TestResult("test_b", "failed")),
    session_status=1,
    end=ProcessEnd(exit_code=1),
)
NOTHING = RunReport(started=True, end=ProcessEnd(exit_code=0))
EMPTY = replace(NOTHING, collected=(), session_status=5, end=ProcessEnd(exit_code=5))
UNCOLLECTED = replace(
    EMPTY,
    collect_errors=("E   SyntaxError: no",),
    counts=Counts(errors=1),
    session_status=2,
    end=ProcessEnd(exit_code=2),
)

TABLE = {
    "all passed": (FULL, Verdict.PASSED, Counts(passed=2)),
    "one failed": (FAILED_B, Verdict.FAILED, Counts(passed=1, failed=1)),
    "status hidden, failure not": (
        replace(FAILED_B, session_status=0, end=ProcessEnd(exit_code=0)),
        Verdict.FAILED,
        Counts(passed=1, failed=1),
    ),
    "a status of a plugin": (replace(FULL, session_status=1, end=ProcessEnd(exit_code=1)), Verdict.PASSED, FULL.counts),
    "only teardown errors": (replace(FULL, counts=Counts(passed=2, errors=1)), Verdict.FAILED, Counts(2, 0, 1)),
    "all skipped": (
        replace(
            FULL, counts=Counts(skipped=2), tests=(TestResult("test_a", "skipped"), TestResult("test_b", "xfailed"))
        ),
        Verdict.PASSED,
        Counts(skipped=2),
    ),
    "nothing found": (EMPTY, Verdict.NO_TESTS, Counts()),
    "all deselected": (replace(EMPTY, deselected=3), Verdict.NO_TESTS, Counts()),
    "skips itself whole": (replace(EMPTY, counts=Counts(skipped=1)), Verdict.NO_TESTS, Counts(skipped=1)),
    "not collected": (UNCOLLECTED, Verdict.COLLECT_ERROR, Counts(failed=7)),
    "usage error": (
        replace(NOTHING, session_status=4, end=ProcessEnd(exit_code=4)),
        Verdict.COLLECT_ERROR,
        Counts(failed=7),
    ),
    "stopped at a failure": (
        replace(FAILED_B, collected=("test_a", "test_b", "test_c"), stopped="stopping after 1 failures"),
        Verdict.FAILED,
        Counts(passed=1, failed=1),
    ),
    "stopped without one": (replace(HALF, stopped="enough"), Verdict.CRASHED, Counts(passed=1, failed=1)),
    "not all ran": (HALF, Verdict.CRASHED, Counts(passed=1, failed=1)),
    "no collection": (replace(NOTHING, session_status=0), Verdict.CRASHED, Counts(failed=7)),
    "no end": (replace(FULL, session_status=None), Verdict.CRASHED, Counts(passed=2)),
    "status changed": (replace(FAILED_B, end=ProcessEnd(exit_code=0)), Verdict.CRASHED, Counts(passed=1, failed=1)),
    "interrupted": (replace(FULL, interrupted="Exit: x"), Verdict.CRASHED, Counts(passed=2)),
    "internal error": (
        replace(HALF, session_status=3, end=ProcessEnd(exit_code=3)),
        Verdict.CRASHED,
        Counts(passed=1, failed=1),
    ),
    "signal": (
        replace(HALF, session_status=None, end=ProcessEnd(exit_code=-11)),
        Verdict.CRASHED,
        Counts(passed=1, failed=1),
    ),
    "signal before collection": (replace(NOTHING, end=ProcessEnd(exit_code=-9)), Verdict.CRASHED, Counts(failed=7)),
    "unknown end": (replace(NOTHING, end=ProcessEnd()), Verdict.CRASHED, Counts(failed=7)),
    "emptied, then left": (replace(EMPTY, session_status=None), Verdict.CRASHED, Counts(failed=7)),
    "out of time": (
        replace(HALF, session_status=None, end=ProcessEnd(timed_out=True)),
        Verdict.TIMEOUT,
        Counts(passed=1, failed=1),
    ),
    "out of time at import": (replace(NOTHING, end=ProcessEnd(timed_out=True)), Verdict.TIMEOUT, Counts(failed=7)),
    "out of time after the end": (replace(FULL, end=ProcessEnd(timed_out=True)), Verdict.TIMEOUT, Counts(passed=2)),
    "over its memory": (
        replace(HALF, session_status=None, end=ProcessEnd(exit_code=-9, over_limit="memory")),
        Verdict.CRASHED,
        Counts(passed=1, failed=1),
    ),
    "over its disk before collection": (
        replace(NOTHING, end=ProcessEnd(over_limit="disk")),
        Verdict.CRASHED,
        Counts(failed=7),
    ),
    "over its processes": (
        replace(HALF, session_status=None, end=ProcessEnd(over_limit="processes")),
        Verdict.CRASHED,
        Counts(passed=1, failed=1),
    ),
    "over its processor time": (
        replace(HALF, session_status=None, end=ProcessEnd(exit_code=-24, over_limit="processor time")),
        Verdict.TIMEOUT,
        Counts(passed=1, failed=1),
    ),
    "over its memory before pytest": (
        RunReport(end=ProcessEnd(exit_code=1, over_limit="memory")),
        Verdict.CRASHED,
        Counts(failed=7),
    ),
    "over its memory and its time": (
        replace(HALF, session_status=None, end=ProcessEnd(timed_out=True, over_limit="memory")),
        Verdict.CRASHED,
        Counts(passed=1, failed=1),
    ),
    "a part was over its memory": (
        replace(FULL, end=replace(FULL.end, over_limit="memory")),
        Verdict.CRASHED,
        Counts(passed=2),
    ),
    "over its memory, then cancelled": (
        replace(HALF, end=ProcessEnd(cancelled=True, over_limit="memory")),
        Verdict.CANCELLED,
        Counts(),
    ),
    "cancelled": (replace(HALF, end=ProcessEnd(cancelled=True)), Verdict.CANCELLED, Counts()),
    "no pytest": (
        RunReport(end=ProcessEnd(exit_code=1, stderr="ImportError: x")),
        Verdict.ENV_FAILED,
        Counts(failed=7),
    ),
}


@pytest.mark.parametrize(("report", "verdict", "counts"), TABLE.values(), ids=TABLE)
def test_the_verdict_table(report: RunReport, verdict: Verdict, counts: Counts) -> None:
    result = grade_module(report, 7)
    assert (result.verdict, result.counts) == (verdict, counts)


def test_an_uncollected_module_counts_at_least_one_test() -> None:
    assert grade_module(UNCOLLECTED, 0).counts == Counts(failed=1)
    assert environment_failed("no such version", 0).counts == Counts(failed=1)
    assert grade_module(NOTHING, 0).counts == Counts(failed=1)


def test_tests_that_did_not_run_are_listed_with_the_reason() -> None:
    report = replace(HALF, session_status=None, end=ProcessEnd(exit_code=-11))
    result = grade_module(report, 1)
    assert [(test.name, test.outcome) for test in result.tests] == [("test_a", "passed"), ("test_b", "failed")]
    assert "SIGSEGV" in result.tests[1].longrepr
    assert result.detail == "killed by signal 11 (SIGSEGV), in test_b"


LIMITS = {
    "memory": ("memory", "2 GiB", "it used more memory than a module may have (2 GiB), stopped in test_b"),
    "processes": ("processes", "256", "it started more processes than a module may have (256), stopped in test_b"),
    "disk": ("disk", "1 GiB", "it wrote more to disk than a module may have (1 GiB), stopped in test_b"),
    "processor time": (
        "processor time",
        "240 s",
        "it used more processor time than a module may have (240 s), stopped in test_b",
    ),
    "unknown how much": ("memory", "", "it used more memory than a module may have, stopped in test_b"),
    "another one": ("open files", "9", "it was over its limit of open files (9), stopped in test_b"),
}


@pytest.mark.parametrize(("limit", "text", "detail"), LIMITS.values(), ids=LIMITS)
def test_a_limit_is_named_with_what_it_is_and_where(limit: str, text: str, detail: str) -> None:
    end = ProcessEnd(exit_code=-9, over_limit=limit, limit_text=text)
    result = grade_module(replace(HALF, session_status=None, end=end), 1)
    assert result.detail == detail
    assert detail in result.tests[1].longrepr


def test_a_death_by_signal_without_a_limit_is_told_as_such() -> None:
    report = replace(HALF, session_status=None, end=ProcessEnd(exit_code=-9))
    assert grade_module(report, 1).detail == "killed by signal 9 (SIGKILL), perhaps out of memory, in test_b"


PATHS = {
    "in a work folder": ("/data/7000/work/run-0123abcd/code/p/tests/x.py:3: no", "tests/x.py:3: no"),
    "in a box": ("/box/code/project-a/tests/x.py:3: no", "tests/x.py:3: no"),
    "quoted": (
        "cannot import '/box/code/p/conftest.py' or \"/box/code/p/b.py\"",
        "cannot import 'conftest.py' or \"b.py\"",
    ),
    "in parentheses": ("no (/box/code/p/x.py)", "no (x.py)"),
    "the project itself": ("not in '/box/code/p'", "not in ''"),
    "another folder of that name": ("/home/box/code/p/x.py", "/home/box/code/p/x.py"),
    "another name": ("/sandbox/code/p/x.py", "/sandbox/code/p/x.py"),
    "elsewhere in the box": ("/box/home/x.py", "/box/home/x.py"),
}


@pytest.mark.parametrize(("said", "shown"), PATHS.values(), ids=PATHS)
def test_where_a_run_was_is_not_told(said: str, shown: str) -> None:
    assert grade_module(replace(UNCOLLECTED, collect_errors=(said,)), 1).detail == shown


def test_the_result_has_time_python_and_notes_for_people() -> None:
    server = ServiceReport("python3 server.py", ready=True, exit_code=1, output="boom\nOSError: in use\n")
    result = grade_module(replace(FULL, text_cut=True, end=replace(FULL.end, services=(server,))), 1)
    assert (result.time, result.python) == (1.235, "3.11.7")
    assert result.detail == (
        "service `python3 server.py` ended with exit status 1: OSError: in use; its output was cut at the limit"
    )


def test_details_are_bounded() -> None:
    assert len(environment_failed("x" * 10**6, 1).detail) <= 4000
    assert len(grade_module(replace(HALF, running="x" * 10**6, session_status=None), 1).detail) <= 4000


def test_results_without_a_run() -> None:
    assert environment_failed("no such version", 4).counts == Counts(failed=4)
    assert infrastructure_failed("index out of reach").counts == Counts()
    assert source_failed("not found").verdict is Verdict.SOURCE_FAILED
    assert cancelled().counts == Counts()
    lost = lost_with_its_node(5)
    assert (lost.verdict, lost.counts) == (Verdict.CRASHED, Counts(failed=5))


# Arithmetic ----------------------------------------------------------------------------------


def state(verdict: Verdict, *counts: int, module: str = "test_a.py") -> ModuleState:
    return ModuleState("id", "p", module, verdict, counts=Counts(*counts))


def test_the_contracts_example() -> None:
    project = project_summary([state(Verdict.PASSED, 4), state(Verdict.FAILED, 3, 1), state(Verdict.NO_TESTS)])
    assert (project.status, project.executed) == (ProjectStatus.DONE, 3)
    assert (project.shown.passed, project.shown.failed, project.shown.nota) == (87.5, 12.5, 17.5)
    totals = evaluation_summary([project])
    assert (totals.shown, totals.passed, totals.failed, totals.errors) == (project.shown, 7, 1, 0)


def test_errors_count_as_failed_and_skipped_count_not_at_all() -> None:
    project = project_summary([state(Verdict.FAILED, 1, 1, 1, 9)])
    assert (project.shown.passed, project.shown.failed, project.shown.nota) == (33.33, 66.67, 6.67)
    assert evaluation_summary([project]).failed == 2


def test_the_grade_is_the_mean_of_projects_and_the_percentage_is_over_tests() -> None:
    large, small = project_summary([state(Verdict.FAILED, 90, 10)]), project_summary([state(Verdict.FAILED, 0, 1)])
    shown = evaluation_summary([large, small]).shown
    assert (shown.passed, shown.nota) == (89.11, 9.0)


def test_grades_are_rounded_once() -> None:
    thirds = [project_summary([state(Verdict.FAILED, passed, 3 - passed)]) for passed in (1, 1, 2)]
    assert [project.shown.nota for project in thirds] == [6.67, 6.67, 13.33]
    assert evaluation_summary(thirds).shown.nota == 8.89


@pytest.mark.parametrize("verdict", [Verdict.INFRA_FAILED, Verdict.SOURCE_FAILED])
def test_a_failure_that_is_not_the_students_gives_no_grade(verdict: Verdict) -> None:
    spared = project_summary([state(Verdict.FAILED, 0, 5), state(verdict)])
    good = project_summary([state(Verdict.PASSED, 1)])
    assert spared.shown.nota is None
    assert spared.status.value == verdict.value
    assert evaluation_summary([spared, good]).shown.nota == 20.0
    assert evaluation_summary([spared, good]).errors == 1
    assert evaluation_summary([spared]).shown.nota is None


def test_where_nothing_counts_all_is_null() -> None:
    assert percentages_of(Counts(skipped=3)).passed is None
    project = project_summary([state(Verdict.NO_TESTS)])
    assert (project.status, project.shown.passed, project.shown.nota) == (ProjectStatus.DONE, None, None)
    shown = evaluation_summary([project]).shown
    assert (shown.passed, shown.failed, shown.nota) == (None, None, None)
    assert evaluation_summary([]).shown.nota is None


PENDING, RUNNING, PASSED = state(Verdict.PENDING), state(Verdict.RUNNING), state(Verdict.PASSED, 1)
PROJECTS = {
    "no module known": ([], ProjectStatus.PENDING),
    "none started": ([PENDING, PENDING], ProjectStatus.PENDING),
    "one runs": ([RUNNING, PENDING], ProjectStatus.RUNNING),
    "one ended": ([PASSED, PENDING], ProjectStatus.RUNNING),
    "all ended": ([PASSED, state(Verdict.CRASHED)], ProjectStatus.DONE),
    "infrastructure, not yet over": ([state(Verdict.INFRA_FAILED), PENDING], ProjectStatus.RUNNING),
    "infrastructure": ([state(Verdict.INFRA_FAILED), state(Verdict.CANCELLED)], ProjectStatus.INFRA_FAILED),
    "cancelled": ([PASSED, state(Verdict.CANCELLED)], ProjectStatus.CANCELLED),
}


@pytest.mark.parametrize(("modules", "status"), PROJECTS.values(), ids=PROJECTS)
def test_a_projects_status(modules: list[ModuleState], status: ProjectStatus) -> None:
    assert project_summary(modules).status is status


def test_a_project_without_a_source_says_why() -> None:
    project = project_summary([], source_error="the repository is private")
    assert (project.status, project.detail) == (ProjectStatus.SOURCE_FAILED, "the repository is private")


DONE, NO_SOURCE = project_summary([PASSED]), project_summary([], source_error="not found")
EVALUATIONS = {
    "nothing known yet": ([], False, False, EvaluationStatus.QUEUED),
    "none started": ([project_summary([PENDING])], True, False, EvaluationStatus.QUEUED),
    "one runs": ([project_summary([RUNNING])], True, False, EvaluationStatus.RUNNING),
    "some done": ([DONE, project_summary([PENDING])], True, False, EvaluationStatus.RUNNING),
    "a source to come": ([DONE], False, False, EvaluationStatus.RUNNING),
    "done": ([DONE, NO_SOURCE], True, False, EvaluationStatus.DONE),
    "no tests at all": ([project_summary([state(Verdict.NO_TESTS)])], True, False, EvaluationStatus.DONE),
    "nothing could be graded": ([NO_SOURCE], True, False, EvaluationStatus.FAILED),
    "cancelling": ([project_summary([RUNNING])], True, True, EvaluationStatus.RUNNING),
    "cancelled": ([project_summary([state(Verdict.CANCELLED)])], True, True, EvaluationStatus.CANCELLED),
}


@pytest.mark.parametrize(("projects", "resolved", "stop", "status"), EVALUATIONS.values(), ids=EVALUATIONS)
def test_an_evaluations_status(
    projects: list[ProjectSummary], resolved: bool, stop: bool, status: EvaluationStatus
) -> None:
    assert evaluation_status(projects, resolved, stop) is status


counts = st.builds(Counts, *[st.integers(0, 10_000)] * 4)
states = st.builds(
    ModuleState,
    evaluation=st.just("id"),
    project=st.just("p"),
    module=st.text(max_size=3),
    verdict=st.sampled_from(Verdict),
    counts=counts,
)
projects_of_states = st.lists(st.lists(states, max_size=6), max_size=6)


@given(counts)
def test_percentages_are_bounded_and_add_up(tests: Counts) -> None:
    shown = percentages_of(tests)
    total = tests.passed + tests.failed + tests.errors
    assert (shown.passed is None) == (shown.failed is None) == (shown.nota is None) == (total == 0)
    if shown.passed is not None and shown.failed is not None and shown.nota is not None:
        assert 0 <= shown.passed <= 100
        assert round(shown.passed + shown.failed, 2) == 100
        assert abs(shown.passed - 100 * tests.passed / total) <= 0.005 + 1e-9
        assert abs(shown.nota - 20 * tests.passed / total) <= 0.005 + 1e-9


@given(projects_of_states)
def test_order_changes_nothing_and_sums_agree(projects: list[list[ModuleState]]) -> None:
    summaries = [project_summary(modules) for modules in projects]
    totals = evaluation_summary(summaries)
    assert totals == evaluation_summary(summaries[::-1])
    assert totals.executed + totals.running + totals.pending == sum(len(modules) for modules in projects)
    final = [module for modules in projects for module in modules if module.verdict.is_final]
    assert totals.passed == sum(module.counts.passed for module in final)
    assert totals.failed == sum(module.counts.failed + module.counts.errors for module in final)
    assert totals.errors == sum(module.verdict.counts_as_error for module in final)


@given(projects_of_states)
def test_the_grade_lies_between_the_projects_grades(projects: list[list[ModuleState]]) -> None:
    summaries = [project_summary(modules) for modules in projects]
    notas = [summary.shown.nota for summary in summaries if summary.shown.nota is not None]
    nota = evaluation_summary(summaries).shown.nota
    assert (nota is None) == (not notas)
    if nota is not None:
        assert 0 <= min(notas) <= nota + 0.0101
        assert nota - 0.0101 <= max(notas) <= 20


reports = st.builds(
    RunReport,
    started=st.booleans(),
    collected=st.none() | st.lists(st.sampled_from("abcdef"), unique=True).map(tuple),
    deselected=st.integers(0, 3),
    collect_errors=st.sampled_from([(), ("E   x",)]),
    counts=st.builds(Counts, *[st.integers(0, 3)] * 4),
    tests=st.lists(
        st.builds(TestResult, st.sampled_from("abcdef"), st.sampled_from(["passed", "failed", "error"]))
    ).map(lambda tests: tuple({test.name: test for test in tests}.values())),
    interrupted=st.sampled_from(["", "Exit: x"]),
    stopped=st.sampled_from(["", "stopping after 1 failures"]),
    session_status=st.none() | st.integers(0, 6),
    end=st.builds(
        ProcessEnd,
        exit_code=st.none() | st.integers(-9, 6),
        timed_out=st.booleans(),
        cancelled=st.booleans(),
        over_limit=st.sampled_from(["", "", "memory", "processor time"]),
    ),
)


@given(reports, st.integers(0, 5))
def test_no_report_is_passed_unless_it_completed_and_all_it_collected_has_an_outcome(
    report: RunReport, tests_found: int
) -> None:
    result = grade_module(report, tests_found)
    assert result.verdict.is_final
    if result.verdict is Verdict.PASSED:
        assert report.end.exit_code == report.session_status is not None
        assert report.collected is not None
        assert not report.unreported
        assert not report.interrupted
        assert not report.end.over_limit
        assert not result.counts.failed + result.counts.errors
    if result.verdict in (Verdict.COLLECT_ERROR, Verdict.ENV_FAILED):
        assert result.counts == Counts(failed=max(1, tests_found))


@pytest.mark.parametrize(("used", "expected"), [(1.23456, 1.235), (0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0)])
def test_the_processor_time_of_all_processes_is_kept(used: float, expected: float) -> None:
    assert grade_module(replace(FULL, end=replace(FULL.end, cpu_time=used)), 1).cpu_time == expected
