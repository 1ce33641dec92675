"""PURE: the list of evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

from testmesh.app.dashboard import text
from testmesh.app.dashboard.words import STATUSES, UNKNOWN, Words
from testmesh.node.document import timestamp
from testmesh.node.service import EvaluationSummary


@dataclass(frozen=True, slots=True)
class Line:
    """`done` of `modules` have ended, where that is known (of what runs); `modules` 0: it is not."""

    id: str
    short: str
    href: str
    status: str
    words: Words
    submitted_at: str
    projects: int
    nota: str
    passed: str
    done: int
    modules: int

    @property
    def share(self) -> float:
        return round(100 * self.done / self.modules, 1) if self.modules else 0.0


@dataclass(frozen=True, slots=True)
class ListPage:
    lines: tuple[Line, ...]
    after: str | None
    following: str | None
    is_live: bool


def list_page(summaries: Sequence[EvaluationSummary], limit: int, after: str | None) -> ListPage:
    """Of `summaries` the first `limit` are shown."""
    lines = tuple(map(_line, summaries[:limit]))
    following = lines[-1].id if lines and len(summaries) > limit else None
    is_live = any(line.status in ("queued", "running") for line in lines)
    return ListPage(lines, after, following, is_live)


def _line(summary: EvaluationSummary) -> Line:
    status = summary.status.value
    return Line(
        id=summary.id,
        short=summary.id[:8],
        href=text.evaluation_path(summary.id),
        status=status,
        words=STATUSES.get(status, UNKNOWN),
        submitted_at=timestamp(summary.submitted_at),
        projects=summary.projects,
        nota=text.nota(summary.nota),
        passed=text.percent(summary.percent_passed),
        done=summary.executed,
        modules=summary.modules,
    )
