"""Documents with their tests, kind and hostile, for the exports."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from testmesh.model import (
    Counts,
    Evaluation,
    ModulePlan,
    ModuleState,
    Project,
    Source,
    SourceKind,
    TestResult,
    Verdict,
)
from testmesh.node.document import document
from testmesh.node.service import EvaluationView, ModuleTests

HOSTILE = (
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(1)",
    "\t=1",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\x00\x1b[31m\ufffe\ud800b",
    "]]>&amp;",
    "müller-größe",
    "line\r\nbreak",
    "\u202egnp.exe",
)


@dataclass(frozen=True)
class Graded:
    document: dict[str, Any]
    tests: dict[str, list[ModuleTests]]

    def tests_of(self, project: str) -> Iterable[ModuleTests]:
        return self.tests.get(project, [])


def graded(
    *modules: tuple[str, str, Verdict, str, tuple[TestResult, ...]], errors: dict[str, str] | None = None
) -> Graded:
    """Of modules as (project, path, verdict, detail, tests), and sources by name that cannot be had, with why."""
    names = list(dict.fromkeys(module[0] for module in modules))
    projects = tuple(Project(name, name, tuple(ModulePlan(m[1]) for m in modules if m[0] == name)) for name in names)
    sources = [Source(SourceKind.ZIP, "upload", archive="0" * 64, projects=projects)]
    sources += [Source(SourceKind.REPOSITORY, name, error=why) for name, why in (errors or {}).items()]
    states = tuple(
        ModuleState("e1", project, path, verdict, 0, 1, "a:1", counts_of(tests), 0.25, "3.11", detail, began_at=1.8e9)
        for project, path, verdict, detail, tests in modules
    )
    evaluation = Evaluation("e1", 1.8e9, "a:1", tuple(sources), finished_at=1.8e9 + 5, eval_time=5.0)
    by_project = {name: [ModuleTests(name, m[1], m[4]) for m in modules if m[0] == name and m[4]] for name in names}
    return Graded(document(EvaluationView(evaluation, states), 1.8e9), by_project)


def counts_of(tests: tuple[TestResult, ...]) -> Counts:
    outcomes = [test.outcome for test in tests]
    return Counts(
        outcomes.count("passed") + outcomes.count("xpassed"),
        outcomes.count("failed"),
        outcomes.count("error"),
        outcomes.count("skipped") + outcomes.count("xfailed"),
    )


def hostile() -> Graded:
    """Every place where a text of a project is shown has every one of HOSTILE."""
    return graded(
        *(
            (text, f"test_{text}.py", Verdict.FAILED, text, (TestResult(text, "failed", 0.5, text, text, text),))
            for text in HOSTILE
        ),
        errors={f"{text} away": text for text in HOSTILE},
    )


_texts = st.text(max_size=8) | st.sampled_from(HOSTILE)
_outcomes = st.sampled_from(["passed", "failed", "error", "skipped", "xfailed", "xpassed"])
_tests = st.lists(st.builds(TestResult, _texts, _outcomes, st.floats(0, 9), _texts, _texts, _texts), max_size=3)
_modules = st.tuples(_texts, _texts, st.sampled_from(Verdict), _texts, _tests.map(tuple))
evaluations = st.builds(
    lambda modules, errors: graded(*modules, errors={f"{name} away": why for name, why in errors.items()}),
    st.lists(_modules, max_size=4, unique_by=lambda module: module[:2]),
    st.dictionaries(_texts, _texts, max_size=2),
)
