import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.formparser import parse_form_data

from testmesh.client.api import ClientError, MeshClient, NoStreamError, find_mesh
from testmesh.client.multipart import Multipart
from testmesh.client.sse import Event
from testmesh.clock import FakeClock
from tests.unit.client.fake_mesh import ID, Answer, FakeMesh, evaluation, fake_mesh, problem, stream

NODES = Answer(200, {"nodes": []})


@pytest.fixture
def mesh() -> Iterator[FakeMesh]:
    with fake_mesh() as mesh:
        yield mesh


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def client_of(clock: FakeClock, *urls: str, token: str | None = None) -> MeshClient:
    return MeshClient(urls, token, sleep=clock.advance, monotonic=clock.monotonic)


def test_an_evaluation_is_read(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on(f"/evaluation/{ID}", Answer(200, evaluation("done", {})))
    assert client_of(clock, mesh.url).evaluation(ID)["status"] == "done"


@pytest.mark.parametrize(
    "passing", [None, problem(503, "Draining", "ask another."), problem(502, "Bad Gateway", "again.")]
)
def test_a_read_is_repeated_until_it_succeeds(mesh: FakeMesh, clock: FakeClock, passing: Answer | None) -> None:
    mesh.on("/nodes", passing, passing, Answer(200, {"nodes": []}))
    assert client_of(clock, mesh.url).nodes() == []
    assert len(mesh.requests) == 3


def test_the_wait_that_is_asked_for_is_kept(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/nodes", problem(429, "Too Many", "wait.", Retry_After="7"), NODES)
    before = clock.monotonic()
    client_of(clock, mesh.url).nodes()
    assert clock.monotonic() - before == 7


def test_patience_ends_with_the_last_reason(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/nodes", problem(503, "Draining", "Ask another node."))
    with pytest.raises(ClientError, match=r"Draining: Ask another node\. \(503\)"):
        client_of(clock, mesh.url).nodes()


def test_where_nobody_listens_the_message_says_how_to_start(clock: FakeClock) -> None:
    with fake_mesh() as gone:
        pass
    before = clock.monotonic()
    with pytest.raises(ClientError, match=r"boot\.sh"):
        client_of(clock, gone.url).nodes()
    assert clock.monotonic() - before <= 3


def test_a_refusal_is_not_repeated(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on(f"/evaluation/{ID}", problem(409, "Conflict", "It has ended."))
    with pytest.raises(ClientError, match=r"Conflict: It has ended\. \(409\)"):
        client_of(clock, mesh.url).cancel(ID)
    assert [request.method for request in mesh.requests] == ["DELETE"]


def test_a_lost_entrance_is_replaced_by_a_node_it_named(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/nodes", Answer(200, {"nodes": [{"address": "the other"}]}))
    with fake_mesh() as entrance:
        entrance.on("/peers", Answer(200, [mesh.url.removeprefix("http://")]))
        client = client_of(clock, entrance.url)
        client.learn_nodes()
    assert client.nodes() == [{"address": "the other"}]
    assert client.url == mesh.url


def test_a_repeated_submission_has_the_same_key_and_body(mesh: FakeMesh, clock: FakeClock, tmp_path: Path) -> None:
    mesh.on("/evaluation", None, Answer(202, {"id": ID}))
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"x" * 700_000)
    assert client_of(clock, mesh.url).submit_archive(Multipart([("file", "a.zip", archive)])) == ID
    first, second = mesh.requests
    assert first.body == second.body
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_two_submissions_have_two_keys(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/evaluation", Answer(202, {"id": ID}))
    client = client_of(clock, mesh.url)
    for _ in range(2):
        client.submit_repositories(["https://github.com/o/r"], {}, None)
    assert len({request.headers["Idempotency-Key"] for request in mesh.requests}) == 2


def test_an_upload_is_read_as_a_form(mesh: FakeMesh, clock: FakeClock, tmp_path: Path) -> None:
    mesh.on("/evaluation", Answer(202, {"id": ID}))
    for name in ("a.zip", "t.zip"):
        (tmp_path / name).write_bytes(f"content of {name}".encode())
    body = Multipart([("file", 'ü"\r\n.zip', tmp_path / "a.zip"), ("tests", "t.zip", tmp_path / "t.zip")], {"a": 1})
    client_of(clock, mesh.url).submit_archive(body)
    request = mesh.requests[0]
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": request.headers["Content-Type"],
        "CONTENT_LENGTH": request.headers["Content-Length"],
        "wsgi.input": io.BytesIO(request.body),
    }
    _, form, files = parse_form_data(environ)
    assert files["file"].read() == b"content of a.zip"
    assert "\n" not in str(files["file"].filename)
    assert files["tests"].read() == b"content of t.zip"
    assert json.loads(form["options"]) == {"a": 1}


def test_repositories_are_sent_with_options_and_token(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/evaluation", Answer(202, {"id": ID}))
    client_of(clock, mesh.url).submit_repositories(["https://github.com/o/r"], {"module_timeout_s": 5}, "ghp_x")
    assert json.loads(mesh.requests[0].body) == {
        "projects": ["https://github.com/o/r"],
        "options": {"module_timeout_s": 5},
        "auth_token": "ghp_x",
    }


def test_the_token_is_sent_and_a_netrc_is_not(
    mesh: FakeMesh, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    mesh.on("/nodes", NODES)
    client_of(clock, mesh.url, token="of-the-mesh").nodes()
    client_of(clock, mesh.url).nodes()
    assert [request.headers.get("Authorization") for request in mesh.requests] == ["Bearer of-the-mesh", None]


def test_a_redirect_is_not_followed(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/nodes", Answer(302, {"nodes": []}, {"Location": f"{mesh.url}/elsewhere"}))
    client_of(clock, mesh.url, token="secret-token").nodes()
    assert [request.target for request in mesh.requests] == ["/nodes?history=0"]


def test_an_id_cannot_name_another_path(mesh: FakeMesh, clock: FakeClock) -> None:
    with pytest.raises(ClientError):
        client_of(clock, mesh.url).evaluation("../stats?x=1")
    assert mesh.requests[0].target == "/evaluation/..%2Fstats%3Fx%3D1"


def test_an_answer_that_is_no_mesh_s_is_said(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/nodes", Answer(500, "oops"))
    with pytest.raises(ClientError, match="answered 500"):
        client_of(clock, mesh.url).nodes()


@pytest.mark.parametrize("strange", [[], {}, "text", {"evaluations": []}])
def test_json_of_another_service_is_said(mesh: FakeMesh, clock: FakeClock, strange: object) -> None:
    mesh.on("/nodes", Answer(200, strange))
    mesh.on(f"/evaluation/{ID}", Answer(200, strange))
    client = client_of(clock, mesh.url)
    for ask in (client.nodes, lambda: client.evaluation(ID)):
        with pytest.raises(ClientError, match="not as a mesh does"):
            ask()


def test_of_several_urls_the_next_is_asked_at_once(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/nodes", NODES)
    with fake_mesh() as first, fake_mesh() as second:
        pass
    before = clock.monotonic()
    assert client_of(clock, first.url, second.url, mesh.url).nodes() == []
    assert clock.monotonic() == before


def test_an_export_comes_as_it_is(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on(f"/evaluation/{ID}/results.csv", Answer(200, "\ufeffproject\r\n".encode()))
    assert client_of(clock, mesh.url).export(ID, "results.csv") == "\ufeffproject\r\n".encode()


def test_events_are_read_with_the_last_id(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on(f"/evaluation/{ID}/events", stream(("a.1", "project", {"status": "running"}), ("a.2", "done", {})))
    client = client_of(clock, mesh.url, token="the-token")
    events = [event for bunch in client.events(ID, "a.0") for event in bunch]
    assert events == [Event("project", {"status": "running"}, "a.1"), Event("done", {}, "a.2")]
    headers = mesh.requests[0].headers
    assert (headers["Last-Event-ID"], headers["Authorization"]) == ("a.0", "Bearer the-token")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        problem(404, "Not Found", "No such path."),
        problem(503, "Busy", "Too many streams."),
        Answer(204, b"", {"Content_Type": "text/event-stream"}),
        Answer(200, {"id": ID}, {"Content_Type": "application/json"}),
        Answer(200, b"data: [1\n\n", {"Content_Type": "text/event-stream"}),
        Answer(200, b"data: 1\n\n", {"Content_Type": "text/event-stream"}),
    ],
)
def test_where_there_are_no_events_it_is_said_so(mesh: FakeMesh, clock: FakeClock, answer: Answer | None) -> None:
    mesh.on(f"/evaluation/{ID}/events", answer)
    with pytest.raises(NoStreamError):
        list(client_of(clock, mesh.url).events(ID, None))


def test_a_mesh_is_found_among_other_servers(mesh: FakeMesh) -> None:
    mesh.on("/health", Answer(503, {"status": "draining", "address": "127.0.0.1:5001"}))
    with fake_mesh() as other:
        other.on("/health", Answer(200, {"status": "ok"}))
        assert find_mesh([other.url, mesh.url]) == mesh.url
        assert find_mesh([other.url]) is None
