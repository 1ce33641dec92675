"""PURE: every test against every project: which tests does everyone fail?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from testmesh.app.dashboard import text
from testmesh.app.dashboard.words import OUTCOMES, UNKNOWN, Words

SHOWN = ("all", "everyone", "some")
_GOOD = ("passed", "xpassed")
_BAD = ("failed", "error")

Outcomes = Iterable[tuple[str, str, str, str]]  # project, module, test, outcome


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
    evaluation: str
    short: str
    path: str
    projects: tuple[Heading, ...]
    groups: tuple[Group, ...]
    tests: int
    everyone_fails: int
    everyone_passes: int
    shown: str
    is_over: bool


def cohort_page(document: Mapping[str, Any], outcomes: Outcomes, shown: str = "all") -> CohortPage:
    """`shown`: `everyone`: only what everyone fails; `some`: what some pass and some fail; else all."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for project, module, test, outcome in outcomes:
        found.setdefault(module, {}).setdefault(test, {})[project] = outcome
    names = sorted(document["projects"], key=lambda name: (name.casefold(), name))
    groups = [_group(document["id"], module, found[module], names) for module in sorted(found)]
    rows = [row for group in groups for row in group.rows]
    kept = [
        Group(group.module, group.cut, tuple(row for row in group.rows if _is_shown(row, shown))) for group in groups
    ]
    return CohortPage(
        evaluation=document["id"],
        short=document["id"][:8],
        path=text.evaluation_path(document["id"]),
        projects=tuple(Heading(text.line(name), text.shortened(text.line(name), 22)) for name in names),
        groups=tuple(group for group in kept if group.rows),
        tests=len(rows),
        everyone_fails=sum(row.everyone_fails for row in rows),
        everyone_passes=sum(row.everyone_passes for row in rows),
        shown=shown,
        is_over=document["finished_at"] is not None,
    )


def _is_shown(row: TestRow, shown: str) -> bool:
    if shown == "everyone":
        return row.everyone_fails
    return shown != "some" or 0 < row.passed < row.counted


def _group(evaluation_id: str, module: str, tests: Mapping[str, Mapping[str, str]], names: list[str]) -> Group:
    hrefs = {name: text.module_path(evaluation_id, name, module) for name in names}
    rows = tuple(_row(test, by_project, names, hrefs) for test, by_project in tests.items())
    shown = text.line(module)
    return Group(shown, text.shortened(shown, 80), rows)


def _row(test: str, by_project: Mapping[str, str], names: list[str], hrefs: Mapping[str, str]) -> TestRow:
    outcomes = by_project.values()
    passed = sum(outcome in _GOOD for outcome in outcomes)
    counted = passed + sum(outcome in _BAD for outcome in outcomes)
    marks = tuple(
        Mark(outcome, OUTCOMES.get(outcome, UNKNOWN), hrefs[name] if outcome in _BAD else "")
        if (outcome := by_project.get(name))
        else None
        for name in names
    )
    shown = text.line(test)
    # Of one project alone "everyone" says nothing.
    return TestRow(
        shown, text.shortened(shown, 60), passed, counted, marks, counted > 1 and not passed, 1 < counted == passed
    )
