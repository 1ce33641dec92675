"""PURE: a line of the list of evaluations, from sums that the store made."""

from collections.abc import Mapping

from testmesh.model import Counts, Evaluation, EvaluationStatus, ProjectStatus
from testmesh.node.service import EvaluationSummary
from testmesh.node.storage.store import Tally
from testmesh.testing.grades import ProjectSummary, evaluation_summary

_NOTHING = Tally(Counts(), spoilt=False, started=False)


def summarize(evaluation: Evaluation, tallies: Mapping[str, Tally]) -> EvaluationSummary:
    """`tallies` has the evaluation's projects that have modules."""
    projects = [
        _project(ProjectStatus.SOURCE_FAILED if source.error else ProjectStatus.PENDING, _NOTHING)
        for source in evaluation.sources
        if source.archive is None
    ]
    for project in evaluation.projects:
        tally = tallies.get(project.name, _NOTHING)
        started = ProjectStatus.RUNNING if tally.started else ProjectStatus.PENDING
        projects.append(_project(ProjectStatus.INFRA_FAILED if tally.spoilt else started, tally))
    shown = evaluation_summary(projects).shown
    return EvaluationSummary(
        id=evaluation.id,
        status=_status(evaluation, projects),
        submitted_at=evaluation.submitted_at,
        projects=len(projects),
        percent_passed=shown.passed,
        nota=shown.nota,
    )


def _project(status: ProjectStatus, tally: Tally) -> ProjectSummary:
    return ProjectSummary(status, tally.counts, errors=0, executed=0, running=0, pending=0)


def _status(evaluation: Evaluation, projects: list[ProjectSummary]) -> EvaluationStatus:
    if evaluation.finished_at is None:
        begun = any(project.status is not ProjectStatus.PENDING for project in projects)
        return EvaluationStatus.RUNNING if begun else EvaluationStatus.QUEUED
    if evaluation.cancelled:
        return EvaluationStatus.CANCELLED
    return EvaluationStatus.DONE if any(project.is_graded for project in projects) else EvaluationStatus.FAILED
