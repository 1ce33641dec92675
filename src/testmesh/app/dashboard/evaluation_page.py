"""PURE: one evaluation (the document of spec section 3) as its page shows it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testmesh.app.dashboard import text
from testmesh.app.dashboard.gantt import Chart, chart
from testmesh.app.dashboard.words import STATUSES, UNKNOWN, VERDICTS, Words, is_failing, verdict_words

SORTS = ("name", "nota", "failing")
_ALIGNED = 24  # so many columns are fine however few of them a project fills

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One module. `column` is where it stands in the matrix."""

    column: int
    href: str
    verdict: str
    glyph: str
    title: str


@dataclass(frozen=True, slots=True)
class Column:
    label: str
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """One project. `cells` has one entry a column, None where the project has no such module."""

    name: str
    shown: str
    cut: str
    status: str
    words: Words
    nota: str
    passed: str
    order: float  # of the grade, for sorting; -1 without one
    failing: int
    detail: str
    cells: tuple[Cell | None, ...]
    number: int
    is_hidden: bool = False

    @property
    def has_no_modules(self) -> bool:
        return not any(self.cells)


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
    columns: tuple[Column, ...]
    is_aligned: bool
    rows: tuple[Row, ...]
    shown_rows: int
    notes: tuple[Row, ...]
    chart: Chart | None
    sort: str
    query: str
    failing: bool


def evaluation_page(
    document: Document, now: float, sort: str = "name", query: str = "", failing: bool = False
) -> EvaluationPage:
    """`sort` is one of SORTS; only projects whose name has `query` are shown, and with `failing` only those that fail.

    `now` in Unix seconds.
    """
    info = document["_run_info"]
    results: Mapping[str, Mapping[str, Mapping[str, Any]]] = document["module_results"]
    modules = info["executed"] + info["running"] + info["pending"]
    found = Counter(result["verdict"] for own in results.values() for result in own.values())
    keys, columns, aligned = _columns(results)
    rows = _sorted([_row(document, name, keys, aligned) for name in document["projects"]], sort)
    rows = [
        replace(
            row,
            number=number,
            is_hidden=query.casefold() not in row.shown.casefold() or (failing and not row.failing),
        )
        for number, row in enumerate(rows, 1)
    ]
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
        columns=columns,
        is_aligned=aligned,
        rows=tuple(rows),
        shown_rows=sum(not row.is_hidden for row in rows),
        notes=tuple(row for row in rows if row.detail),
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


def _columns(results: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], tuple[Column, ...], bool]:
    """Modules of one name are one column, where that makes a matrix; else each project's are merely counted up."""
    most = max((len(own) for own in results.values()), default=0)
    paths = sorted({module for own in results.values() for module in own})
    if len(paths) <= max(_ALIGNED, 2 * most):
        start = _shared_folder(paths)
        columns = tuple(Column(text.shortened(text.line(path[start:]), 26), text.line(path)) for path in paths)
        return paths, columns, True
    numbers = [str(number + 1) for number in range(most)]
    return numbers, tuple(Column(number, f"module {number} of the project") for number in numbers), False


def _shared_folder(paths: Sequence[str]) -> int:
    """How many letters of the paths are folders that all of them share."""
    parts = [path.split("/")[:-1] for path in paths]
    shared = 0
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared += len(level[0]) + 1
    return shared


def _row(document: Document, name: str, keys: Sequence[str], aligned: bool) -> Row:
    project = document["projects"][name]
    results: Mapping[str, Mapping[str, Any]] = document["module_results"].get(name, {})
    cells: list[Cell | None] = [None] * len(keys)
    places = {key: number for number, key in enumerate(keys)} if aligned else {}
    for number, (module, result) in enumerate(results.items()):
        column = places[module] if aligned else number
        cells[column] = _cell(document["id"], name, module, result, column)
    shown = text.line(name)
    tests = [sum(result[kind] for result in results.values()) for kind in ("passed", "failed", "errors")]
    status = project["status"]
    return Row(
        name=name,
        shown=shown,
        cut=text.shortened(shown, 48),
        status=status,
        words=STATUSES.get(status, UNKNOWN),
        nota=text.nota(project["nota"]),
        passed=f"{tests[0]}/{sum(tests)}" if sum(tests) else "–",
        order=-1 if project["nota"] is None else project["nota"],
        failing=sum(is_failing(result["verdict"]) for result in results.values()) + (status == "source_failed"),
        detail=text.visible(project["detail"]),
        cells=tuple(cells),
        number=0,
    )


def _cell(evaluation_id: str, project: str, module: str, result: Mapping[str, Any], column: int) -> Cell:
    verdict = result["verdict"]
    words = verdict_words(verdict)
    tests = result["passed"] + result["failed"] + result["errors"]
    told = f", {result['passed']} of {tests} passed" if tests else ""
    title = f"{text.shortened(text.line(module))}: {words.label}{told}"
    return Cell(column, text.module_path(evaluation_id, project, module), verdict, words.glyph, title)


def _sorted(rows: list[Row], sort: str) -> list[Row]:
    by_name = sorted(rows, key=lambda row: (row.name.casefold(), row.name))
    if sort == "nota":
        return sorted(by_name, key=lambda row: -row.order)
    if sort == "failing":
        return sorted(by_name, key=lambda row: -row.failing)
    return by_name
