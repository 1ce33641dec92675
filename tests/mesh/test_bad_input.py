"""Bad and hostile input against one real node: the right 4xx, a problem with a sentence, nothing left behind."""

import io
import json
import socket
import sqlite3
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import requests

from testmesh.app.uploads import MAX_RECEIVING
from tests.support import zips
from tests.support.github import FakeGitHub
from tests.support.mesh import RunningNode, children, mesh, wait_for

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(180)]

MIB = 1024**2
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
URL = "https://github.com/owner/repo"
KIND = "multipart/form-data; boundary=b"
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
GOOD = zips.make_zip({"p/test_a.py": zips.PASSING})
MAY_GROW = 96 * MIB  # of resident memory, at any moment: 64 threads with their buffers, and no submission held whole


@dataclass
class Victim:
    """One node, and how to look at what it keeps."""

    node: RunningNode
    github: FakeGitHub
    resident: int

    @property
    def worker(self) -> int:
        assert self.node.process is not None
        return children(self.node.process.pid)[0]

    @property
    def incoming(self) -> Path:
        return self.node.data / "incoming"

    def kept(self) -> dict[str, Any]:
        """Every file of the folders that submissions come to, every row, and what the API lists."""
        found: dict[str, Any] = {}
        for name in ("incoming", "archives", "code", "work"):
            folder = self.node.data / name
            found[name] = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
        with closing(sqlite3.connect(f"file:{self.node.data / 'mesh.db'}?mode=ro", uri=True)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            found |= {t: database.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in tables}
        found["listed"] = self.node.get("/evaluation")
        return found

    def post(self, body: bytes, kind: str | None = None, **headers: str) -> requests.Response:
        given = {"Content-Type": kind} if kind is not None else {}
        return requests.post(f"{self.node.url}/evaluation", data=body, headers=given | headers, timeout=60)

    def upload(self, archive: bytes, tests: bytes | None = None, options: str | None = None) -> requests.Response:
        files = {"file": ("class.zip", archive)} | ({"tests": ("tests.zip", tests)} if tests is not None else {})
        data = {} if options is None else {"options": options}
        return requests.post(f"{self.node.url}/evaluation", files=files, data=data, timeout=60)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.node.port), timeout=30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with FakeGitHub() as github, mesh(tmp_path_factory.mktemp("victim"), 1, MESH_GITHUB_API=github.api) as started:
        victim = Victim(started[0], github, 0)
        started[0].wait_done(started[0].submit(GOOD))
        victim.resident = resident(victim.worker, "VmRSS")
        Path(f"/proc/{victim.worker}/clear_refs").write_text("5")  # the peak from now on
        yield victim


@pytest.fixture
def victim(running: Victim) -> Iterator[Victim]:
    """Around every test: what is kept is the same afterwards, the node is well and its log has no error."""
    code = running.node.data / "code"
    wait_for(lambda: not any(code.iterdir()), what="what was graded before to be cleared away")
    before = running.kept()
    yield running
    assert wait_for(lambda: running.kept() == before, what="nothing to be left"), "never reached"
    assert running.node.get("/health")["status"] == "ok"
    log = running.node.log.read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log
    grown = resident(running.worker, "VmHWM") - running.resident
    assert grown < MAY_GROW, f"it grew by {grown / MIB:.0f} MiB"


