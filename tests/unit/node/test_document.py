"""The JSON of one evaluation at every stage of its life."""

from dataclasses import replace
from typing import Any

import pytest

from testmesh.model import Counts, Evaluation, ModulePlan, ModuleState, Project, Source, SourceKind, Verdict
from testmesh.node.document import document, timestamp
from testmesh.node.service import EvaluationView

AT = 1_795_287_900.0


def project(name: str, *modules: str) -> Project:
    return Project(name, "", tuple(ModulePlan(module) for module in modules), detail="")


def source(name: str, *projects: Project, error: str | None = None) -> Source:
    return Source(SourceKind.REPOSITORY, name, archive="0" * 64 if projects else None, projects=projects, error=error)


def state(name: str, module: str, verdict: Verdict, **fields: Any) -> ModuleState:
    return ModuleState("id", name, module, verdict, **fields)


def shown(evaluation: Evaluation, *states: ModuleState, now: float = AT) -> dict[str, Any]:
    return document(EvaluationView(evaluation, states), now)


ONE = Evaluation("id", AT, "a:1", (source("p", project("p", "test_a.py", "test_b.py")),))
PASSED = state("p", "test_a.py", Verdict.PASSED, counts=Counts(passed=2, skipped=1), time=0.31416, attempt=1)
FAILED = state("p", "test_b.py", Verdict.FAILED, counts=Counts(passed=1, failed=1, errors=2), attempt=2, node="b:1")


def test_times_are_utc_without_fractions() -> None:
    assert timestamp(AT + 0.9) == "2026-11-21T19:05:00Z"


def test_the_document_has_its_shape_before_anything_ran() -> None:
    body = shown(ONE, now=AT + 1.23456)
    assert (body["status"], body["finished_at"], body["submitted_at"]) == ("queued", None, "2026-11-21T19:05:00Z")
    assert list(body["_run_info"]) == [
        *("errors", "%passed", "%failed", "nota", "eval_time", "eta"),
        *("passed", "failed", "skipped", "executed", "running", "pending"),
    ]
    assert body["_run_info"]["eval_time"] == 1.235
    assert [body["_run_info"][name] for name in ("%passed", "%failed", "nota", "pending")] == [None, None, None, 2]
    assert [module["verdict"] for module in body["module_results"]["p"].values()] == ["pending", "pending"]


def test_sources_that_were_not_fetched_yet_are_pending_projects() -> None:
    body = shown(replace(ONE, sources=(source("owner-repo"),)))
    assert body["status"] == "queued"
    assert body["projects"]["owner-repo"]["status"] == "pending"
    assert body["module_results"] == {}


def test_it_says_which_nodes_it_waits_for() -> None:
    done = project("done", "test_c.py")
    both = replace(ONE, sources=(source("p", *ONE.projects, done),))
    ended = state("done", "test_c.py", Verdict.PASSED, counts=Counts(passed=1))
    body = document(EvaluationView(both, (PASSED, ended), waiting_for=("a:1", "b:1")), AT)
    assert body["projects"]["p"]["detail"] == "Waits for a node that has its files: none of a:1, b:1 is alive."
    assert body["projects"]["done"]["detail"] == ""


def test_it_fills_in_while_it_runs() -> None:
    body = shown(ONE, PASSED, state("p", "test_b.py", Verdict.RUNNING), now=AT + 2)
    assert body["status"] == body["projects"]["p"]["status"] == "running"
    info = body["_run_info"]
    assert (info["executed"], info["running"], info["pending"], info["eta"]) == (1, 1, 0, None)
    assert body["module_results"]["p"]["test_a.py"] == {
        "%passed": 100.0,
        "%failed": 0.0,
        "passed": 2,
        "failed": 0,
        "errors": 0,
        "skipped": 1,
        "verdict": "passed",
        "detail": "",
        "time": 0.314,
        "cpu_time": 0.0,
        "started_at": None,
        "node": "",
        "attempts": 1,
        "python": "",
    }


def test_how_long_it_will_take_is_told_until_the_end() -> None:
    body = document(EvaluationView(ONE, (PASSED,), seconds_left=12.345), AT)
    assert body["_run_info"]["eta"] == 12.3
    ended = replace(ONE, finished_at=AT, eval_time=1.0)
    assert document(EvaluationView(ended, (PASSED, FAILED), seconds_left=12.345), AT)["_run_info"]["eta"] is None


