"""POST /evaluation, cancel and rerun: what is handed to the node, and every refusal with nothing left behind."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from testmesh.app.factory import create_app
from testmesh.clock import FakeClock
from testmesh.errors import (
    ConflictError,
    DiskFullError,
    DrainingError,
    MalformedError,
    NothingToTestError,
    QueueFullError,
    TestmeshError,
    TooLargeError,
)
from testmesh.model import Options, Service
from testmesh.settings import Settings
from tests.support.fake_node import KNOWN_ID, FakeNode, add_finished

URL = "https://github.com/owner/repo"
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'


def problem(answer: TestResponse, status: int) -> str:
    """Check that the answer is this problem, and give its sentence."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    body = answer.get_json()
    assert list(body) == ["type", "title", "status", "detail"]
    assert body["status"] == status
    assert len(body["detail"]) > 15
    return str(body["detail"])


def post_raw(client: FlaskClient, body: bytes, **headers: str) -> TestResponse:
    kind = headers.pop("content_type", "multipart/form-data; boundary=b")
    return client.post("/evaluation", data=body, content_type=kind, headers=headers)


def post_json(client: FlaskClient, body: bytes) -> TestResponse:
    return post_raw(client, body, content_type="application/json")


def post_zip(client: FlaskClient, **parts: Any) -> TestResponse:
    return client.post("/evaluation", data={"file": (io.BytesIO(b"PK content"), "my project.zip"), **parts})


def test_an_upload_goes_to_the_node_with_its_name_and_options(client: FlaskClient, node: FakeNode) -> None:
    services = '[{"command": "python3 DHT.py", "ready": {"port": 5000, "timeout_s": 20}}]'
    answer = post_zip(
        client,
        tests=(io.BytesIO(b"staff"), "tests.zip"),
        options=f'{{"module_timeout_s": 5, "install_timeout_s": 60.5, "services": {services}}}',
    )
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/evaluation/{answer.get_json()['id']}"
    (submission,) = node.submissions
    assert (submission.name, submission.content, submission.tests) == ("my project", b"PK content", b"staff")
    assert submission.options == Options(5, 60.5, (Service("python3 DHT.py", 5000, 20),))


def test_what_is_not_given_are_the_defaults_within_the_nodes_maxima(node: FakeNode, tmp_path: Path) -> None:
    client = create_app(node, Settings(data_dir=tmp_path, module_timeout_max_s=60)).test_client()
    assert post_zip(client).status_code == 202
    assert node.submissions[0].options == Options(module_timeout_s=60)
    problem(post_zip(client, options='{"module_timeout_s": 61}'), 400)


def test_urls_go_to_the_node_with_token_and_options(client: FlaskClient, node: FakeNode) -> None:
    body = {"auth_token": "ghp_abc", "projects": [URL, URL + "/tree/main"], "options": {"services": []}}
    assert client.post("/evaluation", json=body).status_code == 202
    (submission,) = node.submissions
    assert (submission.urls, submission.token) == ((URL, URL + "/tree/main"), "ghp_abc")
    assert submission.options.services == ()


def test_files_are_private_while_they_are_in_the_incoming_folder(client: FlaskClient, node: FakeNode) -> None:
    modes = []

    def look(upload: Path, *_: Any) -> str:
        modes.append(upload.stat().st_mode & 0o777)
        raise MalformedError("This is not a zip; send one.")

    node.submit_upload = look  # type: ignore[method-assign,assignment]
    problem(post_zip(client), 400)
    assert modes == [0o600]
    assert list(node.incoming.iterdir()) == []


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a.zip", "a"),
        ("A.ZIP", "A"),
        ("folder/../../etc/x.zip", "x"),
        (r"C:\\work\\lab 1.zip", "lab 1"),
        ("..", "project"),
        (".zip", "project"),
        ("a\x7fb.zip", "ab"),
        ("x" * 500, "x" * 100),
        ("proj.tar", "proj.tar"),
    ],
)
def test_the_projects_name_is_the_last_part_of_the_file_name(
    client: FlaskClient, node: FakeNode, sent: str, name: str
) -> None:
    client.post("/evaluation", data={"file": (io.BytesIO(b"x"), sent)})
    assert node.submissions[0].name == name


def test_a_digest_tells_bodies_apart_but_not_spellings_of_options(client: FlaskClient, node: FakeNode) -> None:
    post_zip(client)
    post_zip(client, options="{}")
    post_zip(client, options=' {"module_timeout_s": 120.0} ')
    post_zip(client, options='{"module_timeout_s": 7}')
    post_zip(client, tests=(io.BytesIO(b"x"), "t.zip"))
    client.post("/evaluation", data={"file": (io.BytesIO(b"other"), "my project.zip")})
    client.post("/evaluation", json={"projects": [URL]})
    digests = [submission.digest for submission in node.submissions]
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests)) == 5