def resident(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def check_problem(status: int, headers: Mapping[str, str], body: bytes, expected: int) -> str:
    """That it is this problem, in the form of RFC 9457; gives its sentence."""
    assert status == expected, body[:500]
    assert headers["Content-Type"] == "application/problem+json"
    problem = json.loads(body)
    assert list(problem) == ["type", "title", "status", "detail"]
    assert (problem["type"], problem["status"]) == ("about:blank", expected)
    assert problem["title"] == HTTPStatus(expected).phrase
    sentence: str = problem["detail"]
    assert 20 < len(sentence) < 500, sentence
    assert sentence[-1] in ".!?", sentence
    assert sentence.isprintable(), sentence
    assert "Traceback" not in sentence
    assert "/data_" not in sentence, "a path of the node is nobody's business"
    return sentence


def refused(answer: requests.Response, expected: int) -> str:
    return check_problem(answer.status_code, answer.headers, answer.content, expected)


# Zips ---------------------------------------------------------------------------------------

NOTHING_TO_TEST: Mapping[str, bytes] = {
    "empty zip": zips.make_zip({}),
    "folders only": zips.make_zip({"tests/": "", "tests/test_a.py/": ""}),
    "no tests": zips.make_zip({"app.py": "x = 1\n", "README.md": "hello"}),
    "tests where nobody looks": zips.make_zip(
        {
            ".hidden/test_a.py": zips.PASSING,
            "node_modules/test_a.py": zips.PASSING,
            "__MACOSX/test_a.py": zips.PASSING,
            ".git/test_a.py": zips.PASSING,
            "venv/pyvenv.cfg": "",
            "venv/test_a.py": zips.PASSING,
            "app.py": "",
        }
    ),
    "a test in another language": zips.make_zip({"test_a.js": "", "test_a.py.txt": "", "TEST_A.PY.bak": ""}),
}
TOO_LARGE = {
    "512 MiB in 0.5 MB": zips.bomb,
    "128 MiB that claim to be 1000 bytes": lambda: zips.lying_bomb(128 * MIB),
    "20 001 entries": zips.many_entries,
    "claims four thousand million entries": zips.claims_entries,
}


@pytest.mark.parametrize("name", zips.HOSTILE)
def test_a_hostile_zip_is_400(victim: Victim, name: str) -> None:
    refused(victim.upload(zips.HOSTILE[name]()), 400)


@pytest.mark.parametrize("name", ["not a zip", "nothing", "truncated", "encrypted", "parent folder", "symlink"])
def test_a_hostile_zip_of_staff_tests_is_400(victim: Victim, name: str) -> None:
    refused(victim.upload(GOOD, tests=zips.HOSTILE[name]()), 400)


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_over_a_limit_is_413(victim: Victim, name: str) -> None:
    refused(victim.upload(TOO_LARGE[name]()), 413)


def test_a_bomb_as_staff_tests_is_413(victim: Victim) -> None:
    refused(victim.upload(GOOD, tests=zips.bomb(128 * MIB)), 413)


@pytest.mark.parametrize("name", NOTHING_TO_TEST)
def test_a_zip_without_tests_is_422(victim: Victim, name: str) -> None:
    refused(victim.upload(NOTHING_TO_TEST[name]), 422)


def test_other_archives_are_no_zip(victim: Victim) -> None:
    for content in (b"\x1f\x8b\x08" + bytes(200), b"7z\xbc\xaf\x27\x1c" + bytes(200), b"Rar!\x1a\x07" + bytes(200)):
        assert "zip" in refused(victim.upload(content), 400)


# Parts --------------------------------------------------------------------------------------


def part(name: str, content: bytes, filename: str | None = "a.zip") -> bytes:
    shown = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + content + b"\r\n"


END = b"--b--\r\n"
BODIES: Mapping[str, tuple[str | None, bytes, int]] = {
    "no body and no type": (None, b"", 400),
    "no body": (KIND, b"", 400),
    "no parts": (KIND, END, 400),
    "no file": (KIND, part("options", b"{}", None) + END, 400),
    "staff tests alone": (KIND, part("tests", GOOD) + END, 400),
    "two files": (KIND, part("file", GOOD) + part("file", GOOD) + END, 400),
    "two zips of tests": (KIND, part("file", GOOD) + part("tests", GOOD) * 2 + END, 400),
    "two options": (KIND, part("file", GOOD) + part("options", b"{}", None) * 2 + END, 400),
    "a part nobody knows": (KIND, part("file", GOOD) + part("zip", GOOD) + END, 400),
    "a file without a name": (KIND, part("file", GOOD, None) + END, 400),
    "an unfinished body": (KIND, part("file", GOOD), 400),
    "another boundary": (KIND.replace("=b", "=c"), part("file", GOOD) + END, 400),
    "no boundary": ("multipart/form-data", part("file", GOOD) + END, 400),
    "a thousand parts": (KIND, part("options", b"{}", None) * 1000 + END, 400),
    "a zip as it is": ("application/zip", GOOD, 415),
    "a form": ("application/x-www-form-urlencoded", b"file=a.zip", 415),
    "text": ("text/plain", b'{"projects": []}', 415),
    "XML": ("application/xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', 415),
    "other multipart": ("multipart/mixed; boundary=b", part("file", GOOD) + END, 415),
    "a type that is none": ("\xff/;;=", GOOD, 415),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_submission_is_refused(victim: Victim, name: str) -> None:
    kind, body, status = BODIES[name]
    refused(victim.post(body, kind), status)


def test_a_compressed_body_is_415(victim: Victim) -> None:
    refused(victim.post(b"\x1f\x8b", "application/json", **{"Content-Encoding": "gzip"}), 415)


# JSON ---------------------------------------------------------------------------------------

OPTIONS = {
    "broken": '{"module_timeout_s": 5',
    "no object": "[]",
    "unknown": '{"module_timeout": 5}',
    "another case": '{"Module_Timeout_S": 5}',
    "prototype": '{"__proto__": {"module_timeout_s": 5}}',
    "NaN": '{"module_timeout_s": NaN}',
    "Infinity": '{"module_timeout_s": -Infinity}',
    "beyond a float": '{"module_timeout_s": 1e999}',
    "5000 digits": '{"module_timeout_s": ' + "9" * 5000 + "}",
    "text for a number": '{"module_timeout_s": "5"}',
    "a switch for a number": '{"module_timeout_s": true}',
    "a list for a number": '{"install_timeout_s": [300]}',
    "zero": '{"module_timeout_s": 0}',
    "negative": '{"install_timeout_s": -1}',
    "over the node's maximum": '{"module_timeout_s": 901}',
    "twice": '{"module_timeout_s": 5, "module_timeout_s": 6}',
    "services no list": '{"services": {"command": "x"}}',
    "service without a command": '{"services": [{}]}',
    "service with a NUL": r'{"services": [{"command": "a\u0000b"}]}',
    "service with a lone surrogate": r'{"services": [{"command": "a\ud800b"}]}',
    "service with a newline": r'{"services": [{"command": "a\nb"}]}',
    "service on port 0": '{"services": [{"command": "a", "ready": {"port": 0}}]}',
    "service on port 65536": '{"services": [{"command": "a", "ready": {"port": 65536}}]}',
    "a hundred services": json.dumps({"services": [{"command": "a"}] * 100}),
    "nested for ever": '{"services": ' + "[" * 100_000 + "]" * 100_000 + "}",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options_are_400_in_either_kind_of_submission(victim: Victim, name: str) -> None:
    refused(victim.upload(GOOD, options=OPTIONS[name]), 400)
    refused(victim.post(f'{{"projects": ["{URL}"], "options": {OPTIONS[name]}}}'.encode(), "application/json"), 400)
    assert victim.github.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"NaN",
        b'{"projects": NaN}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"projects": []}',
        b"{}",
        b'{"projects": "https://github.com/owner/repo"}',
        b'{"projects": [1]}',
        b'{"projects": [null]}',
        b'{"projects": [["https://github.com/owner/repo"]]}',
        b'{"projects": {"0": "https://github.com/owner/repo"}}',
        b'{"projects": [""]}',
        json.dumps({"projects": [URL], "auth_token": 5}).encode(),
        json.dumps({"projects": [URL], "auth_token": ""}).encode(),
        json.dumps({"projects": [URL], "auth_token": "a b"}).encode(),
        json.dumps({"projects": [URL], "auth_token": "a\r\nX: y"}).encode(),
        json.dumps({"projects": [URL], "auth_token": "gh\ud800p"}).encode(),
        json.dumps({"projects": [URL], "auth_token": "a" * 256}).encode(),
        json.dumps({"projects": [URL], "token": "abc"}).encode(),
        json.dumps({"projects": [URL] * 1001}).encode(),
        b'{"projects": ["https://github.com/owner/repo"], "projects": ["https://github.com/owner/repo"]}',
        b"[" * 500_000,
    ],
    ids=lambda body: repr(body[:60]),
)
def test_bad_json_is_400(victim: Victim, body: bytes) -> None:
    refused(victim.post(body, "application/json"), 400)
    assert victim.github.requests == []


def test_json_over_a_mebibyte_is_413(victim: Victim) -> None:
    body = b'{"projects": ["' + b"a" * MIB + b'"]}'
    refused(victim.post(body, "application/json"), 413)
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))  # without a length: chunked
    headers = {"Content-Type": "application/json"}
    refused(requests.post(f"{victim.node.url}/evaluation", data=pieces, headers=headers, timeout=60), 413)


