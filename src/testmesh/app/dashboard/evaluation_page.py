"""PURE: one evaluation (the document of spec section 3) as its page shows it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from testmesh.app.dashboard import text
from testmesh.app.dashboard.gantt import Chart, chart
from testmesh.app.dashboard.matrix import SORTS, Column, Document, Matrix, Row, matrix
from testmesh.app.dashboard.words import STATUSES, UNKNOWN, VERDICTS, Words


@dataclass(frozen=True, slots=True)
class Count:
    verdict: str
    words: Words
    modules: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the progress bar; percent of its width."""

    verdict: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    id: str
    short: str
    path: str
    status: str
    words: Words
    is_over: bool
    info: Mapping[str, Any]
    nota: str
    passed: str
    submitted_at: str | None
    finished_at: str | None
    owner: str
    took: str
    eta: str
    executed: int
    modules: int
    counts: tuple[Count, ...]
    segments: tuple[Segment, ...]
    matrix: Matrix
    notes: tuple[Row, ...]
    chart: Chart | None
    sort: str
    query: str
    failing: bool

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.matrix.columns

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.matrix.rows

    def page_path(self, page: int) -> str:
        """The same with another page of projects."""
        asked = {"q": self.query, "sort": self.sort if self.sort != SORTS[0] else "", "failing": "1" * self.failing}
        query = {name: value for name, value in asked.items() if value}
        if page > 1:
            query["page"] = str(page)
        return f"{self.path}?{urlencode(query)}" if query else self.path


def evaluation_page(
    document: Document, now: float, sort: str = "name", query: str = "", failing: bool = False, page: int = 1
) -> EvaluationPage:
    """`sort` is one of SORTS; only projects whose name has `query` are shown, and with `failing` only those that fail.

    `now` in Unix seconds; `page` is of the rows, where they are more than one page takes.
    """
    info = document["_run_info"]
    results: Mapping[str, Mapping[str, Mapping[str, Any]]] = document["module_results"]
    modules = info["executed"] + info["running"] + info["pending"]
    found = Counter(result["verdict"] for own in results.values() for result in own.values())
    shown = matrix(document, sort, query, failing, page)
    status = document["status"]
    return EvaluationPage(
        id=document["id"],
        short=document["id"][:8],
        path=text.evaluation_path(document["id"]),
        status=status,
        words=STATUSES.get(status, UNKNOWN),
        is_over=status in ("done", "failed", "cancelled"),
        info=info,
        nota=text.nota(info["nota"]),
        passed=text.percent(info["%passed"]),
        submitted_at=document["submitted_at"],
        finished_at=document["finished_at"],
        owner=document["owner"],
        took=text.duration(info["eval_time"]),
        eta="" if info["eta"] is None else text.duration(info["eta"]),
        executed=info["executed"],
        modules=modules,
        counts=tuple(Count(verdict, words, found[verdict]) for verdict, words in VERDICTS.items()),
        segments=segments(found),
        matrix=shown,
        notes=tuple(row for row in shown.rows if row.detail),
        chart=chart(results, now),
        sort=sort,
        query=query,
        failing=failing,
    )


def segments(found: Mapping[str, int]) -> tuple[Segment, ...]:
    """The verdicts side by side, in the order of the legend; what waits is the empty rest."""
    every = sum(found.values())
    placed = []
    x = 0.0
    for verdict in VERDICTS:
        if every and verdict != "pending":
            width = 100 * found.get(verdict, 0) / every
            placed.append(Segment(verdict, round(x, 3), round(width, 3)))
            x += width
    return tuple(placed)
