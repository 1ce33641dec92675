"""PURE: an evaluation as one page to mail or print: no script, nothing from elsewhere, every text escaped."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from typing import Any

from testmesh.app.exports.texts import legal, tail
from testmesh.model import TestResult
from testmesh.node.service import ModuleTests

MOST_FAILING = 50  # tests that are shown of a project
MOST_OUTPUT = 4000  # characters of each of a test's outputs

STYLE = """
:root { color-scheme: light dark; --text: #1c2024; --dim: #5c6570; --back: #fff; --line: #d5dae0; --soft: #f4f6f8;
  --good: #146c3a; --bad: #a8201a; --odd: #7a4b00; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ec; --dim: #a2abb5; --back: #15181b; --line: #363d44;
  --soft: #1e2226; --good: #6cd496; --bad: #ff8f86; --odd: #f0bf6b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
p.sum, td.dim, summary span { color: var(--dim); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
td:first-child { min-width: 12rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
.good { color: var(--good); } .bad { color: var(--bad); } .odd { color: var(--odd); }
a { color: inherit; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .7rem 0; padding: .4rem .8rem; }
summary { font-weight: 600; cursor: pointer; overflow-wrap: anywhere; }
pre { font: 12.5px/1.45 ui-monospace, monospace; background: var(--soft); padding: .6rem .8rem; border-radius: 4px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { body { max-width: none; margin: 0; font-size: 10pt; } tr, h2, h3, summary { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; } pre { font-size: 8pt; border: 1px solid var(--line); } }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GOOD = ("passed", "done")
_PLAIN = ("pending", "running", "queued", "cancelled", "no_tests")
_ODD = ("infra_failed", "source_failed")


def report_html(document: Mapping[str, Any], tests_of: Callable[[str], Iterable[ModuleTests]]) -> Iterator[str]:
    """Piece by piece, a project at a time; arguments as of `junit_xml`."""
    yield _head(document)
    for number, (name, project) in enumerate(document["projects"].items()):
        modules = document["module_results"].get(name, {})
        yield _project(number, name, project, modules)
        if modules:
            yield from _failing(tests_of(name))
    yield "</main></body></html>\n"


def _head(document: Mapping[str, Any]) -> str:
    info = document["_run_info"]
    ended = f", ended {document['finished_at']}" if document["finished_at"] else ""
    rows = "".join(
        f'<tr><td><a href="#p{number}"><bdi>{_text(name)}</bdi></a></td>{_numbers(project["nota"], project["%passed"])}'
        f'<td class="n">{project["executed"]}</td>{_mark(project["status"])}<td class="dim">{_text(project["detail"])}'
        "</td></tr>\n"
        for number, (name, project) in enumerate(document["projects"].items())
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Results of {document['submitted_at'][:10]}</title><style>{STYLE}</style></head><body><main>\n"
        f'<h1>Results</h1>\n<p class="sum">Evaluation {_text(document["id"])}, {_text(document["status"])}, submitted '
        f"{document['submitted_at']}{ended}. {len(document['projects'])} projects; {info['passed']} tests passed, "
        f"{info['failed']} failed, {info['skipped']} were skipped. Mean grade {_shown(info['nota'])} of 20.</p>\n"
        '<h2>Grades</h2>\n<div class="wide"><table><thead><tr><th>Project</th><th class="n">Grade</th>'
        '<th class="n">% passed</th><th class="n">Modules</th><th>Status</th><th>Remarks</th></tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )


def _project(number: int, name: str, project: Mapping[str, Any], modules: Mapping[str, Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td><bdi>{_text(path)}</bdi></td>{_mark(state["verdict"])}<td class="n">{state["passed"]}</td>'
        f'<td class="n">{state["failed"] + state["errors"]}</td><td class="n">{state["skipped"]}</td>'
        f'<td class="n">{state["time"]:.2f}</td><td class="dim">{_text(tail(state["detail"], MOST_OUTPUT))}</td></tr>\n'
        for path, state in modules.items()
    )
    table = (
        '<div class="wide"><table><thead><tr><th>Module</th><th>Verdict</th><th class="n">Passed</th>'
        '<th class="n">Failed</th><th class="n">Skipped</th><th class="n">Seconds</th><th>Remarks</th></tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )
    remark = f"<p>{_text(project['detail'])}</p>\n" if project["detail"] else ""
    title = f'<h2 id="p{number}"><bdi>{_text(name)}</bdi>: {_shown(project["nota"])} of 20</h2>\n'
    return title + remark + (table if modules else "")


def _failing(modules: Iterable[ModuleTests]) -> Iterator[str]:
    shown = 0
    more = 0
    for module in modules:
        for test in module.tests:
            if test.outcome not in ("failed", "error"):
                continue
            if shown < MOST_FAILING:
                yield _failure(module.module, test)
                shown += 1
            else:
                more += 1
    if more:
        yield f"<p>{more} more tests failed.</p>\n"


def _failure(module: str, test: TestResult) -> str:
    said = (("", test.longrepr), ("Standard output", test.stdout), ("Standard error", test.stderr))
    blocks = "".join(
        (f"<h3>{title}</h3>" if title else "") + f"<pre>{_text(tail(text, MOST_OUTPUT))}</pre>"
        for title, text in said
        if text.strip()
    )
    name = f"<bdi>{_text(test.name)}</bdi> <span>{_text(test.outcome)} in <bdi>{_text(module)}</bdi></span>"
    return f"<details open><summary>{name}</summary>{blocks}</details>\n"


def _mark(word: str) -> str:
    kind = "good" if word in _GOOD else "" if word in _PLAIN else "odd" if word in _ODD else "bad"
    return f'<td class="{kind}">{_text(word.replace("_", " "))}</td>'


def _numbers(*values: float | None) -> str:
    return "".join(f'<td class="n">{_shown(value)}</td>' for value in values)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _text(text: str) -> str:
    return escape(legal(text))
