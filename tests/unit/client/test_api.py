import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.formparser import parse_form_data

from testmesh.client.api import ClientError, MeshClient, find_mesh
from testmesh.client.multipart import Multipart
from testmesh.clock import FakeClock
from tests.unit.client.fake_mesh import ID, Answer, FakeMesh, evaluation, fake_mesh, problem


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
    mesh.on("/stats", passing, passing, Answer(200, {"all": {}}))
    assert client_of(clock, mesh.url).stats() == {"all": {}}
    assert len(mesh.requests) == 3


def test_the_wait_that_is_asked_for_is_kept(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/stats", problem(429, "Too Many", "wait.", Retry_After="7"), Answer(200, {}))
    before = clock.monotonic()
    client_of(clock, mesh.url).stats()
    assert clock.monotonic() - before == 7


def test_patience_ends_with_the_last_reason(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/stats", problem(503, "Draining", "Ask another node."))
    with pytest.raises(ClientError, match=r"Draining: Ask another node\. \(503\)"):
        client_of(clock, mesh.url).stats()


def test_where_nobody_listens_the_message_says_how_to_start(clock: FakeClock) -> None:
    with fake_mesh() as gone:
        pass
    before = clock.monotonic()
    with pytest.raises(ClientError, match=r"boot\.sh"):
        client_of(clock, gone.url).stats()
    assert clock.monotonic() - before <= 3


def test_a_refusal_is_not_repeated(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on(f"/evaluation/{ID}", problem(409, "Conflict", "It has ended."))
    with pytest.raises(ClientError, match=r"Conflict: It has ended\. \(409\)"):
        client_of(clock, mesh.url).cancel(ID)
    assert [request.method for request in mesh.requests] == ["DELETE"]


def test_a_lost_entrance_is_replaced_by_a_node_it_named(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/stats", Answer(200, {"from": "the other"}))
    with fake_mesh() as entrance:
        entrance.on("/peers", Answer(200, [mesh.url.removeprefix("http://")]))
        client = client_of(clock, entrance.url)
        client.learn_nodes()
    assert client.stats() == {"from": "the other"}
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
    mesh.on("/stats", Answer(200, {}))
    client_of(clock, mesh.url, token="of-the-mesh").stats()
    client_of(clock, mesh.url).stats()
    assert [request.headers.get("Authorization") for request in mesh.requests] == ["Bearer of-the-mesh", None]


def test_a_redirect_is_not_followed(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/stats", Answer(302, {}, {"Location": f"{mesh.url}/elsewhere"}))
    client_of(clock, mesh.url, token="secret-token").stats()
    assert [request.target for request in mesh.requests] == ["/stats"]


def test_an_id_cannot_name_another_path(mesh: FakeMesh, clock: FakeClock) -> None:
    with pytest.raises(ClientError):
        client_of(clock, mesh.url).evaluation("../stats?x=1")
    assert mesh.requests[0].target == "/evaluation/..%2Fstats%3Fx%3D1"


def test_an_answer_that_is_no_mesh_s_is_said(mesh: FakeMesh, clock: FakeClock) -> None:
    mesh.on("/stats", Answer(500, "oops"))
    with pytest.raises(ClientError, match="answered 500"):
        client_of(clock, mesh.url).stats()


def test_a_mesh_is_found_among_other_servers(mesh: FakeMesh) -> None:
    mesh.on("/health", Answer(503, {"status": "draining", "address": "127.0.0.1:5001"}))
    with fake_mesh() as other:
        other.on("/health", Answer(200, {"status": "ok"}))
        assert find_mesh([other.url, mesh.url]) == mesh.url
        assert find_mesh([other.url]) is None