def test_an_idempotency_key_is_passed_on_and_a_conflict_is_409(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "lab 1 / group 7"}
    first = client.post("/evaluation", json={"projects": [URL]}, headers=headers)
    again = client.post("/evaluation", json={"projects": [URL]}, headers=headers)
    assert first.get_json() == again.get_json()
    problem(client.post("/evaluation", json={"projects": [URL + "2"]}, headers=headers), 409)


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9", "a\tb"])
def test_a_bad_idempotency_key_is_refused(client: FlaskClient, key: str) -> None:
    answer = client.post("/evaluation", json={"projects": [URL]}, headers={"Idempotency-Key": key})
    assert "Idempotency-Key" in problem(answer, 400)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"no multipart at all", 400, id="garbage"),
        pytest.param(HEAD + b"truncated", 400, id="truncated"),
        pytest.param(HEAD + b"x\r\n--b", 400, id="no end"),
        pytest.param(b"--b--\r\n", 400, id="no parts"),
        pytest.param(
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', 400, id="no filename"
        ),
        pytest.param(HEAD.replace(b"a.zip", b"") + b"x\r\n--b--\r\n", 400, id="empty filename"),
        pytest.param(HEAD.replace(b'"file"', b'"other"') + b"x\r\n--b--\r\n", 400, id="unknown part"),
        pytest.param(HEAD.replace(b'name="file"; ', b"") + b"x\r\n--b--\r\n", 400, id="part without a name"),
        pytest.param(HEAD + b"x\r\n" + HEAD + b"y\r\n--b--\r\n", 400, id="two files"),
        pytest.param(HEAD.replace(b'"file"', b'"tests"') + b"x\r\n--b--\r\n", 400, id="tests alone"),
        pytest.param(b"--b\r\nX: y\r\n\r\nx\r\n--b--\r\n", 400, id="no disposition"),
        pytest.param(HEAD.replace(b"a.zip", b"\xff\xfe") + b"x\r\n--b--\r\n", 400, id="file name not UTF-8"),
        pytest.param(HEAD + b"x" * (1024 * 1024 + 1) + b"\r\n--b--\r\n", 413, id="file over the limit"),
        pytest.param(b"--b\r\n" + b"X: " + b"y" * 3_000_000, 413, id="endless part header"),
        pytest.param((HEAD.replace(b'"file"', b'"options"') + b"{}\r\n") * 2 + b"--b--\r\n", 400, id="two options"),
    ],
)
def test_a_bad_multipart_body_is_refused_and_leaves_nothing(
    client: FlaskClient, node: FakeNode, body: bytes, status: int
) -> None:
    problem(post_raw(client, body), status)
    assert node.submissions == []
    assert list(node.incoming.iterdir()) == []


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "x" * 71, "; boundary=\xfc"])
def test_a_bad_boundary_is_refused(client: FlaskClient, boundary: str) -> None:
    problem(post_raw(client, b"--b--", content_type=f"multipart/form-data{boundary}"), 400)


@pytest.mark.parametrize(
    "options",
    [
        "{",
        "[]",
        '"text"',
        "null",
        "NaN",
        '{"module_timeout_s": NaN}',
        '{"module_timeout_s": Infinity}',
        '{"module_timeout_s": 1e999}',
        '{"module_timeout_s": ' + "9" * 5000 + "}",
        '{"module_timeout_s": "5"}',
        '{"module_timeout_s": true}',
        '{"module_timeout_s": 0}',
        '{"module_timeout_s": -1}',
        '{"module_timeout_s": 901}',
        '{"module_timeout_s": 5, "module_timeout_s": 6}',
        '{"install_timeout_s": 1801}',
        '{"install_timeout_s": [1]}',
        '{"nodes": 5}',
        '{"services": {}}',
        '{"services": [{"command": ""}]}',
        '{"services": [{"command": "a\\nb"}]}',
        '{"services": [{"command": 5}]}',
        '{"services": [{"command": "x", "ready": {"port": 0}}]}',
        '{"services": [{"command": "x", "ready": {"port": 65536}}]}',
        '{"services": [{"command": "x", "ready": {"port": 5000.0}}]}',
        '{"services": [{"command": "x", "ready": {"port": "5000"}}]}',
        '{"services": [{"command": "x", "ready": {"port": 5000, "timeout_s": 121}}]}',
        '{"services": [{"command": "x", "shell": true}]}',
        json.dumps({"services": [{"command": "x" * 1001}]}),
        json.dumps({"services": [{"command": "x"}] * 9}),
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"services": [{"command": "\\ud800"}]}',
    ],
    ids=lambda text: text[:60],
)
def test_bad_options_are_refused_in_either_kind_of_body(client: FlaskClient, node: FakeNode, options: str) -> None:
    problem(post_zip(client, options=options), 400)
    if options != "null":  # which in a JSON body is no options
        problem(post_json(client, f'{{"projects": ["{URL}"], "options": {options}}}'.encode()), 400)
    assert node.submissions == []
    assert list(node.incoming.iterdir()) == []