URLS = [
    "http://localhost/owner/repo",
    "http://LOCALHOST:5001/owner/repo",
    "http://127.0.0.1/owner/repo",
    "http://127.1/owner/repo",
    "http://127.255.255.254/owner/repo",
    "http://2130706433/owner/repo",
    "http://0x7f.0.0.1/owner/repo",
    "http://0177.0.0.01/owner/repo",
    "http://0/owner/repo",
    "http://[::1]/owner/repo",
    "http://[::]/owner/repo",
    "http://[::ffff:7f00:1]/owner/repo",
    "http://①②⑦.0.0.1/owner/repo",
    "http://127.0.0.1.nip.io/owner/repo",
    "http://169.254.169.254/latest/meta-data",
    "https://gitlab.com/owner/repo",
    "https://api.github.com/repos/owner/repo",
    "https://github.com.evil.org/owner/repo",
    "https://evil.org/github.com/owner/repo",
    "https://github.com./owner/repo",
    "https://gıthub.com/owner/repo",
    "//github.com/owner/repo",
    "github.com/owner/repo",
    "file:///etc/passwd",
    "file://github.com/etc/passwd",
    "ssh://git@github.com/owner/repo",
    "git@github.com:owner/repo",
    "ftp://github.com/owner/repo",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:text/plain,hello",
    "ext::sh -c id",
    "--upload-pack=id",
    "https://user@github.com/owner/repo",
    "https://user:secret@github.com/owner/repo",
    "https://github.com@127.0.0.1/owner/repo",
    "https://github.com:443/owner/repo",
    "https://github.com:5001/owner/repo",
    "https://github.com:99999/owner/repo",
    "https://github.com/owner/repo\r\nX-Injected: yes",
    "https://github.com/owner/repo%0d%0aX-Injected:%20yes",
    "https://github.com/owner/repo\0",
    "https://github.com/owner/repo ",
    "https://github.com\\@evil.org/owner/repo",
    "https://github.com/owner/repo?ref=main",
    "https://github.com/owner/repo#main",
    "https://github.com/../../etc/passwd",
    "https://github.com/owner/..",
    "https://github.com/owner/repo/tree/../../../user",
    "https://github.com/owner/repo/tree/--help",
    "https://github.com/owner/repo/blob/main/test_a.py",
    "https://github.com/owner",
    "https://github.com/",
    "https://github.com/owner/" + "r" * 10_000,
]


