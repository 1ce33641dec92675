"""CSV: what a spreadsheet makes of it."""

import csv
import io

import pytest
from hypothesis import given

from testmesh.app.exports.results_csv import COLUMNS, results_csv
from testmesh.app.exports.texts import harmless_cell
from testmesh.model import TestResult, Verdict
from tests.unit.app.exports.evaluations import Graded, evaluations, graded, hostile

PASSED, FAILED, ERROR = TestResult("a", "passed"), TestResult("b", "failed"), TestResult("c", "error")


def rows(evaluation: Graded) -> list[dict[str, str]]:
    text = results_csv(evaluation.document).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_row_a_project_with_grade_counts_and_verdicts() -> None:
    found = rows(
        graded(
            ("p", "test_a.py", Verdict.PASSED, "", (PASSED,) * 3),
            ("p", "test_b.py", Verdict.FAILED, "", (FAILED, ERROR, TestResult("d", "skipped"), PASSED)),
            ("p", "test_c.py", Verdict.NO_TESTS, "", ()),
            errors={"away": "The repository was not found."},
        )
    )
    assert [row["project"] for row in found] == ["p", "away"]
    assert {name: value for name, value in found[0].items() if value not in ("", "0")} == {
        "project": "p",
        "nota": "13.33",
        "%passed": "66.67",
        "passed": "4",
        "failed": "2",
        "skipped": "1",
        "modules": "3",
        "modules passed": "1",
        "modules failed": "1",
        "modules no_tests": "1",
        "status": "done",
    }
    assert (found[1]["nota"], found[1]["status"]) == ("", "source_failed")
    assert "not found" in found[1]["detail"]
    assert {f"modules {verdict}" for verdict in Verdict} < set(COLUMNS)


def test_no_cell_is_a_formula_and_umlauts_survive() -> None:
    data = results_csv(hostile().document)
    assert data.startswith("\ufeff".encode())
    found = rows(hostile())
    assert len(found) == len(hostile().document["projects"])
    for row in found:
        for value in row.values():
            assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert found[0]["project"] == "'=cmd|' /C calc'!A0"
    assert "müller-größe" in [row["project"] for row in found]


@given(evaluations)
def test_it_is_read_back_whole_whatever_the_names(evaluation: Graded) -> None:
    found = rows(evaluation)
    assert len(found) == len(evaluation.document["projects"])
    assert all(set(row) == set(COLUMNS) for row in found)


@pytest.mark.parametrize("inside", ["a;=1+1.txt", "a ;\n @SUM(1)", "a\t－1", 'a;"=1+1"', 'a;b";;""=cmd()', "a\r\n+1"])
def test_no_part_of_a_cell_is_a_formula_where_semicolons_part_cells(inside: str) -> None:
    made = results_csv(graded((inside, "test_a.py", Verdict.PASSED, "", (PASSED,)), errors={"x": inside}).document)
    for separator in (";", "\t"):
        for row in csv.reader(io.StringIO(made.decode("utf-8-sig"), newline=""), delimiter=separator):
            for cell in row:
                assert not cell.lstrip(' \n\r\t"').startswith(("=", "+", "-", "@", "－"))


def test_a_cell_is_made_harmless_in_a_time_in_proportion_to_its_length() -> None:
    assert harmless_cell("a" + ";\n" * 500_000).count("'") == 0


def test_signs_that_part_nothing_stay_as_they_are() -> None:
    assert harmless_cell("a-b = c; d, e@f; 3") == "a-b = c; d, e@f; 3"
