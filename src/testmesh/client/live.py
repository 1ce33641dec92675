"""The picture of a running evaluation: a bar, and as many projects and modules as the terminal has lines for."""

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from testmesh.client.board import Line, State, board
from testmesh.client.styles import style_of
from testmesh.client.summary import Document, ModuleLine, ProjectRow, progress
from testmesh.client.text import clean

_MARKS = {State.RUNNING: "●", State.FAILED: "✗", State.WAITING: "·", State.PASSED: "✓"}
_STYLES = {State.RUNNING: "cyan", State.FAILED: "red", State.WAITING: "dim", State.PASSED: "green"}
_HEAD = 2  # the bar, and what it is about
_MOST_BAR, _LEAST_BAR = 40, 8
_SPARE = 1  # a line below, or the terminal scrolls
_LEAST_ROOM = 3


@dataclass(frozen=True, slots=True)
class LiveView:
    """Fits the terminal that it is drawn on, also after that has changed its size."""

    document: Document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._progress(options.max_width)
        yield self._heading()
        for line in board(self.document, max(options.size.height - _HEAD - _SPARE, _LEAST_ROOM)):
            yield _drawn(line)

    def _progress(self, width: int) -> Table:
        ended, modules = progress(self.document)
        info = self.document["_run_info"]
        parts = [f"{ended}/{modules} modules", duration(info["eval_time"] or 0)]
        if info["eta"] is not None:
            parts.append(f"about {duration(info['eta'])} left")
        text = _one_line(Text(" · ".join(parts)))
        grid = Table.grid(padding=(0, 1))
        bar = min(width - text.cell_len - 1, _MOST_BAR)
        if bar < _LEAST_BAR:
            grid.add_row(text)
        else:
            drawn = ProgressBar(max(modules, 1), ended, width=bar, complete_style="cyan", finished_style="green")
            grid.add_row(drawn, text)
        return grid

    def _heading(self) -> Text:
        info, projects = self.document["_run_info"], len(self.document["projects"])
        status = clean(self.document["status"])
        return _one_line(
            Text.assemble(
                (status, f"bold {style_of(status)}"),
                f" · {info['passed']} passed, ",
                (f"{info['failed']} failed", "red" if info["failed"] else ""),
                f" · {projects} project{'' if projects == 1 else 's'} · ",
                (clean(self.document["id"]), "dim"),
            )
        )


def module_text(line: ModuleLine, number: int, modules: int) -> Text:
    """A module that ended, in one plain line."""
    return Text.assemble(
        f"[{number}/{modules}] {line.project} {line.module} ",
        (line.verdict, style_of(line.verdict)),
        f" ({line.counts}, {line.time:.2f} s on {line.node or 'no node'})"
        + (f": {line.detail}" if line.detail else ""),
    )


def project_text(row: ProjectRow) -> Text:
    """A project that ended, in one plain line."""
    grade = "no grade" if row.nota is None else f"{row.nota:.2f} of 20"
    reason = f": {row.reason}" if row.reason and row.status != "done" else ""
    return Text.assemble(f"{row.name} ", (row.status, style_of(row.status)), f" ({grade}){reason}")


def duration(seconds: float) -> str:
    """`9 s`, `2 min 05 s`, `1 h 10 min`."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _drawn(line: Line) -> Text:
    indent = "    " if line.is_module else "  "
    style = _STYLES[line.state]
    return _one_line(
        Text.assemble(
            indent,
            (f"{_MARKS[line.state]} ", style),
            (line.text, "dim" if line.is_module or line.state is State.WAITING else ""),
            (f"  {line.note}" if line.note else "", "dim" if line.state is not State.FAILED else style),
        )
    )


def _one_line(text: Text) -> Text:
    """Cut where the terminal ends: a line more and the picture would no longer fit."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
