"""JUnit XML: well formed whatever the tests say, of the schema, and read by others' readers."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given

from testmesh.app.exports.junit_xml import junit_xml
from testmesh.model import TestResult, Verdict
from testmesh.node.service import ModuleTests
from tests.unit.app.exports.evaluations import Graded, evaluations, graded, hostile

SCHEMA = Path(__file__).parents[3] / "support" / "junit.xsd"
MIXED = graded(
    (
        *("p/q", "tests/test_a.py", Verdict.FAILED, ""),
        (
            TestResult("test_one[a-b]", "passed", 0.25),
            TestResult("TestX::test_two", "failed", 0.5, "def test_two():\nE  assert 1 == 2", "out\n", "err\r\n"),
            TestResult("test_three", "error", 0.0, "fixture"),
            TestResult("test_four", "skipped", 0.0, "no network"),
            TestResult("test_five", "xfailed"),
            TestResult("test_six", "xpassed"),
        ),
    ),
    ("p/q", "tests/test_b.py", Verdict.COLLECT_ERROR, "SyntaxError: line 1", ()),
    ("r", "test_c.py", Verdict.RUNNING, "", ()),
    ("r", "test_d.py", Verdict.NO_TESTS, "", ()),
    ("r", "test_e.py", Verdict.TIMEOUT, "over 5 s", (TestResult("t", "passed"),)),
    errors={"away": "The repository was not found."},
)


def written(evaluation: Graded) -> str:
    return "".join(junit_xml(evaluation.document, evaluation.tests_of))


def parsed(evaluation: Graded) -> ElementTree.Element:
    return ElementTree.fromstring(written(evaluation).encode())


def test_every_module_is_a_suite_whose_counts_are_its_cases() -> None:
    suites = {suite.get("name"): suite for suite in parsed(MIXED)}
    assert list(suites) == [
        "p/q/tests/test_a.py",
        "p/q/tests/test_b.py",
        "r/test_e.py",
        "r/test_c.py",
        "r/test_d.py",
        "away",
    ]
    first = suites["p/q/tests/test_a.py"]
    assert [
        first.get(name) for name in ("tests", "failures", "errors", "skipped", "time", "timestamp", "hostname")
    ] == [*("6", "1", "1", "2", "0.250", "2027-01-15T08:00:00", "a:1")]
    failed = first[1]
    assert (failed.get("classname"), failed.get("name")) == ("p.q.tests.test_a", "TestX::test_two")
    assert failed[0].get("message") == "E  assert 1 == 2"
    assert failed[0].text == "def test_two():\nE  assert 1 == 2"
    assert [(part.tag, part.text) for part in failed[1:]] == [("system-out", "out\n"), ("system-err", "err\r\n")]


def test_what_could_not_be_run_is_an_error_and_what_waits_is_skipped() -> None:
    suites = {suite.get("name"): suite for suite in parsed(MIXED)}
    told = {name: [(case.get("name"), case[0].tag) for case in suite if len(case)] for name, suite in suites.items()}
    assert told["p/q/tests/test_b.py"] == [("collect_error", "error")]
    assert told["r/test_c.py"] == [("running", "skipped")]
    assert told["r/test_d.py"] == []
    assert told["r/test_e.py"] == [("timeout", "error")]
    assert told["away"] == [("source_failed", "error")]


@given(evaluations)
def test_it_is_well_formed_and_counts_right_whatever_the_tests_say(evaluation: Graded) -> None:
    for suite in parsed(evaluation):
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(name, "")) == len(suite.findall(f"testcase/{tag}"))


@pytest.mark.parametrize("evaluation", [MIXED, hostile()], ids=["mixed", "hostile"])
def test_the_schema_accepts_it(evaluation: Graded) -> None:
    xmlschema = pytest.importorskip("xmlschema")
    xmlschema.XMLSchema(str(SCHEMA)).validate(written(evaluation))


def test_junitparser_reads_it(tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser")
    read = junitparser.JUnitXml.fromstring(written(MIXED).encode())
    read.update_statistics()
    assert (read.tests, read.failures, read.errors, read.skipped) == (11, 1, 4, 3)


def test_it_is_made_a_project_at_a_time() -> None:
    asked: list[str] = []

    def tests_of(project: str) -> list[object]:
        asked.append(project)
        return []

    pieces = junit_xml(MIXED.document, tests_of)  # type: ignore[arg-type]
    for _ in range(3):
        next(pieces)
    assert asked == ["p/q"]


def test_of_a_project_only_one_modules_tests_are_held() -> None:
    held: list[str] = []

    def tests_of(project: str) -> Iterator[ModuleTests]:
        for path in ("m0", "m1", "m2"):
            held.append(path)
            yield ModuleTests(project, path, (TestResult("t", "passed"),))

    modules = [("p", path, Verdict.PASSED, "", ()) for path in ("m2", "m1", "m0", "m3")]
    pieces = junit_xml(graded(*modules).document, tests_of)
    suites = [(list(held), piece) for piece in pieces if piece.startswith("<testsuite ")]
    assert [(len(asked), "<testcase" in piece) for asked, piece in suites] == [
        *((1, True), (2, True), (3, True), (3, False))
    ]
