"""Log lines say what they are about, and untrusted text in them stays text."""

import ast
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import testmesh
from testmesh.logs import JsonFormatter, TextFormatter, about

PACKAGE = Path(testmesh.__file__).parent
LEVELS = {f"log.{level}" for level in ("debug", "info", "warning", "error", "exception", "log")}


def written(formatter: logging.Formatter, message: str, *arguments: object, **more: object) -> str:
    log, out = logging.Logger("testmesh.some.room"), io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    log.addHandler(handler)
    log.warning(message, *arguments, **more)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_json_line_has_what_it_is_about_and_nothing_that_was_not_given() -> None:
    told = about(evaluation="e1", project="p", module="test_a.py", attempt=2, node="b:1")
    line = json.loads(written(JsonFormatter("a:1"), "it %s", "ended", extra=told))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line.pop("thread")
    assert line == {
        "level": "warning",
        "logger": "testmesh.some.room",
        "address": "a:1",
        "message": "it ended",
        "evaluation": "e1",
        "project": "p",
        "module": "test_a.py",
        "attempt": 2,
        "node": "b:1",
    }
    line = json.loads(written(JsonFormatter("a:1"), "it ended", extra=about(node="b:1")))
    assert line.keys() & {"evaluation", "project", "module", "attempt", "node"} == {"node"}


def test_an_exception_is_one_field_of_its_line() -> None:
    try:
        int("first\nsecond")
    except ValueError:
        text = written(JsonFormatter("a:1"), "it failed", exc_info=sys.exc_info())
    assert text.count("\n") == 1
    assert "first\\nsecond" in json.loads(text)["exception"]


HOSTILE = "a\nb\rc\x1b[2Jd\x9be\x00f\x7fg"


def test_what_steers_a_terminal_is_shown_and_not_sent_to_it() -> None:
    for formatter in (TextFormatter("a:1"), JsonFormatter("a:1")):
        text = written(formatter, "project %s", HOSTILE, extra=about(project=HOSTILE))
        assert text.endswith("\n")
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text[:-1])
    assert json.loads(written(JsonFormatter("a:1"), "%s", HOSTILE, extra=about(project=HOSTILE)))["project"] == HOSTILE


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((PACKAGE / "node").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in LEVELS:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


@pytest.mark.parametrize("call", [pytest.param(call, id=where) for where, call in calls()])
def test_a_line_that_names_an_evaluation_has_its_id_as_a_field(call: ast.Call) -> None:
    texts = [part.value for part in ast.walk(call) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if any("evaluation %s" in text for text in texts):
        assert any(keyword.arg == "extra" for keyword in call.keywords), "give it extra=about(evaluation=…)"
