"""The multipart body on its way to the disk."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testmesh.app.uploads import CHUNK, received
from testmesh.errors import MalformedError, TooLargeError

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
KIND = "multipart/form-data; boundary=b"


def request_of(body: bytes) -> Request:
    app = Flask(__name__)
    return app.test_request_context("/", method="POST", data=body, content_type=KIND).request


def test_what_looks_like_a_boundary_at_the_edge_of_a_piece_is_content(tmp_path: Path) -> None:
    content = (b"\r\n--x\r\r\n\n--" + b"x" * 51) * (3 * CHUNK // 65) + b"\r\n-\r\n--"
    for padding in range(65):
        sent = b"y" * padding + content
        with received(request_of(HEAD + sent + TAIL), tmp_path, 100 * CHUNK) as found:
            assert found.file.sha256 == hashlib.sha256(sent).hexdigest()
            assert found.file.size == len(sent)
            assert found.file.path.read_bytes() == sent
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused_and_leaves_nothing(tmp_path: Path, noise: bytes) -> None:
    for body in (noise, HEAD + noise, HEAD + noise + TAIL, b"--b\r\n" + noise + TAIL):
        try:
            with received(request_of(body), tmp_path, 1000) as found:
                assert found.file.path.exists()
        except (MalformedError, TooLargeError):
            pass
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file_size", [1000, 1001])
def test_the_bound_counts_the_files_together(tmp_path: Path, file_size: int) -> None:
    tests = HEAD.replace(b'"file"', b'"tests"')
    body = HEAD + b"x" * 500 + b"\r\n" + tests + b"x" * (file_size - 500) + TAIL
    if file_size > 1000:
        with pytest.raises(TooLargeError), received(request_of(body), tmp_path, 1000):
            pass
    else:
        with received(request_of(body), tmp_path, 1000) as found:
            assert found.tests is not None
            assert found.tests.size == 500


def test_a_file_that_was_taken_is_not_missed(tmp_path: Path) -> None:
    with received(request_of(HEAD + b"content" + TAIL), tmp_path, 1000) as found:
        taken = found.file.path.rename(tmp_path / "taken")
    assert taken.read_bytes() == b"content"


def test_a_part_goes_to_disk_while_the_next_is_still_to_come(tmp_path: Path) -> None:
    class Watching(io.BytesIO):
        seen = 0

        def readinto(self, buffer: Any) -> int:
            self.seen = max(self.seen, sum(path.stat().st_size for path in tmp_path.iterdir()))
            return super().readinto(buffer)

    body = Watching(HEAD + b"x" * 8 * CHUNK + TAIL)
    request = request_of(b"replaced")
    request.environ["wsgi.input"] = body
    request.environ["wsgi.input_terminated"] = True
    request.environ.pop("CONTENT_LENGTH", None)
    with received(request, tmp_path, 100 * CHUNK):
        assert body.seen > 5 * CHUNK
