"""PURE: an evaluation as JUnit XML, a suite a module, as Jenkins and GitLab read it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from testmesh.app.exports.texts import legal
from testmesh.model import TestResult, Verdict
from testmesh.node.service import ModuleTests

_SKIPPED = ("skipped", "xfailed")
_NOT_RUN = (Verdict.PENDING, Verdict.RUNNING, Verdict.CANCELLED)
_FINE = (Verdict.PASSED, Verdict.FAILED, Verdict.NO_TESTS)


def junit_xml(document: Mapping[str, Any], tests_of: Callable[[str], Iterable[ModuleTests]]) -> Iterator[str]:
    """Piece by piece, a module's tests at a time; in a project, modules with tests come first.

    What is no test's result is a case of its own, named after the verdict: a module that could not be run, a source
    that could not be had, what still waits.

    Args:
        document: that of spec section 3.
        tests_of: gives the tests of a project that has modules, module by module.
    """
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield f"<testsuites{_attributes(name=document['id'], time=_seconds(document['_run_info']['eval_time']))}>\n"
    for project, shown in document["projects"].items():
        modules = document["module_results"].get(project, {})
        left = dict(modules)
        for item in tests_of(project) if modules else ():
            if (state := left.pop(item.module, None)) is not None:
                yield _suite(project, item.module, state, item.tests)
        for module, state in left.items():
            yield _suite(project, module, state, ())
        if not modules:
            yield _suite(project, "", {"verdict": shown["status"], "detail": shown["detail"]}, ())
    yield "</testsuites>\n"


def _suite(project: str, module: str, state: Mapping[str, Any], tests: Sequence[TestResult]) -> str:
    failures = sum(test.outcome == "failed" for test in tests)
    errors = sum(test.outcome == "error" for test in tests)
    skipped = sum(test.outcome in _SKIPPED for test in tests)
    cases = [_case(project, module, test) for test in tests]
    verdict, detail = state["verdict"], state["detail"]
    if verdict in _NOT_RUN:
        cases.append(_bare_case(project, module, verdict, _told("skipped", verdict, detail)))
        skipped += 1
    elif verdict not in _FINE and not failures and not errors:
        cases.append(_bare_case(project, module, verdict, _told("error", verdict, detail)))
        errors += 1
    opened = _attributes(
        name=f"{project}/{module}" if module else project,
        package=project,
        tests=str(len(cases)),
        failures=str(failures),
        errors=str(errors),
        skipped=str(skipped),
        time=_seconds(state.get("time")),
        timestamp=(state.get("started_at") or "").partition(".")[0] or None,
        hostname=state.get("node") or None,
    )
    return f"<testsuite{opened}>\n{''.join(cases)}</testsuite>\n"


def _case(project: str, module: str, test: TestResult) -> str:
    first = test.longrepr.strip().rpartition("\n")[2]  # the line that says what was wrong
    told = ""
    if test.outcome == "failed":
        told = _told("failure", first, test.longrepr)
    elif test.outcome == "error":
        told = _told("error", first, test.longrepr)
    elif test.outcome in _SKIPPED:
        told = _told("skipped", first, "")
    told += "".join(
        f"<{name}>{_text(said)}</{name}>"
        for name, said in (("system-out", test.stdout), ("system-err", test.stderr))
        if said
    )
    return _bare_case(project, module, test.name, told, test.time)


def _bare_case(project: str, module: str, name: str, told: str, time: float = 0.0) -> str:
    classname = f"{project}/{module}".removesuffix("/").removesuffix(".py").replace("/", ".")
    return f"<testcase{_attributes(classname=classname, name=name, time=_seconds(time))}>{told}</testcase>\n"


def _told(element: str, message: str, text: str) -> str:
    return f"<{element}{_attributes(type=element, message=message[:1000])}>{_text(text)}</{element}>"


def _attributes(**values: str | None) -> str:
    return "".join(f" {name}={quoteattr(legal(value))}" for name, value in values.items() if value is not None)


def _text(text: str) -> str:
    return escape(legal(text), {"\r": "&#13;"})


def _seconds(value: float | None) -> str:
    return f"{value or 0.0:.3f}"