def test_bad_urls_are_400_alone_and_among_good_ones_and_nobody_is_asked(victim: Victim) -> None:
    for url in URLS:
        sentence = refused(victim.post(json.dumps({"projects": [url]}).encode(), "application/json"), 400)
        assert "secret" not in sentence
        refused(victim.post(json.dumps({"projects": [URL, url]}).encode(), "application/json"), 400)
    assert victim.github.requests == []


# Paths, methods, headers --------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd", ["", "x", "0", UNKNOWN_ID.upper(), UNKNOWN_ID + "0", "..", "%2e%2e", "%00", "%ff", "a%2Fb"]
)
def test_ids_that_are_none_are_404(victim: Victim, odd: str) -> None:
    for method, tail in (("GET", ""), ("GET", "/tests"), ("DELETE", ""), ("POST", "/rerun"), ("HEAD", "")):
        status, headers, body = raw(victim, f"{method} /evaluation/{odd}{tail} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if method == "HEAD":
            assert (status, body) == (404, b"")
        else:
            check_problem(status, headers, body, 404)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/evaluation/{UNKNOWN_ID}", 404),
        ("GET", f"/evaluation/{UNKNOWN_ID}/tests", 404),
        ("GET", f"/evaluation/{UNKNOWN_ID}/nothing", 404),
        ("GET", f"/evaluation?after={UNKNOWN_ID}", 404),
        ("DELETE", f"/evaluation/{UNKNOWN_ID}", 404),
        ("POST", f"/evaluation/{UNKNOWN_ID}/rerun", 404),
        ("GET", "/nothing", 404),
        ("GET", "/evaluation/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/openapi/../../../etc/passwd", 404),
        ("GET", "/openapi/swagger/static/../../../../etc/passwd", 404),
        ("GET", "/" + "a" * 8000, 404),
        ("GET", "/" + "a" * 9000, 414),
        ("GET", "/evaluation?limit=0", 400),
        ("GET", "/evaluation?limit=-1", 400),
        ("GET", "/evaluation?limit=1001", 400),
        ("GET", "/evaluation?limit=NaN", 400),
        ("GET", "/evaluation?limit=1e2", 400),
        ("GET", "/evaluation//tests", 404),
        ("GET", "/evaluation/", 404),
        ("GET", "/evaluation?limit=" + "9" * 5000, 400),
        ("GET", "/evaluation?unknown=1", 400),
        ("GET", "/evaluation?after=%00", 404),
        ("GET", "/evaluation?after='%20OR%201=1", 404),
        ("GET", "/stats?x=1", 400),
        ("POST", "/evaluation?x=1", 400),
        ("PUT", "/evaluation", 405),
        ("PATCH", "/evaluation", 405),
        ("DELETE", "/evaluation", 405),
        ("POST", f"/evaluation/{UNKNOWN_ID}", 405),
        ("GET", f"/evaluation/{UNKNOWN_ID}/rerun", 405),
        ("POST", "/stats", 405),
        ("DELETE", "/health", 405),
        ("TRACE", "/evaluation", 405),
        ("CONNECT", "/evaluation", 405),
        ("PROPFIND", "/evaluation", 405),
        ("QUERY", "/evaluation", 405),
        ("POST", "/join", 401),
        ("GET", "/kill", 401),
        ("GET", "//kill", 401),
        ("GET", "/kill/", 401),
        ("GET", "/%6bill", 401),
    ],
)  # fmt: skip
def test_what_is_not_there_or_not_allowed(victim: Victim, method: str, path: str, status: int) -> None:
    got, headers, body = raw(victim, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    check_problem(got, headers, body, status)
    if status == 405:
        assert headers["Allow"]


def test_head_and_options_are_answered(victim: Victim) -> None:
    head = requests.head(f"{victim.node.url}/evaluation", timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    options = requests.options(f"{victim.node.url}/evaluation", timeout=30)
    assert (options.status_code, options.content) == (200, b"")
    assert {"GET", "POST"} <= set(options.headers["Allow"].split(", "))


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "caf\xe9", "a\tb", "\x7f"])
def test_an_odd_idempotency_key_is_400(victim: Victim, key: str) -> None:
    head = f"POST /evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: {KIND}\r\nIdempotency-Key: {key}\r\n"
    body = HEAD + GOOD + TAIL
    status, headers, answer = raw(victim, f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)
    check_problem(status, headers, answer, 400)


