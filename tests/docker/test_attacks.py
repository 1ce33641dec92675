"""Hostile bytes at the entrance of the compose stack: refused or cut off, and others are served meanwhile."""

import contextlib
import select
import socket
import statistics
import time

import pytest
import requests

from tests.support.docker import Stack
from tests.support.mesh import wait_for
from tests.support.nginx import raw

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

POST = b"POST /evaluation HTTP/1.1\r\nHost: mesh\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /kill HTTP/1.1\r\n\r\n", {400}),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", {400, 501}),
        (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", {400}),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", {400}),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", {400, 413}),
        (b"GET /stats HTTP/1.1\r\nHost: mesh\r\nX-Big: " + b"a" * 200_000 + b"\r\n\r\n", {0, 431}),
        (b"GET /kill HTTP/1.1\r\nHost: mesh\r\n\r\n", {404}),
        (b"GET /KILL;a HTTP/1.1\r\nHost: mesh\r\n\r\n", {404}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
    ],
    ids=["CL+TE", "TE twice", "CL twice", "bad chunk", "huge chunk", "200 kB", "kill", "KILL;a", "TLS"],
)
def test_a_hostile_request_is_refused_or_cut_off(whole: Stack, request_bytes: bytes, expected: set[int]) -> None:
    status, _, _ = raw(whole.entrance, request_bytes)
    assert status in expected
    assert len(whole.get("/network")) == 4


def test_200_slow_connections_keep_nobody_out_and_are_cut_off(whole: Stack) -> None:
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(socket.create_connection(("127.0.0.1", whole.entrance))) for _ in range(200)]
        for number, connection in enumerate(slow):
            half = b"GET /stats HTTP/1.1\r\nHost: me" if number % 4 else POST + b"Content-Length: 1000\r\n\r\nPK"
            connection.sendall(half)
        times = []
        for _ in range(20):
            started = time.monotonic()
            assert requests.get(f"{whole.url}/stats", timeout=20).status_code == 200
            times.append(time.monotonic() - started)
        assert statistics.median(times) < 1
        heads = [connection for number, connection in enumerate(slow) if number % 4]
        wait_for(lambda: len(select.select(heads, [], [], 0)[0]) == len(heads), what="slow heads to be cut off")
