"""Showing single tests: what failed first, with what it printed."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from testmesh.client.styles import style_of
from testmesh.client.summary import Document, is_bad, is_waiting, module_lines
from testmesh.client.text import clean

_FAILED = ("failed", "error")
_MARKS = {"passed": "✓", "failed": "✗", "error": "✗"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of which project and module; the output of passed tests too; failed tests alone."""

    project: str | None = None
    module: str | None = None
    all_output: bool = False
    only_failed: bool = False

    def has(self, project: str, module: str) -> bool:
        return self.project in (None, project) and self.module in (None, module)


def show_tests(console: Console, document: Document, tests: Iterable[Document], wanted: Wanted) -> None:
    """Every module that has ended, those with a bad verdict first; in each the tests that failed first."""
    found: dict[tuple[str, str], list[Document]] = {}
    for test in tests:
        found.setdefault((clean(test["project"]), clean(test["module"])), []).append(test)
    names = {
        (clean(project), clean(path))
        for project, results in document["module_results"].items()
        for path in results
        if wanted.has(project, path)
    }
    lines = [line for line in module_lines(document) if (line.project, line.module) in names]
    for line in sorted(lines, key=lambda line: not is_bad(line.verdict)):
        if is_waiting(line.verdict) or (wanted.only_failed and not is_bad(line.verdict)):
            continue
        console.print(
            Text.assemble(
                (f"{line.project} {line.module} ", "bold"),
                (line.verdict, style_of(line.verdict)),
                f": {line.detail}" if line.detail else "",
            ),
            soft_wrap=True,
        )
        of_module = found.get((line.project, line.module), [])
        for test in sorted(of_module, key=lambda test: test["outcome"] not in _FAILED):
            _show_test(console, test, wanted)


def _show_test(console: Console, test: Document, wanted: Wanted) -> None:
    outcome = clean(test["outcome"])
    failed = outcome in _FAILED
    if wanted.only_failed and not failed:
        return
    mark = _MARKS.get(outcome, "-")
    line = Text(f"  {mark} {outcome:7} {clean(test['name'])} ({test['time'] or 0:.2f} s)", style=style_of(outcome))
    console.print(line, soft_wrap=True)
    if failed or wanted.all_output:
        for part in ("longrepr", "stdout", "stderr"):
            _show_output(console, part, test[part] or "")


def _show_output(console: Console, title: str, text: str) -> None:
    if text.strip():
        console.print(Text(f"      --- {title}", style="dim"))
        for line in clean(text, multiline=True).rstrip().split("\n"):
            console.print(Text(f"      {line}"), soft_wrap=True)
