"""Tables by rich. Names come from uploads, so everything is a `Text`: nothing in them is read as markup."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from testmesh.client.live import duration
from testmesh.client.styles import style_of
from testmesh.client.summary import Document, ProjectRow, is_waiting, module_lines, project_rows, verdict_line
from testmesh.client.text import clean

_NARROW = 76  # columns; below it a table leaves out what can be done without


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table that is made for the width it gets; `draw` is told whether that is narrow."""

    draw: Callable[[bool], Table]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.draw(options.max_width < _NARROW)


def grade_table(document: Document) -> Fitted:
    """The table that is worth reading: a project a line, with why."""
    return Fitted(lambda narrow: _grade_table(document, narrow))


def status_view(document: Document) -> Group:
    """One evaluation as it is now: every module a line."""
    return Group(Text(verdict_line(document), style="bold"), Fitted(lambda narrow: _module_table(document, narrow)))


def evaluations_table(evaluations: Iterable[Document]) -> Fitted:
    found = list(evaluations)
    return Fitted(lambda narrow: _evaluations_table(found, narrow))


def nodes_table(nodes: Iterable[Document]) -> Fitted:
    """The nodes with their load; those that are gone come last."""
    found = sorted(nodes, key=lambda node: (not node["alive"], str(node["address"])))
    return Fitted(lambda narrow: _nodes_table(found, narrow))


def _grade_table(document: Document, narrow: bool) -> Table:
    numbers = ("grade", "failed") if narrow else ("grade", "% passed", "passed", "failed", "skipped", "modules")
    table = Table(title="Grades", title_style="bold", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("project", overflow="fold", min_width=12)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for row in project_rows(document):
        cells = _grade_cells(row)
        table.add_row(Text(row.name), *(cells[heading] for heading in numbers), cells["why"])
    info = document["_run_info"]
    total = {
        "grade": _number(info["nota"], "bold"),
        "% passed": _number(info["%passed"]),
        "passed": Text(str(info["passed"])),
        "failed": Text(str(info["failed"])),
        "skipped": Text(str(info["skipped"])),
        "modules": Text(str(info["executed"])),
    }
    table.add_section()
    table.add_row(
        Text("all", style="bold"),
        *(total[heading] for heading in numbers),
        Text(f"{clean(document['status'])} in {info['eval_time'] or 0:.1f} s"),
    )
    return table


def _grade_cells(row: ProjectRow) -> dict[str, Text]:
    style = "green" if row.is_clean else "red" if row.failed else "yellow"
    note = "" if row.status == "done" else f"{row.status} "
    return {
        "grade": _number(row.nota, style),
        "% passed": _number(row.percent),
        "passed": Text(str(row.passed)),
        "failed": Text(str(row.failed), style="red" if row.failed else ""),
        "skipped": Text(str(row.skipped)),
        "modules": Text(f"{row.ended}/{row.modules}"),
        "why": Text(note + row.reason),
    }


def _module_table(document: Document, narrow: bool) -> Table:
    table = _table("project", "module", "verdict", "tests", *(() if narrow else ("time", "node", "detail")))
    for line in module_lines(document):
        waits = is_waiting(line.verdict)
        cells = [Text(line.project), Text(line.module), Text(line.verdict, style=style_of(line.verdict))]
        cells.append(Text("" if waits else line.counts))
        if not narrow:
            cells += [Text("" if waits else f"{line.time:.2f} s"), Text(line.node), Text(line.detail)]
        table.add_row(*cells)
    return table


def _evaluations_table(evaluations: list[Document], narrow: bool) -> Table:
    table = Table(header_style="bold", box=SIMPLE_HEAD)
    table.add_column("evaluation", no_wrap=True, overflow="fold")
    for heading in ("status", "grade") if narrow else ("status", "submitted", "projects", "% passed", "grade"):
        table.add_column(heading, overflow="fold")
    for line in evaluations:
        status = clean(line["status"])
        cells = [Text(clean(line["id"])), Text(status, style=style_of(status))]
        if not narrow:
            cells += [Text(clean(line["submitted_at"])), Text(str(line["projects"])), _number(line["%passed"])]
        table.add_row(*cells, _number(line["nota"]))
    return table


def _nodes_table(nodes: list[Document], narrow: bool) -> Table:
    wide = ("memory", "sandbox", "version", "up")
    table = _table("node", "status", "running", "waiting", "cpu", *(() if narrow else wide))
    for node in nodes:
        status = clean(node["status"])
        cells = [Text(clean(node["address"])), Text(status, style=style_of(status))]
        cells += [_of_slots(node), _plain(node.get("waiting")), _percent(node.get("cpu"))]
        if not narrow:
            cells += [_percent(node.get("memory")), _sandbox(node), _plain(node.get("version")), _uptime(node)]
        table.add_row(*cells)
    return table


def _table(*headings: str) -> Table:
    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _of_slots(node: Document) -> Text:
    running, slots = node.get("running"), node.get("slots")
    return _plain(None if running is None else f"{running} of {slots}")


def _sandbox(node: Document) -> Text:
    level = clean(node.get("sandbox") or "-")
    note = ", shared loopback" if node.get("loopback") == "shared" else ""
    return Text(level + note, style="" if level in ("full", "-") else "yellow")


def _uptime(node: Document) -> Text:
    seconds = node.get("uptime")
    return _plain(None if seconds is None else duration(seconds))


def _percent(share: float | None) -> Text:
    return _plain(None if share is None else f"{100 * share:.0f} %")


def _plain(value: Any) -> Text:
    return Text("-", style="dim") if value is None else Text(clean(value))


def _number(value: float | None, style: str = "") -> Text:
    return Text("-", style="dim") if value is None else Text(f"{value:.2f}", style=style)
