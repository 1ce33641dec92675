"""Drawing with rich. Names come from uploads, so everything is a `Text`: nothing in them is read as markup."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from testmesh.client.summary import (
    Document,
    ModuleLine,
    ProjectRow,
    is_waiting,
    module_lines,
    progress,
    project_rows,
    verdict_line,
)
from testmesh.client.text import clean

_STYLES = {
    "passed": "green",
    "done": "green",
    "failed": "red",
    "running": "cyan",
    "pending": "dim",
    "queued": "dim",
    "cancelled": "dim",
    "no_tests": "yellow",
    "infra_failed": "magenta",
    "source_failed": "magenta",
}
_OUTCOME_MARKS = {"passed": "✓", "failed": "✗", "error": "✗"}


def grade_table(document: Document) -> Table:
    """The table that is worth reading: a project a line, with why."""
    table = Table(title="Grades", title_style="bold", title_justify="left", header_style="bold")
    table.add_column("project", overflow="fold", min_width=12)
    for heading in ("grade", "% passed", "passed", "failed", "skipped", "modules"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for row in project_rows(document):
        table.add_row(*_grade_cells(row))
    info = document["_run_info"]
    table.add_section()
    table.add_row(
        Text("all", style="bold"),
        _number(info["nota"], "bold"),
        _number(info["%passed"]),
        str(info["passed"]),
        str(info["failed"]),
        str(info["skipped"]),
        str(info["executed"]),
        Text(f"{clean(document['status'])} in {info['eval_time'] or 0:.1f} s"),
    )
    return table


def live_view(document: Document, height: int) -> Group:
    """A progress bar, and below it the projects with what runs in each; those that run come first."""
    ended, modules = progress(document)
    eta = document["_run_info"]["eta"]
    head = Table.grid(padding=(0, 1))
    left = f", about {eta:.0f} s left" if eta else ""
    head.add_row(
        ProgressBar(total=max(modules, 1), completed=ended, width=40),
        Text(f"{ended}/{modules} modules{left}"),
    )
    tree = Tree(Text(f"{clean(document['status'])} {clean(document['id'])}", style="bold"))
    running: dict[str, list[ModuleLine]] = {}
    for line in module_lines(document):
        if line.verdict == "running":
            running.setdefault(line.project, []).append(line)
    room = max(height - 4, 3)
    for row in sorted(project_rows(document), key=lambda row: (row.name not in running, row.status == "done")):
        if room <= 0:
            tree.add(Text("…", style="dim"))
            break
        branch = tree.add(_project_line(row))
        room -= 1
        for line in running.get(row.name, [])[:3]:
            branch.add(Text(f"{line.module} on {line.node}", style="dim"))
            room -= 1
    return Group(head, tree)


def module_text(line: ModuleLine, number: int, modules: int) -> Text:
    """A module that ended, in one plain line."""
    return Text.assemble(
        f"[{number}/{modules}] {line.project} {line.module} ",
        (line.verdict, _style(line.verdict)),
        f" ({line.counts}, {line.time:.2f} s on {line.node})" + (f": {line.detail}" if line.detail else ""),
    )


def status_view(document: Document) -> Group:
    """One evaluation as it is now: every module a line."""
    table = Table(header_style="bold")
    for heading in ("project", "module", "verdict", "tests", "time", "node", "detail"):
        table.add_column(heading, overflow="fold")
    for line in module_lines(document):
        table.add_row(
            Text(line.project),
            Text(line.module),
            Text(line.verdict, style=_style(line.verdict)),
            "" if is_waiting(line) else line.counts,
            "" if is_waiting(line) else f"{line.time:.2f} s",
            Text(line.node),
            Text(line.detail),
        )
    return Group(Text(verdict_line(document), style="bold"), table)


def evaluations_table(evaluations: Iterable[Document]) -> Table:
    table = Table(header_style="bold")
    for heading in ("evaluation", "status", "submitted", "projects", "% passed", "grade"):
        table.add_column(heading, no_wrap=heading == "evaluation")
    for line in evaluations:
        status = clean(line["status"])
        table.add_row(
            Text(clean(line["id"])),
            Text(status, style=_style(status)),
            Text(clean(line["submitted_at"])),
            str(line["projects"]),
            _number(line["%passed"]),
            _number(line["nota"]),
        )
    return table


def nodes_table(stats: Document, network: dict[str, list[str]]) -> Table:
    table = Table(header_style="bold")
    for heading in ("node", "passed", "failed", "projects", "modules", "evaluations", "peers"):
        table.add_column(heading, overflow="fold")
    for node in sorted(stats["nodes"], key=lambda node: str(node["address"])):
        counts = [str(node[key]) for key in ("passed", "failed", "projects", "modules")]
        peers = ", ".join(sorted(network.get(node["address"], [])))
        table.add_row(Text(clean(node["address"])), *counts, str(len(node["evaluations"])), Text(clean(peers)))
    return table


def show_tests(console: Console, tests: Iterable[Document], *, everything: bool) -> None:
    """Each test on a line; below those that did not pass (or all, with `everything`) what they printed."""
    shown: Any = None
    for test in tests:
        heading = (test["project"], test["module"])
        if heading != shown:
            shown = heading
            console.print(Text(f"{clean(test['project'])} {clean(test['module'])}", style="bold"))
        outcome = clean(test["outcome"])
        mark = _OUTCOME_MARKS.get(outcome, "-")
        console.print(
            Text(f"  {mark} {outcome:7} {clean(test['name'])} ({test['time'] or 0:.2f} s)", style=_style(outcome))
        )
        if everything or outcome in ("failed", "error"):
            for part in ("longrepr", "stdout", "stderr"):
                _show_output(console, part, test[part] or "")


def _show_output(console: Console, title: str, text: str) -> None:
    if text.strip():
        console.print(Text(f"      --- {title}", style="dim"))
        for line in clean(text, multiline=True).rstrip().splitlines():
            console.print(Text(f"      {line}"), soft_wrap=True)


def _grade_cells(row: ProjectRow) -> list[Text]:
    style = "green" if row.is_clean else "red" if row.failed else "yellow"
    note = "" if row.status == "done" else f"{row.status} "
    return [
        Text(row.name),
        _number(row.nota, style),
        _number(row.percent),
        Text(str(row.passed)),
        Text(str(row.failed), style="red" if row.failed else ""),
        Text(str(row.skipped)),
        Text(f"{row.ended}/{row.modules}"),
        Text(note + row.reason),
    ]


def _project_line(row: ProjectRow) -> Text:
    tests = f"{row.passed} passed, {row.failed} failed"
    return Text.assemble(
        (f"{row.status:9} ", _style(row.status)), row.name, (f"  {row.ended}/{row.modules} modules, {tests}", "dim")
    )


def _number(value: float | None, style: str = "") -> Text:
    return Text("-", style="dim") if value is None else Text(f"{value:.2f}", style=style)


def _style(word: str) -> str:
    return _STYLES.get(word, "red")
