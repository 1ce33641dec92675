import pytest

from testmesh.client.summary import exit_code, module_lines, progress, project_rows
from testmesh.client.text import clean, shortened
from tests.unit.client.fake_mesh import evaluation, module


def test_a_row_says_what_pulled_the_grade_down() -> None:
    document = evaluation(
        "done",
        {
            "bully": {
                "test_a.py": module(passed=3),
                "test_b.py": module("collect_error", failed=1, detail="\n  SyntaxError: '(' was never closed\n"),
                "test_c.py": module("crashed", failed=2),
            }
        },
    )
    (row,) = project_rows(document)
    assert (row.nota, row.percent, row.passed, row.failed, row.modules) == (10.0, 50.0, 3, 3, 3)
    assert row.reason == "collect_error · crashed · test_b.py: SyntaxError: '(' was never closed"


def test_a_failed_module_without_detail_is_described_by_its_counts() -> None:
    document = evaluation("done", {"p": {"test_a.py": module("failed", passed=3, failed=1, errors=2, skipped=1)}})
    assert project_rows(document)[0].reason == "failed · test_a.py: 3 passed, 1 failed, 1 skipped, 2 errors"


def test_equal_verdicts_are_counted() -> None:
    modules = {f"test_{name}.py": module("timeout", failed=1) for name in "abc"}
    assert project_rows(evaluation("done", {"p": modules}))[0].reason.startswith("timeout ×3 · test_a.py: 1 failed")


def test_a_clean_project_needs_no_reason() -> None:
    document = evaluation("done", {"p": {"test_a.py": module(passed=1), "test_b.py": module("no_tests")}})
    assert project_rows(document)[0].reason == ""


def test_a_project_without_grade_has_its_detail() -> None:
    document = evaluation("done", {"o-r": {}}, status="source_failed", detail="The repository is private.")
    (row,) = project_rows(document)
    assert (row.nota, row.status, row.reason) == (None, "source_failed", "The repository is private.")


@pytest.mark.parametrize(
    ("status", "result", "project", "code"),
    [
        ("done", module(passed=1), "done", 0),
        ("done", module("failed", passed=1, failed=1), "done", 1),
        ("done", module("crashed"), "done", 1),
        ("done", module("infra_failed"), "infra_failed", 2),
        ("done", module("no_tests"), "done", 0),
        ("failed", module("source_failed"), "source_failed", 2),
        ("cancelled", module("cancelled"), "cancelled", 2),
    ],
)
def test_the_exit_code_says_how_it_went(status: str, result: dict[str, object], project: str, code: int) -> None:
    assert exit_code(evaluation(status, {"p": {"test_a.py": result}}, status=project)) == code


def test_progress_counts_modules() -> None:
    document = evaluation("running", {"p": {"a": module(), "b": module("running"), "c": module("pending")}})
    assert progress(document) == (1, 3)


def test_module_lines_can_be_of_one_project() -> None:
    document = evaluation("done", {"p": {"a.py": module()}, "q": {"b.py": module()}})
    assert [line.module for line in module_lines(document, "q")] == ["b.py"]


def test_hostile_text_cannot_steer_a_terminal() -> None:
    assert clean("a\x1b[31mb\x9bc\x07\rd\u202ee\nf") == "a�[31mb�c��d�e�f"
    assert clean("\u2066\u2069\u200f\ufeff\u2028\u00ad\U000e0041") == "�" * 7
    assert clean("a\tb\r\nc", multiline=True) == "a\tb\nc"
    assert clean("Übung 日本 🎓") == "Übung 日本 🎓"


def test_a_detail_is_one_short_line() -> None:
    assert shortened("\n\n  a  b\nc") == "a b c"
    assert shortened("x" * 300, width=10) == "xxxxxxxxx…"
    assert shortened("") == ""
