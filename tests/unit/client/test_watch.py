"""Following an evaluation, against a server that plays the mesh: what comes out, and what is asked for."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from testmesh.client.api import ClientError, MeshClient
from testmesh.client.watch import follow_live, watch
from testmesh.clock import FakeClock
from tests.unit.client.fake_mesh import ID, Answer, FakeMesh, evaluation, fake_mesh, module, problem, stream

EVENTS = f"/evaluation/{ID}/events"
RUNNING = evaluation("running", {"p": {"a.py": module("running"), "b.py": module("pending")}})
HALF = evaluation("running", {"p": {"a.py": module(passed=1), "b.py": module("running")}})
DONE = evaluation("done", {"p": {"a.py": module(passed=1), "b.py": module("failed", failed=1)}})


@pytest.fixture
def mesh() -> Iterator[FakeMesh]:
    with fake_mesh() as mesh:
        mesh.on("/peers", Answer(200, []))
        yield mesh


def result(path: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"module_results": {"p": {path: document["module_results"]["p"][path]}}}


def state(document: dict[str, Any]) -> dict[str, Any]:
    return {key: document[key] for key in ("status", "_run_info", "projects")}


def followed(mesh: FakeMesh) -> list[dict[str, Any]]:
    clock = FakeClock()
    return list(follow_live(MeshClient([mesh.url], sleep=clock.advance, monotonic=clock.monotonic), ID, clock.advance))


def asked(mesh: FakeMesh, path: str) -> int:
    return sum(request.target == path for request in mesh.requests)


def test_events_make_the_document_and_the_end_is_read_whole(mesh: FakeMesh) -> None:
    mesh.on(f"/evaluation/{ID}", Answer(200, RUNNING), Answer(200, DONE))
    mesh.on(
        EVENTS,
        stream(
            ("n.1", "module", result("a.py", HALF)),
            ("n.2", "module", result("b.py", HALF)),
            ("n.3", "project", state(HALF)),
            ("n.4", "module", result("b.py", DONE)),
            ("n.5", "done", state(DONE)),
        ),
    )
    documents = followed(mesh)
    assert documents[0] == RUNNING
    assert documents[-2:] == [DONE, DONE]
    assert (asked(mesh, EVENTS), asked(mesh, f"/evaluation/{ID}")) == (1, 2)


def test_a_broken_stream_is_begun_again_behind_its_last_event(mesh: FakeMesh) -> None:
    mesh.on(f"/evaluation/{ID}", Answer(200, RUNNING), Answer(200, HALF), Answer(200, DONE))
    mesh.on(EVENTS, stream(("n.1", "module", result("a.py", HALF))), stream(("m.9", "done", state(DONE))))
    assert followed(mesh)[-1] == DONE
    streams = [request for request in mesh.requests if request.target == EVENTS]
    assert [request.headers.get("Last-Event-ID") for request in streams] == [None, "n.1"]


@pytest.mark.parametrize("answer", [None, problem(404, "Not Found", "No such path."), problem(503, "Full", "Wait.")])
def test_without_a_stream_the_document_is_asked_for(mesh: FakeMesh, answer: Answer | None) -> None:
    mesh.on(f"/evaluation/{ID}", *[Answer(200, RUNNING)] * 20, Answer(200, DONE))
    mesh.on(EVENTS, answer)
    assert followed(mesh)[-1] == DONE
    assert asked(mesh, f"/evaluation/{ID}") == 21
    assert 2 <= asked(mesh, EVENTS) <= 5, "a stream is tried again, but seldom"


def test_an_evaluation_that_has_ended_needs_no_stream(mesh: FakeMesh) -> None:
    mesh.on(f"/evaluation/{ID}", Answer(200, DONE))
    assert followed(mesh) == [DONE]
    assert asked(mesh, EVENTS) == 0


def test_an_unknown_evaluation_is_said(mesh: FakeMesh) -> None:
    mesh.on(f"/evaluation/{ID}", problem(404, "Not Found", "No live node knows it."))
    with pytest.raises(ClientError, match="No live node knows it"):
        followed(mesh)


@pytest.fixture
def live_mesh(mesh: FakeMesh) -> FakeMesh:
    mesh.on(f"/evaluation/{ID}", Answer(200, RUNNING), Answer(200, DONE))
    mesh.on(
        EVENTS,
        stream(
            ("n.1", "module", result("a.py", HALF)),
            ("n.2", "module", result("b.py", DONE)),
            ("n.3", "done", state(DONE)),
        ),
    )
    return mesh


def test_a_pipe_gets_one_plain_line_for_each_change(live_mesh: FakeMesh) -> None:
    console = Console(file=io.StringIO(), highlight=False, width=160)
    assert watch(MeshClient([live_mesh.url]), ID, console) == DONE
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "[1/2] p a.py passed (1 passed, 0.31 s on 127.0.0.1:5001)",
        "[2/2] p b.py failed (1 failed, 0.31 s on 127.0.0.1:5001)",
        "p done (10.00 of 20)",
    ]


def test_a_terminal_gets_a_picture_that_is_gone_at_the_end(live_mesh: FakeMesh) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=100, height=20)
    assert watch(MeshClient([live_mesh.url]), ID, console) == DONE
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "modules" in written
    assert "\x1b[?25h" in written, "the cursor is shown again"
    assert written.rindex("\x1b[2K") > written.rindex("modules"), "the last picture is wiped out"