def test_a_refusal_names_the_field(client: FlaskClient) -> None:
    assert "module_timeout_s" in problem(post_zip(client, options='{"module_timeout_s": "5"}'), 400)
    assert "'nodes'" in problem(post_zip(client, options='{"nodes": 5}'), 400)
    assert "callback_url" in problem(post_zip(client, options='{"callback_url": 5}'), 400)


# Callbacks ----------------------------------------------------------------------------------


def callback(url: str) -> str:
    return json.dumps({"callback_url": url})


def client_with(node: FakeNode, tmp_path: Path, **settings: Any) -> FlaskClient:
    return create_app(node, Settings(data_dir=tmp_path, **settings), clock=FakeClock()).test_client()


def test_a_callback_that_nobody_could_sign_is_refused_with_what_to_set(client: FlaskClient, node: FakeNode) -> None:
    said = problem(post_zip(client, options=callback("https://grades.example.org/")), 400)
    assert "MESH_CALLBACK_SECRET" in said
    with_token = client_with(node, node.incoming, api_token="a-token-of-8")  # of which no receiver is to see a trace
    with_token.environ_base["HTTP_AUTHORIZATION"] = "Bearer a-token-of-8"
    problem(post_zip(with_token, options=callback("https://grades.example.org/")), 400)
    assert node.submissions == []


def test_a_callback_is_taken_where_there_is_a_key(node: FakeNode, tmp_path: Path) -> None:
    client = client_with(node, tmp_path, callback_secret="a-secret-of-8")
    url = "https://grades.example.org/hook?course=3"
    assert post_zip(client, options=callback(url)).status_code == 202
    body = json.dumps({"projects": [URL], "options": {"callback_url": url}}).encode()
    assert post_json(client, body).status_code == 202
    assert [found.options.callback_url for found in node.submissions] == [url, url]


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "localhost"])
def test_a_callback_to_an_address_that_is_not_public_is_refused(node: FakeNode, tmp_path: Path, host: str) -> None:
    client = client_with(node, tmp_path, callback_secret="a-secret-of-8")
    assert "no public address" in problem(post_zip(client, options=callback(f"http://{host}:8000/")), 400)
    assert node.submissions == []
    allowing = client_with(node, tmp_path, callback_secret="a-secret-of-8", callback_private=True)
    expected = 400 if host == "169.254.169.254" else 202
    assert post_zip(allowing, options=callback(f"http://{host}:8000/")).status_code == expected


def test_the_callback_is_part_of_what_an_idempotency_key_stands_for(node: FakeNode, tmp_path: Path) -> None:
    client = client_with(node, tmp_path, callback_secret="a-secret-of-8")
    for url in ("https://a.example.org/", "https://b.example.org/"):
        post_zip(client, options=callback(url))
    post_zip(client)
    assert len({found.digest for found in node.submissions}) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        '{"projects": ["https://github.com/ö/r"]}'.encode("latin-1"),
        b"{}",
        b'{"projects": []}',
        b'{"projects": "https://github.com/a/b"}',
        b'{"projects": [5]}',
        b'{"projects": [""]}',
        b'{"projects": [null]}',
        b'{"projects": ["https://github.com/a/b"], "auth_token": 5}',
        b'{"projects": ["https://github.com/a/b"], "auth_token": ""}',
        b'{"projects": ["https://github.com/a/b"], "auth_token": "a b"}',
        b'{"projects": ["https://github.com/a/b"], "auth_token": "a\\r\\nHost: x"}',
        b'{"projects": ["https://github.com/a/b"], "extra": 1}',
        b'{"projects": ["https://github.com/a/b"], "projects": []}',
        b'{"projects": ["file:///etc/passwd"]}',
        b'{"projects": ["http://127.0.0.1/a/b"]}',
        json.dumps({"projects": [URL] * 1001}).encode(),
        json.dumps({"projects": [URL + "x" * 2000]}).encode(),
    ],
    ids=lambda body: body[:60].decode("latin-1"),
)
def test_a_bad_json_body_is_refused(client: FlaskClient, node: FakeNode, body: bytes) -> None:
    problem(post_json(client, body), 400)
    assert node.submissions == []


def test_a_token_is_in_no_answer(client: FlaskClient) -> None:
    body = b'{"projects": ["https://github.com/a/b"], "auth_token": "ghp secret"}'
    assert "ghp" not in problem(post_json(client, body), 400)


