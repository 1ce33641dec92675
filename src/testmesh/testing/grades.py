"""PURE: percentages and grades, from counts of tests to an evaluation. Nothing is rounded before it is shown."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from testmesh.model import Counts, EvaluationStatus, ModuleState, ProjectStatus, Verdict

FULL_GRADE = 20.0
_MOST_KEPT = 4096  # percentages of different counts: a class's modules have mostly the same few
_UNGRADED = (ProjectStatus.SOURCE_FAILED, ProjectStatus.INFRA_FAILED)


@dataclass(frozen=True, slots=True)
class Percentages:
    """Rounded to two decimals; all None where no test counts."""

    passed: float | None
    failed: float | None
    nota: float | None


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """A project as the API shows it. `counts` are its modules' sums; `executed`, `running`, `pending` count modules."""

    status: ProjectStatus
    counts: Counts
    errors: int  # modules that ended with a verdict that is no result of tests
    executed: int
    running: int
    pending: int
    detail: str = ""

    @property
    def is_graded(self) -> bool:
        """Whether it takes part in the evaluation's mean, once tests count."""
        return self.status not in _UNGRADED

    @property
    def grade(self) -> float | None:
        """0..20, not rounded; None where nothing counts or a failure was not the student's."""
        share = _share_passed(self.counts)
        return None if share is None or not self.is_graded else share * FULL_GRADE

    @property
    def shown(self) -> Percentages:
        percentages = percentages_of(self.counts)
        return Percentages(percentages.passed, percentages.failed, _rounded(self.grade))


@dataclass(frozen=True, slots=True)
class EvaluationTotals:
    """`_run_info`, but for what needs a clock. `failed` = failed + errors of the modules' tests."""

    errors: int
    shown: Percentages
    passed: int
    failed: int
    skipped: int
    executed: int
    running: int
    pending: int


@lru_cache(_MOST_KEPT)
def percentages_of(counts: Counts) -> Percentages:
    """Of a module or of anything that only its tests decide; `nota` is what they alone would give."""
    share = _share_passed(counts)
    if share is None:
        return Percentages(None, None, None)
    passed = round(share * 100, 2)
    return Percentages(passed, round(100 - passed, 2), _rounded(share * FULL_GRADE))


def project_summary(
    modules: Collection[ModuleState], source_error: str | None = None, detail: str = ""
) -> ProjectSummary:
    """One project from what is known of its modules; `source_error` where its source could not be had."""
    verdicts = [module.verdict for module in modules]
    return ProjectSummary(
        status=_project_status(verdicts, source_error is not None),
        counts=_sum(module.counts for module in modules if module.verdict.is_final),
        errors=sum(verdict.counts_as_error for verdict in verdicts),
        executed=sum(verdict.is_final for verdict in verdicts),
        running=verdicts.count(Verdict.RUNNING),
        pending=verdicts.count(Verdict.PENDING),
        detail="; ".join(text for text in (source_error, detail) if text),
    )


def evaluation_summary(projects: Sequence[ProjectSummary]) -> EvaluationTotals:
    """All projects of an evaluation: the grade is the mean of those that have one, %passed is over all tests."""
    counts = _sum(project.counts for project in projects)
    grades = [project.grade for project in projects if project.grade is not None]
    percentages = percentages_of(counts)
    return EvaluationTotals(
        errors=sum(project.errors for project in projects),
        shown=Percentages(
            percentages.passed, percentages.failed, _rounded(math.fsum(grades) / len(grades) if grades else None)
        ),
        passed=counts.passed,
        failed=counts.failed + counts.errors,
        skipped=counts.skipped,
        executed=sum(project.executed for project in projects),
        running=sum(project.running for project in projects),
        pending=sum(project.pending for project in projects),
    )


def evaluation_status(
    projects: Iterable[ProjectSummary], sources_resolved: bool, is_cancelled: bool
) -> EvaluationStatus:
    """`sources_resolved`: every source has its projects or an error, so that no module is still to come."""
    statuses = [project.status for project in projects]
    is_open = not sources_resolved or any(
        status in (ProjectStatus.PENDING, ProjectStatus.RUNNING) for status in statuses
    )
    if is_open:
        has_begun = any(status is not ProjectStatus.PENDING for status in statuses)
        return EvaluationStatus.RUNNING if has_begun else EvaluationStatus.QUEUED
    if is_cancelled:
        return EvaluationStatus.CANCELLED
    is_hopeless = all(status in _UNGRADED for status in statuses)
    return EvaluationStatus.FAILED if is_hopeless else EvaluationStatus.DONE


def _project_status(verdicts: Sequence[Verdict], has_no_source: bool) -> ProjectStatus:
    if has_no_source:
        return ProjectStatus.SOURCE_FAILED
    if all(verdict is Verdict.PENDING for verdict in verdicts):
        return ProjectStatus.PENDING
    if not all(verdict.is_final for verdict in verdicts):
        return ProjectStatus.RUNNING
    for verdict, status in (
        (Verdict.SOURCE_FAILED, ProjectStatus.SOURCE_FAILED),
        (Verdict.INFRA_FAILED, ProjectStatus.INFRA_FAILED),
        (Verdict.CANCELLED, ProjectStatus.CANCELLED),
    ):
        if verdict in verdicts:
            return status
    return ProjectStatus.DONE


def _share_passed(counts: Counts) -> float | None:
    total = counts.passed + counts.failed + counts.errors
    return counts.passed / total if total else None


def _sum(counted: Iterable[Counts]) -> Counts:
    """Of thousands, so nothing is made for each."""
    passed = failed = errors = skipped = 0
    for counts in counted:
        passed += counts.passed
        failed += counts.failed
        errors += counts.errors
        skipped += counts.skipped
    return Counts(passed, failed, errors, skipped)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