@pytest.mark.parametrize(
    ("began_at", "expected"),
    [(AT + 0.3456, "2026-11-21T19:05:00.345Z"), (AT, "2026-11-21T19:05:00.000Z"), (0.0, None), (1e300, None)],
)
def test_when_a_module_began_and_what_it_used(began_at: float, expected: str | None) -> None:
    module = shown(ONE, replace(PASSED, began_at=began_at, cpu_time=1.23456))["module_results"]["p"]["test_a.py"]
    assert (module["started_at"], module["cpu_time"]) == (expected, 1.235)


def test_the_end() -> None:
    body = shown(replace(ONE, finished_at=AT + 3.9, eval_time=3.87654), PASSED, FAILED, now=AT + 999)
    assert (body["status"], body["finished_at"]) == ("done", "2026-11-21T19:05:03Z")
    info = body["_run_info"]
    assert (info["passed"], info["failed"], info["skipped"], info["errors"]) == (3, 3, 1, 0)
    assert (info["%passed"], info["nota"], info["eval_time"]) == (50.0, 10.0, 3.877)
    assert body["module_results"]["p"]["test_b.py"]["attempts"] == 2


def test_a_repository_that_cannot_be_had_is_a_project_without_a_grade() -> None:
    sources = (source("gone", error="The repository was not found."), *ONE.sources)
    body = shown(replace(ONE, sources=sources, finished_at=AT, eval_time=0.0), PASSED, FAILED)
    gone = body["projects"]["gone"]
    assert (gone["status"], gone["detail"], gone["nota"]) == ("source_failed", "The repository was not found.", None)
    assert (body["status"], body["_run_info"]["nota"]) == ("done", 10.0)
    assert "gone" not in body["module_results"]


def test_an_evaluation_of_nothing_that_could_be_graded_failed() -> None:
    nothing = replace(ONE, sources=(source("gone", error="not found"),), finished_at=AT, eval_time=0.0)
    assert shown(nothing)["status"] == "failed"


def test_a_failure_of_the_system_takes_the_grade_and_tells_why() -> None:
    lost = state("p", "test_b.py", Verdict.INFRA_FAILED, detail="The index is out of reach.")
    body = shown(replace(ONE, finished_at=AT, eval_time=1.0), PASSED, lost)
    assert body["projects"]["p"] | {"%passed": 0, "%failed": 0} == {
        "%passed": 0,
        "%failed": 0,
        "nota": None,
        "status": "infra_failed",
        "detail": "The index is out of reach.",
        "executed": 2,
        "running": 0,
        "pending": 0,
    }
    assert (body["_run_info"]["errors"], body["_run_info"]["nota"], body["status"]) == (1, None, "failed")


@pytest.mark.parametrize("finished", [True, False])
def test_cancelled_is_told_once_it_has_ended(finished: bool) -> None:
    evaluation = replace(
        ONE, cancelled=True, finished_at=AT if finished else None, sources=(*ONE.sources, source("unfetched"))
    )
    body = shown(evaluation, PASSED, state("p", "test_b.py", Verdict.CANCELLED))
    assert body["status"] == ("cancelled" if finished else "running")
    assert body["projects"]["p"]["status"] == "cancelled"
    assert body["projects"]["p"]["nota"] == 20.0
    assert body["projects"]["unfetched"]["status"] == ("cancelled" if finished else "pending")


def test_states_of_unplanned_modules_are_not_shown() -> None:
    body = shown(ONE, state("p", "test_other.py", Verdict.PASSED), state("other", "test_a.py", Verdict.PASSED))
    assert list(body["module_results"]) == ["p"]
    assert list(body["module_results"]["p"]) == ["test_a.py", "test_b.py"]


def test_repositories_are_compared_once_all_are_there() -> None:
    def repository(name: str, digest: str) -> Source:
        found = replace(project(name, "test_a.py"), detail="a note", test_files=(("test_a.py", digest),))
        return source(name, found)

    same = tuple(repository(name, "1") for name in "abc")
    odd = repository("d", "2")
    waiting = replace(ONE, sources=(*same, odd, source("e")))
    assert {p["detail"] for p in shown(waiting)["projects"].values()} == {"a note", ""}
    for last in (source("e", error="not found"), repository("e", "1")):
        details = {name: p["detail"] for name, p in shown(replace(ONE, sources=(*same, odd, last)))["projects"].items()}
        assert details["d"] == "a note; differs from most projects: test_a.py"
        assert details["a"] == "a note"
        assert "differs" not in details["e"]