def test_a_json_body_over_a_mebibyte_is_413(client: FlaskClient) -> None:
    problem(post_json(client, b'{"projects": ["' + b"x" * 1024 * 1024 + b'"]}'), 413)


def test_ten_gibibytes_are_refused_before_anything_is_read(client: FlaskClient, node: FakeNode) -> None:
    class Unread(io.RawIOBase):
        def readinto(self, _: Any) -> int:
            raise AssertionError("the body was read")

    environ = {"CONTENT_LENGTH": str(10 * 1024**3), "wsgi.input": Unread()}
    answer = client.post("/evaluation", content_type="multipart/form-data; boundary=b", environ_overrides=environ)
    problem(answer, 413)
    problem(client.post("/evaluation", content_type="application/json", environ_overrides=environ), 413)


@pytest.mark.parametrize("kind", ["text/plain", "application/zip", "application/x-www-form-urlencoded", "x"])
def test_another_content_type_is_415(client: FlaskClient, kind: str) -> None:
    problem(post_raw(client, b"a=b", content_type=kind), 415)


def test_a_compressed_body_is_415(client: FlaskClient) -> None:
    answer = client.post("/evaluation", json={"projects": [URL]}, headers={"Content-Encoding": "gzip"})
    problem(answer, 415)


def test_nothing_at_all_is_400(client: FlaskClient) -> None:
    assert "no body" in problem(client.post("/evaluation"), 400)


ADMISSION: list[tuple[TestmeshError, int]] = [
    (DrainingError("This node is leaving; use another."), 503),
    (DiskFullError("This node's disk is full; use another."), 507),
    (QueueFullError("Too many evaluations wait; come back later.", 7), 429),
]
REFUSAL: list[tuple[TestmeshError, int]] = [
    *ADMISSION,
    (MalformedError("This is not a zip; send one."), 400),
    (ConflictError("The key was used with another body."), 409),
    (TooLargeError("It has too many entries; send fewer."), 413),
    (NothingToTestError("There is no test module in it."), 422),
]


@pytest.mark.parametrize(("error", "status"), ADMISSION)
def test_a_node_that_takes_nothing_is_asked_before_the_body_is_read(
    client: FlaskClient, node: FakeNode, error: TestmeshError, status: int
) -> None:
    add_finished(node)
    node.admission = error
    answer = post_raw(client, b"not even multipart")
    assert problem(answer, status) == str(error)
    assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
    problem(client.post(f"/evaluation/{KNOWN_ID}/rerun"), status)


@pytest.mark.parametrize(("error", "status"), REFUSAL)
def test_what_the_node_refuses_leaves_nothing(
    client: FlaskClient, node: FakeNode, error: TestmeshError, status: int
) -> None:
    node.refusal = error
    assert problem(post_zip(client, tests=(io.BytesIO(b"x"), "t.zip")), status) == str(error)
    assert list(node.incoming.iterdir()) == []
    problem(client.post("/evaluation", json={"projects": [URL]}), status)


def test_an_unforeseen_error_is_a_bare_500_and_leaves_nothing(client: FlaskClient, node: FakeNode) -> None:
    node.refusal = RuntimeError("secret detail")  # type: ignore[assignment]
    answer = post_zip(client)
    assert "secret" not in problem(answer, 500)
    assert "Traceback" not in answer.text
    assert list(node.incoming.iterdir()) == []


def test_a_full_disk_while_receiving_is_507(
    client: FlaskClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("testmesh.app.uploads.tempfile.mkstemp", full)
    problem(post_zip(client), 507)


def test_cancel_and_rerun(client: FlaskClient, node: FakeNode) -> None:
    running = client.post("/evaluation", json={"projects": [URL]}).get_json()["id"]
    assert client.delete(f"/evaluation/{running}").status_code == 202
    add_finished(node)
    problem(client.delete(f"/evaluation/{KNOWN_ID}"), 409)
    again = client.post(f"/evaluation/{KNOWN_ID}/rerun?project=project-a")
    assert again.status_code == 202
    assert again.get_json()["id"] != KNOWN_ID
    problem(client.post(f"/evaluation/{KNOWN_ID}/rerun?project=other"), 404)


@pytest.mark.parametrize("evaluation_id", ["x", KNOWN_ID, KNOWN_ID.upper(), "%00", "..", "a" * 5000])
def test_an_unknown_id_is_404(client: FlaskClient, evaluation_id: str) -> None:
    problem(client.delete(f"/evaluation/{evaluation_id}"), 404)
    problem(client.post(f"/evaluation/{evaluation_id}/rerun"), 404)
    problem(client.get(f"/evaluation/{evaluation_id}"), 404)
    problem(client.get(f"/evaluation/{evaluation_id}/tests"), 404)
