"""PURE: one module of one project: each test's outcome and output, and what the verdict means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testmesh.app.dashboard import text
from testmesh.app.dashboard.words import OUTCOMES, UNKNOWN, Words, is_failing, verdict_words
from testmesh.model import TestResult

SHOWN_LINES, SHOWN_LETTERS = 25, 2500  # of output that is shown without being asked for; three times that of the why
MOST_LETTERS = 200_000  # of one text; the whole is in the API's answer
PAGE_LETTERS, FEW_LETTERS = 6_000_000, 2500  # of all texts together, which may leave but a few of each
MOST_TESTS = 1000
_ORDER = {"error": 0, "failed": 0, "xpassed": 1, "passed": 2, "xfailed": 3, "skipped": 3}


@dataclass(frozen=True, slots=True)
class Output:
    """`title` names the stream; `is_open` unless it is long."""

    title: str
    content: str
    lines: int
    is_open: bool
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Test:
    """`shown` is the name cut to what fits, `full` all of it."""

    shown: str
    full: str
    outcome: str
    words: Words
    time: str
    outputs: tuple[Output, ...]
    is_open: bool

    __test__ = False


@dataclass(frozen=True, slots=True)
class Link:
    href: str
    title: str


@dataclass(frozen=True, slots=True)
class ModulePage:
    evaluation: str
    short: str
    path: str
    project: str
    module: str
    verdict: str
    words: Words
    detail: str
    result: Mapping[str, Any]
    time: str
    cpu_time: str
    tests: tuple[Test, ...]
    every_test: int
    previous: Link | None
    following: Link | None
    api: str


def module_page(
    document: Mapping[str, Any], project: str, module: str, tests: Sequence[TestResult]
) -> ModulePage | None:
    """None where the evaluation has no such module. Of many tests the first are shown, and of them those that fail."""
    result = document["module_results"].get(project, {}).get(module)
    if result is None:
        return None
    previous, following = _failing_neighbours(document, project, module)
    shown = sorted(tests, key=lambda test: _ORDER.get(test.outcome, 0))[:MOST_TESTS]
    texts = sum(bool(said.strip()) for test in shown for said in (test.longrepr, test.stdout, test.stderr))
    letters = min(MOST_LETTERS, max(FEW_LETTERS, PAGE_LETTERS // max(texts, 1)))
    href = text.module_path(document["id"], project, module)
    return ModulePage(
        evaluation=document["id"],
        short=document["id"][:8],
        path=text.evaluation_path(document["id"]),
        project=text.line(project),
        module=text.line(module),
        verdict=result["verdict"],
        words=verdict_words(result["verdict"]),
        detail=text.visible(result["detail"]),
        result=result,
        time=text.duration(result["time"]),
        cpu_time=text.duration(result["cpu_time"]),
        tests=tuple(_test(test, letters) for test in shown),
        every_test=len(tests),
        previous=previous,
        following=following,
        api=f"/evaluation/{document['id']}/tests?{href.partition('?')[2]}",
    )


def _test(test: TestResult, letters: int) -> Test:
    is_open = test.outcome in ("failed", "error")
    named = (("why", test.longrepr), ("stdout", test.stdout), ("stderr", test.stderr))
    outputs = tuple(_output(title, content, letters) for title, content in named if content.strip())
    return Test(
        text.shortened(text.line(test.name), 160),
        text.line(test.name),
        test.outcome,
        OUTCOMES.get(test.outcome, UNKNOWN),
        text.duration(test.time),
        outputs,
        is_open,
    )


def _output(title: str, content: str, letters: int) -> Output:
    """Of the content the first `letters`."""
    shown = text.visible(content[:letters]).strip("\n")
    lines = shown.count("\n") + 1
    more = 3 if title == "why" else 1
    is_short = lines <= more * SHOWN_LINES and len(shown) <= more * SHOWN_LETTERS
    return Output(title, shown, lines, is_short, len(content) > letters)


def _failing_neighbours(document: Mapping[str, Any], project: str, module: str) -> tuple[Link | None, Link | None]:
    """The failing modules before and after this one, in the order of the matrix."""
    here = (project.casefold(), project, module)
    order = sorted(
        (name.casefold(), name, path)
        for name, results in document["module_results"].items()
        for path, result in results.items()
        if is_failing(result["verdict"]) or (name, path) == (project, module)
    )
    at = order.index(here)
    before = order[at - 1] if at > 0 else None
    after = order[at + 1] if at + 1 < len(order) else None
    return _link(document["id"], before), _link(document["id"], after)


def _link(evaluation_id: str, found: tuple[str, str, str] | None) -> Link | None:
    if found is None:
        return None
    _, project, module = found
    title = f"{text.shortened(text.line(project), 40)} · {text.shortened(text.line(module), 40)}"
    return Link(text.module_path(evaluation_id, project, module), title)
