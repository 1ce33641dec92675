"""PURE: one evaluation as the JSON of spec section 3, derived from its records."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from testmesh.model import Evaluation, EvaluationStatus, ModuleState, Project, ProjectStatus, Source, Verdict
from testmesh.node.service import EvaluationView
from testmesh.testing.cohort import notes_of
from testmesh.testing.grades import (
    Percentages,
    ProjectSummary,
    evaluation_status,
    evaluation_summary,
    percentages_of,
    project_summary,
)


def document(view: EvaluationView, now: float) -> dict[str, Any]:
    """The evaluation as it is known here; `now` (Unix seconds) tells how long an unfinished one has run."""
    evaluation = view.evaluation
    known = {(state.project, state.module): state for state in view.modules}
    states = {project.name: _states_of(project, evaluation, known) for project in evaluation.projects}
    notes = notes_of(evaluation.projects) if all(source.is_resolved for source in evaluation.sources) else {}
    projects = {
        project.name: _summary(project, states[project.name], notes.get(project.name, ""), view.waiting_for)
        for project in evaluation.projects
    }
    projects |= {source.name: _summary_without_projects(source, evaluation) for source in _unfetched(evaluation)}
    return {
        "id": evaluation.id,
        "status": _status(evaluation, list(projects.values())).value,
        "submitted_at": timestamp(evaluation.submitted_at),
        "finished_at": None if evaluation.finished_at is None else timestamp(evaluation.finished_at),
        "owner": evaluation.owner,
        "_run_info": _run_info(view, list(projects.values()), now),
        "projects": {name: _project(summary) for name, summary in projects.items()},
        "module_results": {name: {state.module: _module(state) for state in found} for name, found in states.items()},
    }


def timestamp(seconds: float) -> str:
    """Unix seconds as `2026-11-21T19:05:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(seconds: float) -> str | None:
    """The same with milliseconds; None of what never was, or is in no calendar."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z" if moment else None


def _states_of(
    project: Project, evaluation: Evaluation, known: Mapping[tuple[str, str], ModuleState]
) -> list[ModuleState]:
    """One for each planned module, in the plan's order; what nothing was heard of is pending."""
    return [
        known.get((project.name, plan.path)) or ModuleState(evaluation.id, project.name, plan.path)
        for plan in project.modules
    ]


def _summary(project: Project, states: list[ModuleState], note: str, waiting_for: Sequence[str]) -> ProjectSummary:
    """`note`: what a comparison with the other projects found."""
    not_the_students = [state.detail for state in states if state.verdict is Verdict.INFRA_FAILED and state.detail]
    waits = waiting_for and not all(state.verdict.is_final for state in states)
    away = f"Waits for a node that has its files: none of {', '.join(waiting_for)} is alive." if waits else ""
    return project_summary(states, detail="; ".join(filter(None, [project.detail, note, away, *not_the_students[:1]])))


def _unfetched(evaluation: Evaluation) -> list[Source]:
    """The sources that stand for their projects: they cannot be had, or were not fetched yet."""
    return [source for source in evaluation.sources if source.archive is None]


def _summary_without_projects(source: Source, evaluation: Evaluation) -> ProjectSummary:
    summary = project_summary([], source_error=source.error)
    if source.error is None and evaluation.cancelled and evaluation.finished_at is not None:
        return replace(summary, status=ProjectStatus.CANCELLED)
    return summary


def _status(evaluation: Evaluation, projects: list[ProjectSummary]) -> EvaluationStatus:
    """Final only once the end is recorded, so that whoever sees `done` sees `finished_at` too."""
    if evaluation.finished_at is not None:
        if evaluation.cancelled:
            return EvaluationStatus.CANCELLED
        return evaluation_status([replace(project, status=_ended(project)) for project in projects], True, False)
    begun = any(project.status is not ProjectStatus.PENDING for project in projects)
    return EvaluationStatus.RUNNING if begun else EvaluationStatus.QUEUED


def _ended(project: ProjectSummary) -> ProjectStatus:
    """The end may be heard of before the last results are: by then a project counts as done."""
    is_open = project.status in (ProjectStatus.PENDING, ProjectStatus.RUNNING)
    return ProjectStatus.DONE if is_open else project.status


def _run_info(view: EvaluationView, projects: list[ProjectSummary], now: float) -> dict[str, Any]:
    evaluation = view.evaluation
    is_over = evaluation.finished_at is not None
    totals = evaluation_summary(projects)
    return {
        "errors": totals.errors,
        **_percentages(totals.shown),
        "nota": totals.shown.nota,
        "eval_time": _elapsed(evaluation, now),
        "eta": None if is_over or view.seconds_left is None else round(view.seconds_left, 1),
        "passed": totals.passed,
        "failed": totals.failed,
        "skipped": totals.skipped,
        "executed": totals.executed,
        "running": totals.running,
        "pending": totals.pending,
    }


def _elapsed(evaluation: Evaluation, now: float) -> float:
    """Seconds from the submission to the end, or until now."""
    if evaluation.eval_time is not None:
        return round(evaluation.eval_time, 3)
    end = now if evaluation.finished_at is None else evaluation.finished_at
    return round(max(0.0, end - evaluation.submitted_at), 3)


def _project(summary: ProjectSummary) -> dict[str, Any]:
    return {
        **_percentages(summary.shown),
        "nota": summary.shown.nota,
        "status": summary.status.value,
        "detail": summary.detail,
        "executed": summary.executed,
        "running": summary.running,
        "pending": summary.pending,
    }


def _module(state: ModuleState) -> dict[str, Any]:
    return {
        **_percentages(percentages_of(state.counts)),
        "passed": state.counts.passed,
        "failed": state.counts.failed,
        "errors": state.counts.errors,
        "skipped": state.counts.skipped,
        "verdict": state.verdict.value,
        "detail": state.detail,
        "time": round(state.time, 3),
        "cpu_time": round(state.cpu_time, 3),
        "started_at": _moment(state.began_at),
        "node": state.node,
        "attempts": state.attempt,
        "python": state.python,
    }


def _percentages(shown: Percentages) -> dict[str, float | None]:
    return {"%passed": shown.passed, "%failed": shown.failed}
