import io

from rich.console import Console, RenderableType

from testmesh.client.render import evaluations_table, grade_table, live_view, nodes_table, show_tests, status_view
from tests.unit.client.fake_mesh import ID, evaluation, module

HOSTILE = "[red]x[/red]\x1b[2J"


def drawn(*parts: RenderableType, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal, highlight=False)
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_grade_table_has_every_project_and_the_sum() -> None:
    document = evaluation(
        "done", {"alice": {"t.py": module(passed=7)}, "bob": {"t.py": module("failed", passed=1, failed=1)}}
    )
    lines = drawn(grade_table(document)).splitlines()
    assert any("alice" in line and "20.00" in line and "100.00" in line and "1/1" in line for line in lines)
    assert any("bob" in line and "10.00" in line and "failed · t.py: 1 passed, 1 failed" in line for line in lines)
    assert any("all" in line and "done in 4.2 s" in line for line in lines)


def test_names_of_uploads_are_shown_not_obeyed() -> None:
    document = evaluation("running", {HOSTILE: {HOSTILE: module("running", detail=HOSTILE), "b": module("crashed")}})
    node = {"address": HOSTILE, "passed": 0, "failed": 0, "projects": 0, "modules": 0, "evaluations": []}
    text = drawn(
        grade_table(document),
        live_view(document, 30),
        status_view(document),
        nodes_table({"nodes": [node]}, {HOSTILE: [HOSTILE]}),
        terminal=True,
    )
    assert text.count("[red]x[/red]�[2J") >= 4
    assert "\x1b[2J" not in text


def test_a_grade_that_is_none_is_a_dash() -> None:
    text = drawn(grade_table(evaluation("done", {"p": {}}, status="source_failed")))
    assert "source_failed" in text
    assert "None" not in text


def test_the_live_view_fits_the_terminal() -> None:
    projects = {f"project-{number}": {"t.py": module("running")} for number in range(100)}
    view = drawn(live_view(evaluation("running", projects), 24))
    assert len(view.splitlines()) <= 24
    assert "0/100 modules" in view


def test_what_runs_is_shown_first() -> None:
    document = evaluation("running", {"a": {"t.py": module(passed=1)}, "z": {"t.py": module("running")}})
    view = drawn(live_view(document, 30))
    assert view.index(" z ") < view.index(" a ")
    assert "t.py on 127.0.0.1:5001" in view


def test_evaluations_are_listed() -> None:
    line = {"id": ID, "status": "done", "submitted_at": "2026", "projects": 3, "%passed": None, "nota": 12.5}
    text = drawn(evaluations_table([line]))
    assert ID in text
    assert "12.50" in text


def test_logs_show_the_output_of_failed_tests_alone() -> None:
    test = {"project": "p", "module": "t.py", "time": 0.1, "longrepr": "", "stderr": ""}
    tests = [
        test | {"name": "test_good", "outcome": "passed", "stdout": "good output"},
        test | {"name": "test_bad", "outcome": "failed", "stdout": f"line 1\nline 2 {HOSTILE}", "longrepr": "assert 1"},
    ]
    console = Console(file=io.StringIO(), width=100, highlight=False)
    show_tests(console, tests, everything=False)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "good output" not in text
    assert "      line 1\n      line 2 [red]x[/red]�[2J\n" in text
    assert "assert 1" in text
    show_tests(console, tests, everything=True)
    assert "good output" in console.file.getvalue()  # type: ignore[attr-defined]