def test_a_key_of_a_refused_submission_is_free_again(victim: Victim) -> None:
    for archive, status in ((zips.HOSTILE["symlink"](), 400), (zips.make_zip({}), 422), (zips.truncated(), 400)):
        refused(victim.post(part("file", archive) + END, KIND, **{"Idempotency-Key": "one key"}), status)


# The wire -----------------------------------------------------------------------------------


def raw(victim: Victim, request: bytes, half_close: bool = False) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of the answer to exactly these bytes."""
    with victim.connect() as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = HTTPResponse(connection, method=request.split(b" ")[0].decode("latin-1"))
        answer.begin()
        with closing(answer):
            return answer.status, answer.headers, answer.read()  # type: ignore[return-value]


POST = f"POST /evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: {KIND}\r\n".encode()
JSON_POST = POST.replace(KIND.encode(), b"application/json")
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
FIRST = b"%x\r\n%b\r\n" % (len(HEAD), HEAD)
WIRE: Mapping[str, tuple[bytes, int]] = {
    "10 GiB declared": (POST + b"Content-Length: 10737418240\r\n\r\n", 413),
    "10^30 bytes declared": (POST + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n", 413),
    "10 GiB of JSON declared": (JSON_POST + b"Content-Length: 10737418240\r\n\r\n", 413),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "length with a sign": (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "length in words": (POST + b"Content-Length: five\r\n\r\nhello", 400),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    "a list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "length and chunked": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked not last": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "chunked with a NUL": (POST + b"Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n", 400),
    "no chunk": (CHUNKED + b"0\r\n\r\n", 400),
    "bad chunk size": (CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n", 400),
    "bad second chunk": (CHUNKED + FIRST + b"-5\r\nhello\r\n0\r\n\r\n", 400),
    "chunk size with 0x": (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "chunk longer than said": (CHUNKED + FIRST + b"3\r\nhello\r\n0\r\n\r\n", 400),
    "chunk size of 16 digits": (CHUNKED + FIRST + b"ffffffffffffffff\r\nhello", 400),
    "chunked without an end": (CHUNKED + FIRST, 400),
    "body shorter than said": (POST + b"Content-Length: 500000\r\n\r\n" + HEAD + b"x" * 1000, 400),
    "200 kB in one header": (POST + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n", 431),
    "200 kB in many headers": (POST + (b"X-A: " + b"a" * 2000 + b"\r\n") * 100 + b"\r\n", 431),
    "200 kB without a line": (b"G" * 200_000, 414),
    "200 kB of request line": (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", 414),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 400),
    "no version": (b"GET /health HTTP/\r\n\r\n", 400),
    "space before the colon": (b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "header without a name": (b"GET /health HTTP/1.1\r\n: x\r\n\r\n", 400),
    "folded header": (b"GET /health HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", 400),
    "NUL in a header": (b"GET /health HTTP/1.1\r\nHost: x\0y\r\n\r\n", 400),
    "bare return in a header": (b"GET /health HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400),
    "odd expectation": (POST + b"Expect: the-unexpected\r\nContent-Length: 5\r\n\r\n", 417),
}  # fmt: skip


@pytest.mark.parametrize("name", WIRE)
def test_what_is_wrong_on_the_wire_is_refused(victim: Victim, name: str) -> None:
    request, expected = WIRE[name]
    status, headers, body = raw(victim, request, half_close=True)
    check_problem(status, headers, body, expected)


def test_an_unknown_transfer_coding_is_a_problem_too(victim: Victim) -> None:
    """501 is what RFC 9112 6.1 asks for, and the one answer over 499 that a bad request gets."""
    status, headers, body = raw(victim, POST + b"Transfer-Encoding: rot13\r\n\r\n")
    check_problem(status, headers, body, 501)


def test_nothing_is_smuggled_behind_a_refusal(victim: Victim) -> None:
    """What follows a body that was not read is no request."""
    inner = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with victim.connect() as connection:
        connection.sendall(POST + b"Content-Length: 10737418240\r\n\r\n" + inner * 3)
        connection.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"x" * 3 * MIB, part("file", GOOD) + part("tests", GOOD)[:-20]])
def test_a_client_that_goes_away_in_mid_upload_leaves_nothing(victim: Victim, sent: bytes, reset: bool) -> None:
    with victim.connect() as connection:
        connection.sendall(POST + b"Content-Length: 9000000\r\n\r\n" + sent)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_clients_that_stop_in_mid_upload_keep_nobody_out(victim: Victim) -> None:
    """More of them than submissions are let in at a time: the rest is told to come again, and all else is answered."""
    begun = POST + b"Content-Length: 9000000\r\n\r\n" + HEAD + b"x" * 400_000
    slow = [victim.connect() for _ in range(MAX_RECEIVING)]
    try:
        for connection in slow:
            connection.sendall(begun)
        wait_for(lambda: len(list(victim.incoming.iterdir())) == MAX_RECEIVING, 30, "all to be uploading")
        assert victim.node.get("/health")["status"] == "ok"
        answer = victim.upload(GOOD)
        refused(answer, 429)
        assert int(answer.headers["Retry-After"]) > 0
        assert len(list(victim.incoming.iterdir())) == MAX_RECEIVING, (
            "they were dropped before the others were answered"
        )
    finally:
        for connection in slow:
            connection.close()
    assert wait_for(lambda: victim.upload(b"no zip").status_code == 400, 30, "the doors to open again")


# Hostile, but well formed -------------------------------------------------------------------


def test_names_that_are_hostile_to_their_readers_are_graded_and_shown_as_they_are(running: Victim) -> None:
    long_name = "test_" + "é" * 123 + "x.py"
    assert len(long_name.encode()) == 255
    names = [
        "<script>alert(1)</script>/test_a.py",
        "=cmd|' /C calc'!A0/test_a.py",
        "--help/test_a.py",
        "$(id)`id`;id&&id/test_a.py",
        "a'b\"c/test_a.py",
        " 100%. /test_%s{0}.py",
        "~/test_a.py",
        "*?[x]/test_*?.py",
        "ab::c=d,e/test_a.py",
        "日本語/test_テスト.py",
        "cafe\u0301/test_a.py",
        "caf\u00e9/test_a.py",
        "n" * 255 + "/test_a.py",
        "/".join(["d" * 200] * 4) + "/deep/test_a.py",
        f"long/{long_name}",
    ]
    answer = running.upload(zips.make_zip(dict.fromkeys(names, zips.PASSING)))
    assert answer.status_code == 202, answer.text
    document = running.node.wait_done(answer.json()["id"])
    found = {
        f"{project}/{module}": result["verdict"]
        for project, modules in document["module_results"].items()
        for module, result in modules.items()
    }
    assert found == dict.fromkeys(names, "passed"), document
    assert "Traceback" not in running.node.log.read_text()


def test_the_uploads_own_name_is_only_a_name(running: Victim) -> None:
    archive = zips.make_zip({"test_a.py": zips.PASSING})
    for sent in ("../../../etc/cron.d/evil.zip", "<script>=cmd();.zip", "é" * 300):
        answer = requests.post(
            f"{running.node.url}/evaluation", files={"file": (sent, io.BytesIO(archive))}, timeout=60
        )
        assert answer.status_code == 202, (sent, answer.text)
        document = running.node.wait_done(answer.json()["id"])
        (project,) = document["projects"]
        assert "/" not in project
        assert document["_run_info"]["passed"] == 1
    for path in running.node.data.rglob("*"):
        assert not stat.S_ISLNK(path.lstat().st_mode) or "environments" in path.parts or "packages" in path.parts
