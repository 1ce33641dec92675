"""PURE: every test against every project: which tests does everyone fail?"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from typing import Any

from testmesh.app.dashboard import text
from testmesh.app.dashboard.words import OUTCOMES, UNKNOWN, Words
from testmesh.node.service import ModuleTests

MOST_ROWS, MOST_COLUMNS = 500, 200
COMPARED = 2000  # tests of one module
PAGE_LETTERS = 8_000_000  # about so many a page may have; many columns and long names make fewer rows
_CELL_LETTERS = 150  # beside the names
SHOWN = ("all", "everyone", "some")
_GOOD = ("passed", "xpassed")
_BAD = ("failed", "error")


@dataclass(frozen=True, slots=True)
class _Found:
    """A test of one module path. `number` is its place there, `outcomes` are by project."""

    module: str
    number: int
    name: str
    outcomes: Mapping[str, str]

    @property
    def passed(self) -> int:
        return sum(outcome in _GOOD for outcome in self.outcomes.values())

    @property
    def failed(self) -> int:
        return sum(outcome in _BAD for outcome in self.outcomes.values())

    @property
    def counted(self) -> int:
        return self.passed + self.failed

    @property
    def everyone_fails(self) -> bool:
        """Of one project alone "everyone" says nothing."""
        return self.counted > 1 and not self.passed

    @property
    def everyone_passes(self) -> bool:
        return 1 < self.counted == self.passed

    def rank(self) -> tuple[int, int, str, int]:
        """The smallest are shown first."""
        return -len(self.outcomes), -self.failed, self.module, self.number


@dataclass(frozen=True, slots=True)
class Mark:
    """What one project made of one test; `href` leads to its output where it failed."""

    outcome: str
    words: Words
    href: str


@dataclass(frozen=True, slots=True)
class TestRow:
    """`passed` of `counted` projects; skipped ones do not count."""

    name: str
    cut: str
    passed: int
    counted: int
    marks: tuple[Mark | None, ...]
    everyone_fails: bool
    everyone_passes: bool

    __test__ = False

    @property
    def share(self) -> float:
        """Percent of the projects that pass, for the bar."""
        return round(100 * self.passed / self.counted, 1) if self.counted else 0.0


@dataclass(frozen=True, slots=True)
class Group:
    module: str
    cut: str
    rows: tuple[TestRow, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    name: str
    cut: str


@dataclass(frozen=True, slots=True)
class CohortPage:
    """`projects` are the columns, of `every_project`; `more` tests that are asked for are left out.

    Of modules with more than COMPARED tests, `uncompared` were not looked at.
    """

    evaluation: str
    short: str
    path: str
    projects: tuple[Heading, ...]
    every_project: int
    groups: tuple[Group, ...]
    tests: int
    everyone_fails: int
    everyone_passes: int
    more: int
    uncompared: int
    shown: str
    is_over: bool


def cohort_page(document: Mapping[str, Any], modules: Iterable[ModuleTests], shown: str = "all") -> CohortPage:
    """`shown`: `everyone`: only what everyone fails; `some`: what some pass and some fail; else all.

    `modules` are read once, and those of one path must be together. Of the tests those are shown that most projects
    share, then those that most fail.
    """
    names = sorted(document["projects"], key=lambda name: (name.casefold(), name))
    most = _most_rows(names, _paths_of(document))
    best: list[_Found] = []
    sums = Counter[str]()
    for path, parts in groupby(modules, key=lambda part: part.module):
        found, left_out = _found(path, parts)
        sums.update(tests=len(found) + left_out, left_out=left_out)
        sums.update(everyone_fails=sum(test.everyone_fails for test in found))
        sums.update(everyone_passes=sum(test.everyone_passes for test in found))
        wanted = [test for test in found if _is_shown(test, shown)]
        sums.update(wanted=len(wanted) + (left_out if shown == "all" else 0))
        best += wanted
        if len(best) > 4 * most:  # not at each of thousands of modules
            best = nsmallest(most, best, key=_Found.rank)
    best = nsmallest(most, best, key=_Found.rank)
    columns = _columns(names, best)
    by_path = groupby(sorted(best, key=lambda test: (test.module, test.number)), key=lambda test: test.module)
    return CohortPage(
        evaluation=document["id"],
        short=document["id"][:8],
        path=text.evaluation_path(document["id"]),
        projects=tuple(Heading(text.line(name), text.shortened(text.line(name), 22)) for name in columns),
        every_project=len(names),
        groups=tuple(_group(document["id"], path, list(tests), columns) for path, tests in by_path),
        tests=sums["tests"],
        everyone_fails=sums["everyone_fails"],
        everyone_passes=sums["everyone_passes"],
        more=sums["wanted"] - len(best),
        uncompared=sums["left_out"],
        shown=shown,
        is_over=document["finished_at"] is not None,
    )


def _paths_of(document: Mapping[str, Any]) -> set[str]:
    return {path for own in document["module_results"].values() for path in own}


def _most_rows(names: Sequence[str], paths: Iterable[str]) -> int:
    """As every failed test is a link with both names, and whoever uploads chooses these too."""
    cell = _CELL_LETTERS + sum(max(map(text.quoted_length, found), default=0) for found in (names, paths))
    return min(MOST_ROWS, max(1, PAGE_LETTERS // (cell * (min(len(names), MOST_COLUMNS) + 1))))


def _columns(names: Sequence[str], tests: Iterable[_Found]) -> list[str]:
    """Of very many projects those with most of the tests, in order."""
    found = Counter(project for test in tests for project in test.outcomes)
    kept = set(nsmallest(MOST_COLUMNS, names, key=lambda name: -found[name]))
    return [name for name in names if name in kept]


def _found(path: str, parts: Iterable[ModuleTests]) -> tuple[list[_Found], int]:
    """The tests of all projects' modules of one path, and how many more there are at least."""
    by_test: dict[str, dict[str, str]] = {}
    left_out = 0
    for part in parts:
        for test in part.tests[:COMPARED]:
            by_test.setdefault(test.name, {})[part.project] = test.outcome
        left_out = max(left_out, len(part.tests) - COMPARED)
    return [_Found(path, number, *item) for number, item in enumerate(by_test.items())], left_out


def _is_shown(test: _Found, shown: str) -> bool:
    if shown == "everyone":
        return test.everyone_fails
    return shown != "some" or 0 < test.passed < test.counted


def _group(evaluation_id: str, module: str, tests: Iterable[_Found], columns: Sequence[str]) -> Group:
    hrefs = {name: text.module_path(evaluation_id, name, module) for name in columns}
    shown = text.line(module)
    return Group(shown, text.shortened(shown, 80), tuple(_row(test, columns, hrefs) for test in tests))


def _row(test: _Found, columns: Sequence[str], hrefs: Mapping[str, str]) -> TestRow:
    marks = tuple(
        Mark(outcome, OUTCOMES.get(outcome, UNKNOWN), hrefs[name] if outcome in _BAD else "")
        if (outcome := test.outcomes.get(name))
        else None
        for name in columns
    )
    shown = text.line(test.name)
    return TestRow(
        text.shortened(shown, 300),
        text.shortened(shown, 60),
        test.passed,
        test.counted,
        marks,
        test.everyone_fails,
        test.everyone_passes,
    )
