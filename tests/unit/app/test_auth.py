"""Who may do what: bearer tokens on the public paths, signatures on the internal ones."""

import hashlib
from pathlib import Path

import pytest
from flask import Response, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from testmesh.app.auth import internal_blueprint, signed_chunks, streams_body
from testmesh.app.factory import create_app
from testmesh.app.views import json_answer
from testmesh.errors import ConflictError
from testmesh.settings import Settings
from testmesh.signing import ANSWER_HEADER, RequestSigner, RequestVerifier
from tests.support.fake_node import KNOWN_ID, FakeNode, add_finished
from tests.unit.app.test_submissions import problem

SECRET, NODE = "a secret of the mesh", "10.0.0.1:5001"
API, READ = {"Authorization": "Bearer api-token"}, {"Authorization": "Bearer read-token"}


@pytest.fixture
def guarded(node: FakeNode, tmp_path: Path) -> FlaskClient:
    add_finished(node)
    settings = Settings(data_dir=tmp_path, api_token="api-token", read_token="read-token")
    return create_app(node, settings).test_client()


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer other", "Basic api-token", "Bearer read-token", "Bearer ü"]
)
def test_changing_something_needs_the_api_token(guarded: FlaskClient, authorization: str) -> None:
    headers = {"Authorization": authorization.encode().decode("latin-1")}
    for answer in (
        guarded.post("/evaluation", headers=headers),
        guarded.delete(f"/evaluation/{KNOWN_ID}", headers=headers),
        guarded.post(f"/evaluation/{KNOWN_ID}/rerun", headers=headers),
        guarded.post("/nothing", headers=headers),
    ):
        assert "MESH_API_TOKEN" in problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_reading_evaluations_needs_a_token_and_the_rest_does_not(guarded: FlaskClient) -> None:
    for path in ("/evaluation", f"/evaluation/{KNOWN_ID}", f"/evaluation/{KNOWN_ID}/tests"):
        assert "MESH_READ_TOKEN" in problem(guarded.get(path), 401)
        assert guarded.get(path, headers=READ).status_code == 200
        assert guarded.get(path, headers=API).status_code == 200
    for path in ("/stats", "/network", "/peers", "/health", "/openapi/swagger"):
        assert guarded.get(path).status_code == 200


def test_every_public_path_is_guarded_as_the_contract_says(guarded: FlaskClient) -> None:
    """Whatever route is added: a method that changes something, or a path below /evaluation, is not open."""
    for rule in guarded.application.url_map.iter_rules():
        path = rule.rule.replace("<string:id>", KNOWN_ID)
        if "<" in path or path == "/dashboard/logout":  # who leaves needs no token
            continue
        for method in (rule.methods or set()) - {"OPTIONS"}:
            is_open = method in ("GET", "HEAD") and path.split("/")[1] != "evaluation"
            answer = guarded.open(path, method=method)
            assert (answer.status_code != 401) == is_open, (method, path)
            is_page = path.startswith("/dashboard/")  # whose refusals are for people to read
            assert is_open or is_page or answer.headers["WWW-Authenticate"] == 'Bearer realm="testmesh"'


@pytest.mark.parametrize(
    "path", ["/%65valuation", "//evaluation", "/./evaluation", "/evaluation/", "/evaluation//x", "/x/../evaluation"]
)
def test_no_other_spelling_opens_evaluations(guarded: FlaskClient, path: str) -> None:
    answer = guarded.get(environ_overrides={"PATH_INFO": path, "RAW_URI": path})
    assert answer.status_code in (301, 308, 401, 404)
    assert KNOWN_ID not in answer.get_data(as_text=True)


def test_the_api_token_opens_what_changes_something(guarded: FlaskClient) -> None:
    body = {"projects": ["https://github.com/a/b"]}
    assert guarded.post("/evaluation", json=body, headers=API).status_code == 202
    assert guarded.post(f"/evaluation/{KNOWN_ID}/rerun", headers=API).status_code == 202


def test_without_tokens_everything_is_open(client: FlaskClient) -> None:
    assert client.get("/evaluation").status_code == 200


# Between nodes ------------------------------------------------------------------------------


