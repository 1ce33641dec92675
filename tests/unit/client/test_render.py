import io
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from testmesh.client.board import State, board
from testmesh.client.live import LiveView, duration
from testmesh.client.logs import Wanted, show_tests
from testmesh.client.render import evaluations_table, grade_table, nodes_table, status_view
from tests.unit.client.fake_mesh import ID, NODE, evaluation, module

HOSTILE = "[red]x[/red]\x1b[2J\u202e"
SHOWN = "[red]x[/red]�[2J�"
RESULTS = st.sampled_from(
    [module(passed=1), module("failed", failed=1), module("running"), module("pending"), module("timeout", failed=2)]
)
CLASSES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.dictionaries(st.text("xyz", min_size=1, max_size=2), RESULTS),
    max_size=30,
)


def drawn(*parts: RenderableType, terminal: bool = False, width: int = 200, height: int = 30) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=terminal, highlight=False)
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
    node = NODE | dict.fromkeys(("address", "status", "sandbox", "version"), HOSTILE)
    listed = {"id": HOSTILE, "status": HOSTILE, "submitted_at": HOSTILE, "projects": 1, "%passed": 1.0, "nota": 1.0}
    text = drawn(
        grade_table(document),
        LiveView(document | {"id": HOSTILE, "status": HOSTILE}),
        status_view(document),
        nodes_table([node]),
        evaluations_table([listed]),
        terminal=True,
    )
    assert text.count(SHOWN) >= 10
    assert "\x1b[2J" not in text
    assert "\u202e" not in text


def test_a_grade_that_is_none_is_a_dash() -> None:
    text = drawn(grade_table(evaluation("done", {"p": {}}, status="source_failed")))
    assert "source_failed" in text
    assert "None" not in text


@pytest.mark.parametrize(("width", "height"), [(200, 24), (80, 24), (40, 10), (20, 6)])
def test_the_live_view_fits_the_terminal(width: int, height: int) -> None:
    projects = {f"project-{number}": {"t.py": module("running")} for number in range(100)}
    view = drawn(LiveView(evaluation("running", projects)), width=width, height=height).splitlines()
    assert len(view) < height
    assert max(len(line) for line in view) <= width
    assert "0/100 modules" in view[0]


@given(CLASSES, st.integers(3, 60))
def test_the_board_has_no_more_lines_than_there_is_room(classes: Mapping[str, Any], room: int) -> None:
    document = evaluation("running", dict(classes))
    lines = board(document, room)
    assert len(lines) <= room
    every = len(classes) + sum(map(len, classes.values()))
    if every <= room:
        assert len(lines) == every


def test_a_small_class_is_shown_whole_and_by_name() -> None:
    document = evaluation("running", {"b": {"t.py": module("running")}, "a": {"t.py": module(passed=1)}})
    assert [(line.text, line.state) for line in board(document, 4)] == [
        ("a", State.WAITING),  # of a running evaluation: its project has not been closed yet
        ("t.py", State.PASSED),
        ("b", State.RUNNING),
        ("t.py", State.RUNNING),
    ]


def test_a_large_class_shows_what_runs_and_what_failed_and_folds_the_rest() -> None:
    done = {f"done-{number}": {"t.py": module(passed=1)} for number in range(40)}
    bad = {"bad": {"a.py": module("timeout", failed=1), "b.py": module(passed=1)}}
    document = evaluation("done", done | bad)
    live = evaluation("running", {"busy": {"c.py": module("running")}, "later": {"d.py": module("pending")}})
    for key in ("projects", "module_results"):
        document[key] |= live[key]
    lines = [(line.text, line.note.split(",")[0]) for line in board(document, 8)]
    assert lines == [
        ("busy", "0/1 modules"),
        ("c.py", "on 127.0.0.1:5001"),
        ("bad", "2/2 modules · 1 passed"),
        ("a.py", "timeout · 1 failed"),
        ("later", "0/1 modules"),
        ("40 passed", "done-0"),
    ]


def test_what_finds_no_room_is_counted() -> None:
    document = evaluation("running", {f"p{number}": {"t.py": module("running")} for number in range(9)})
    lines = board(document, 4)
    assert [line.text for line in lines] == ["p0", "p1", "p2", "6 more"]
    assert lines[-1].note == "6 running"


def test_a_narrow_terminal_gets_fewer_columns() -> None:
    document = evaluation("done", {"a-project": {"test_one.py": module("failed", passed=1, failed=1)}})
    left_out: dict[str, RenderableType] = {
        "skipped": grade_table(document),
        "detail": status_view(document),
        "sandbox": nodes_table([NODE]),
        "submitted": evaluations_table([]),
    }
    for heading, shown in left_out.items():
        narrow, wide = drawn(shown, width=60), drawn(shown, width=160)
        assert heading in wide
        assert heading not in narrow
        assert max(map(len, narrow.splitlines())) <= 60


def test_nodes_that_are_gone_come_last() -> None:
    unknown = dict.fromkeys(
        ("sandbox", "loopback", "version", "slots", "running", "waiting", "cpu", "uptime", "memory")
    )
    gone = NODE | unknown | {"address": "10.0.0.0:5001", "alive": False, "status": "dead"}
    text = drawn(nodes_table([gone, NODE]))
    assert text.index("10.0.0.1") < text.index("10.0.0.0")
    assert "dead" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (4230, "1 h 10 min")]
)
def test_a_duration_is_read_at_a_glance(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_evaluations_are_listed() -> None:
    line = {"id": ID, "status": "done", "submitted_at": "2026", "projects": 3, "%passed": None, "nota": 12.5}
    text = drawn(evaluations_table([line]))
    assert ID in text
    assert "12.50" in text


def logs(document: Any, tests: list[dict[str, Any]], **wanted: Any) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    show_tests(console, document, tests, Wanted(**wanted))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


TEST = {"project": "p", "module": "b.py", "time": 0.1, "longrepr": "", "stdout": "", "stderr": ""}
TESTS = [
    TEST | {"name": "test_good", "outcome": "passed", "stdout": "good output"},
    TEST | {"name": f"test_bad{HOSTILE}", "outcome": "failed", "stdout": f"line 1\nline 2 {HOSTILE}", "longrepr": "no"},
    TEST | {"name": "test_fine", "outcome": "passed", "module": "a.py"},
]
LOGGED = evaluation(
    "done",
    {"p": {"a.py": module(passed=1), "b.py": module("failed", 1, 1), "c.py": module("env_failed", detail="no\nwheel")}},
)


def test_logs_show_what_failed_first_and_its_output_alone() -> None:
    text = logs(LOGGED, TESTS)
    order = [
        text.index(word) for word in ("p b.py failed", "test_bad", "test_good", "p c.py env_failed: no wheel", "a.py")
    ]
    assert order == sorted(order)
    assert f"      line 1\n      line 2 {SHOWN}\n" in text
    assert f"test_bad{SHOWN}" in text
    assert "good output" not in text
    assert "\x1b" not in text


def test_logs_show_all_output_or_failed_tests_alone() -> None:
    assert "good output" in logs(LOGGED, TESTS, all_output=True)
    failed = logs(LOGGED, TESTS, only_failed=True)
    assert "test_bad" in failed
    assert "test_good" not in failed
    assert "a.py" not in failed


def test_logs_of_one_module_say_nothing_of_others() -> None:
    assert logs(LOGGED, [TESTS[2]], project="p", module="a.py").splitlines() == [
        "p a.py passed",
        "  ✓ passed  test_fine (0.10 s)",
    ]
