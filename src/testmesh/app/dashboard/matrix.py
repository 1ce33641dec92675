"""PURE: projects by modules. Whoever uploads chooses how many there are of both, so what is shown is bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testmesh.app.dashboard import text
from testmesh.app.dashboard.words import STATUSES, UNKNOWN, Words, is_failing, verdict_words

SORTS = ("name", "nota", "failing")
MOST_PLACES = 50_000  # rows x columns, beyond which modules of one name do not stand below each other
MOST_COLUMNS = 500  # that are aligned
ROW_CELLS = 200  # of a project, where they are not
PAGE_ROWS = 200
PAGE_LETTERS = 5_000_000  # about so many a page may have; wide rows with long names make shorter pages
_CELL_LETTERS = 250  # beside the names
_DETAIL_LETTERS = 4000
_ALIGNED = 24  # so many columns are fine however few of them a project fills

Document = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


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
    """One project.

    `cells` has one entry a column, None where the project has no such module; where columns are not aligned, only its
    own, and `more` that are left out.
    """

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
    modules: int
    cells: tuple[Cell | None, ...] = ()
    more: int = 0
    number: int = 0
    is_hidden: bool = False

    @property
    def has_no_modules(self) -> bool:
        return not self.modules


@dataclass(frozen=True, slots=True)
class Matrix:
    """`rows` are all of them, some hidden; or, where `is_paged`, those of this page among the `found` ones.

    `known` counts the projects and modules of the evaluation; `is_cut`: not all of them have a place here.
    """

    columns: tuple[Column, ...]
    is_aligned: bool
    rows: tuple[Row, ...]
    projects: int
    found: int
    known: int
    is_paged: bool
    is_cut: bool
    page: int
    pages: int
    first: int


def matrix(document: Document, sort: str, query: str, failing: bool, page: int) -> Matrix:
    """The rows whose name has `query`, with `failing` only those that fail; a `page` beyond the last is the last."""
    results: Results = document["module_results"]
    rows = _sorted([_row(document, name) for name in document["projects"]], sort)
    wanted = query.casefold()
    rows = [
        replace(row, number=number, is_hidden=wanted not in row.shown.casefold() or (failing and not row.failing))
        for number, row in enumerate(rows, 1)
    ]
    keys, columns, aligned = _columns(results, len(rows))
    most = _rows_a_page(results, len(columns))
    found = [row for row in rows if not row.is_hidden]
    is_paged = len(rows) > most
    pages = max(1, -(-len(found) // most)) if is_paged else 1
    page = min(max(page, 1), pages)
    first = (page - 1) * most
    places = {key: number for number, key in enumerate(keys)} if aligned else None
    shown = [
        _with_cells(document["id"], row, results.get(row.name, {}), places)
        for row in (found[first : first + most] if is_paged else rows)
    ]
    return Matrix(
        columns=columns,
        is_aligned=aligned,
        rows=tuple(shown),
        projects=len(rows),
        found=len(found),
        known=len(rows) + sum(map(len, results.values())),
        is_paged=is_paged,
        is_cut=is_paged or any(row.more for row in shown),
        page=page,
        pages=pages,
        first=first,
    )


def _columns(results: Results, rows: int) -> tuple[list[str], tuple[Column, ...], bool]:
    """Modules of one name are one column, where that makes a matrix; else each project's are merely counted up."""
    most = max((len(own) for own in results.values()), default=0)
    paths = sorted({module for own in results.values() for module in own})
    room = min(MOST_COLUMNS, MOST_PLACES // max(rows, 1))
    if len(paths) <= min(room, max(_ALIGNED, 2 * most)):
        start = _shared_folder(paths)
        columns = tuple(Column(text.shortened(text.line(path[start:]), 26), text.line(path)) for path in paths)
        return paths, columns, True
    numbers = [str(number + 1) for number in range(min(most, ROW_CELLS))]
    return numbers, tuple(Column(number, f"module {number} of the project") for number in numbers), False


def _rows_a_page(results: Results, columns: int) -> int:
    names = max((text.quoted_length(name) for name in results), default=0)
    paths = max((text.quoted_length(path) for path in {path for own in results.values() for path in own}), default=0)
    row = (columns + 1) * (_CELL_LETTERS + names + paths)
    return min(PAGE_ROWS, max(1, PAGE_LETTERS // row))


def _shared_folder(paths: Sequence[str]) -> int:
    """How many letters of the paths are folders that all of them share."""
    parts = [path.split("/")[:-1] for path in paths]
    shared = 0
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared += len(level[0]) + 1
    return shared


def _row(document: Document, name: str) -> Row:
    """Without its cells: most rows may be on other pages."""
    project = document["projects"][name]
    results: Mapping[str, Mapping[str, Any]] = document["module_results"].get(name, {})
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
        detail=text.visible(text.shortened(project["detail"], _DETAIL_LETTERS)),
        modules=len(results),
    )


def _with_cells(
    evaluation_id: str, row: Row, results: Mapping[str, Mapping[str, Any]], places: Mapping[str, int] | None
) -> Row:
    if places is not None:
        cells: list[Cell | None] = [None] * len(places)
        for module, result in results.items():
            cells[places[module]] = _cell(evaluation_id, row.name, module, result, places[module])
        return replace(row, cells=tuple(cells))
    order = list(results.items())
    if len(order) > ROW_CELLS:  # nobody looks for those that passed
        order.sort(key=lambda item: not is_failing(item[1]["verdict"]))
    shown = [
        _cell(evaluation_id, row.name, module, result, number)
        for number, (module, result) in enumerate(order[:ROW_CELLS])
    ]
    return replace(row, cells=tuple(shown), more=len(order) - len(shown))


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