class Peer:
    """Another node's client."""

    def __init__(self, client: FlaskClient, secret: str = SECRET) -> None:
        self._client = client
        self._signer = RequestSigner(secret, NODE)

    def send(self, method: str, target: str, body: bytes = b"", sent: bytes | None = None) -> TestResponse:
        """Sign `body` and send it, or something else in its place; once more after a challenge."""
        for _ in range(2):
            headers = self._signer.headers_for(method, target, hashlib.sha256(body).hexdigest()) or {}
            answer = self._client.open(target, method=method, data=body if sent is None else sent, headers=headers)
            if answer.status_code != 401 or not self._signer.learn(answer.headers.get("WWW-Authenticate")):
                break
        self.believed = self._signer.verify_answer(
            headers, answer.status_code, answer.get_data(), answer.headers.get(ANSWER_HEADER)
        )
        return answer


@pytest.fixture
def mesh_client(node: FakeNode, tmp_path: Path) -> FlaskClient:
    internal = internal_blueprint(RequestVerifier(SECRET, NODE), max_body=1000)

    @internal.route("/join", methods=["POST"])
    def join() -> Response:
        return json_answer({"got": request.get_data(as_text=True), "query": request.args.get("a")})

    @internal.route("/conflict")
    def conflict() -> Response:
        raise ConflictError("It has ended; there is nothing to do.")

    @internal.route("/archive/<name>", methods=["PUT"])
    @streams_body
    def archive(name: str) -> Response:
        return json_answer({name: sum(len(chunk) for chunk in signed_chunks(5000))})

    settings = Settings(data_dir=tmp_path, api_token="api-token")
    return create_app(node, settings, internal=internal).test_client()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"])
@pytest.mark.parametrize("path", ["/join", "/join/", "/join/x/y", "/archive", "/archive/a", "/%6aoin", "/conflict"])
def test_whatever_is_unsigned_is_401_with_a_challenge(mesh_client: FlaskClient, method: str, path: str) -> None:
    answer = mesh_client.open(path, method=method, headers=API)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Mesh nonce=")
    assert ANSWER_HEADER not in answer.headers
    if method != "HEAD":
        problem(answer, 401)


def test_a_doubled_slash_is_no_way_around(mesh_client: FlaskClient) -> None:
    problem(mesh_client.get(environ_overrides={"PATH_INFO": "//join", "RAW_URI": "//join"}), 401)


def test_a_signed_request_is_answered_with_a_signed_answer(mesh_client: FlaskClient) -> None:
    peer = Peer(mesh_client)
    answer = peer.send("POST", "/join?a=%20b%2Fc", b"hello")
    assert answer.get_json() == {"got": "hello", "query": " b/c"}
    assert peer.believed


def test_refusals_of_a_signed_request_are_signed_too(mesh_client: FlaskClient) -> None:
    peer = Peer(mesh_client)
    for method, target, status in (("GET", "/conflict", 409), ("GET", "/join", 405), ("GET", "/join/x", 404)):
        problem(peer.send(method, target), status)
        assert peer.believed


def test_another_secret_stays_out(mesh_client: FlaskClient) -> None:
    problem(Peer(mesh_client, "another secret").send("POST", "/join"), 401)


def test_another_body_than_the_signed_one_is_refused(mesh_client: FlaskClient) -> None:
    problem(Peer(mesh_client).send("POST", "/join", b"hello", sent=b"hullo"), 400)
    problem(Peer(mesh_client).send("PUT", "/archive/x", b"hello", sent=b"hullo"), 400)


def test_a_message_is_bounded_and_a_stream_by_its_own_bound(mesh_client: FlaskClient) -> None:
    peer = Peer(mesh_client)
    problem(peer.send("POST", "/join", b"x" * 1001), 413)
    assert peer.send("PUT", "/archive/a", b"x" * 5000).get_json() == {"a": 5000}
    problem(peer.send("PUT", "/archive/a", b"x" * 5001), 413)


def test_without_a_secret_no_peer_is_heard(node: FakeNode, tmp_path: Path) -> None:
    internal = internal_blueprint(None)
    internal.add_url_rule("/kill", view_func=lambda: "stopped")
    client = create_app(node, Settings(data_dir=tmp_path), internal=internal).test_client()
    assert "MESH_SECRET" in problem(client.get("/kill"), 401)


def test_public_paths_need_no_signature(mesh_client: FlaskClient) -> None:
    assert mesh_client.get("/health").status_code == 200
    problem(mesh_client.get("/joined"), 404)
