"""default.conf in a real Nginx: only public paths pass, a lost node costs nobody a request, errors are problems."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from testmesh.local import nginx
from testmesh.local.health import wait_until
from tests.support.nginx import Seen, Upstream, raw, running_nginx, upstreams
from tests.support.ports import reserved_ports

pytestmark = pytest.mark.skipif(nginx.find_nginx() is None, reason="Nginx is not installed")

ID = "0b4e9f7c-53a1-4d0e-9f7a-2f6f1f0c7d11"


@pytest.fixture
def nodes() -> Iterator[list[Upstream]]:
    with upstreams(2) as started:
        yield started


@pytest.fixture
def entrance(nodes: list[Upstream], tmp_path: Path) -> Iterator[int]:
    with running_nginx(tmp_path / "nginx", [node.address for node in nodes]) as port:
        yield port


def seen(nodes: list[Upstream]) -> list[Seen]:
    return [request for node in nodes for request in node.seen]


def send_target(port: int, target: str, method: str = "GET") -> int:
    """A request with its target spelt exactly so; the status."""
    status, _, _ = raw(port, f"{method} {target} HTTP/1.1\r\nHost: mesh\r\nConnection: close\r\n\r\n".encode("latin-1"))
    return status


def assert_problem(answer: requests.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"].endswith(".")


PUBLIC = [
    "/",
    "/?x=1",
    "/evaluation",
    "/evaluation?limit=3&after=x",
    f"/evaluation/{ID}",
    f"/evaluation/{ID}/tests?project=a%20b&module=tests/test_x.py",
    f"/evaluation/{ID}/results.csv",
    f"/evaluation/{ID}/junit.xml",
    f"/evaluation/{ID}/report.html",
    "/stats",
    "/network",
    "/peers",
    "/health",
    "/metrics",
    "/nodes",
    "/nodes?history=0",
    "/openapi",
    "/openapi/openapi.json",
    "/openapi/swagger/",
    "/openapi/static/swagger/swagger-ui.css",
    "/dashboard/nodes",
    f"/dashboard/evaluation/{ID}",
    f"/dashboard/evaluation/{ID}/module?project=%3Cimg%3E&module=tests%2Ftest_x.py",
    "/dashboard/static/0123456789abcdef/vendor/uplot.js",
]

INTERNAL = [
    "/join",
    "/new_peer",
    "/ping",
    "/load",
    "/run_tests",
    "/stats_req",
    "/vitals",
    "/evaluation_req",
    f"/evaluation_req/{ID}",
    "/kill",
    "/KILL",
    "/kill/",
    "/kill;a",
    "/kill?x=/stats",
    "/%6bill",
    "/%6Bill",
    "/%2fkill",
    "//kill",
    "/./kill",
    "/stats/../kill",
    "/stats/..%2fkill",
    "/stats%2f..%2fkill",
    "/stats/..;/kill",
    "/kill/../stats",
    "/kill/%2e%2e/stats",
    "/kill%00/stats",
    "/kill#/stats",
    "/stats/",
    "/stats;a",
    "/stats%20",
    "/statsx",
    "/Stats",
    "/evaluation/../kill",
    "/evaluation/..",
    "/evaluation//kill",
    f"/evaluation/{ID}/kill",
    f"/evaluation/{ID}/tests/../../../kill",
    "/openapi/../kill",
    "/openapi/%2e%2e/kill",
    "/openapi/..%5ckill",
    "/openapi-kill",
    "/dashboard/../kill",
    "/dashboard/%2e%2e/kill",
    "/dashboard/..%2fkill",
    "/dashboard/static/../../kill",
    "/dashboard//kill",
    "/dashboard/.hidden",
    "/dashboard/kill;a",
    "/dashboard-kill",
    "/dashboard/",
    "http://mesh/kill",
    "kill",
    "/@404",
    "/default.conf",
]


def test_every_public_path_reaches_a_node_as_it_was_sent(entrance: int, nodes: list[Upstream]) -> None:
    assert {target: send_target(entrance, target) for target in PUBLIC} == dict.fromkeys(PUBLIC, 200)
    assert sorted(request.target for request in seen(nodes)) == sorted(PUBLIC)


def test_no_spelling_of_another_path_reaches_a_node(entrance: int, nodes: list[Upstream]) -> None:
    statuses = {(method, path): send_target(entrance, path, method) for path in INTERNAL for method in ("GET", "POST")}
    assert seen(nodes) == []
    assert {case: status for case, status in statuses.items() if status not in (400, 404)} == {}
    assert statuses["GET", "/kill"] == 404


def test_a_refused_path_is_a_problem_document(entrance: int) -> None:
    answer = requests.get(f"http://127.0.0.1:{entrance}/join", timeout=20)
    assert_problem(answer, 404)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Server"] == "nginx"


def test_headers_of_a_node_are_not_doubled(entrance: int) -> None:
    answer = requests.get(f"http://127.0.0.1:{entrance}/stats", timeout=20)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_requests_are_spread_over_the_nodes(entrance: int, nodes: list[Upstream]) -> None:
    for _ in range(20):
        requests.get(f"http://127.0.0.1:{entrance}/stats", timeout=20)
    assert all(node.seen for node in nodes)


def test_no_get_fails_when_a_node_is_lost(entrance: int, nodes: list[Upstream]) -> None:
    nodes[0].stop()
    for _ in range(30):
        assert requests.get(f"http://127.0.0.1:{entrance}/stats", timeout=20).text == "node 2"


def test_a_get_whose_node_dies_over_it_is_asked_of_another(entrance: int, nodes: list[Upstream]) -> None:
    nodes[0].break_off = True
    answers = [requests.get(f"http://127.0.0.1:{entrance}/stats", timeout=20) for _ in range(6)]
    assert [answer.text for answer in answers] == ["node 2"] * 6
    assert nodes[0].seen


def test_an_upload_goes_to_a_living_node(entrance: int, nodes: list[Upstream]) -> None:
    nodes[0].stop()
    for _ in range(4):
        answer = requests.post(f"http://127.0.0.1:{entrance}/evaluation", data=b"x" * 100_000, timeout=20)
        assert answer.text == "node 2"


def test_an_upload_that_a_node_had_taken_is_not_sent_again(entrance: int, nodes: list[Upstream]) -> None:
    for node in nodes:
        node.break_off = True
    answer = requests.post(f"http://127.0.0.1:{entrance}/evaluation", data=b"x" * 1000, timeout=20)
    assert_problem(answer, 502)
    assert len(seen(nodes)) == 1


def test_without_a_node_the_answer_is_a_problem(tmp_path: Path) -> None:
    with reserved_ports(1) as (nobody,), running_nginx(tmp_path / "nginx", [f"127.0.0.1:{nobody}"]) as port:
        answers = [requests.get(f"http://127.0.0.1:{port}/stats", timeout=20) for _ in range(2)]
    for answer in answers:
        assert_problem(answer, 502)


def test_a_node_that_comes_back_is_asked_again(entrance: int, nodes: list[Upstream]) -> None:
    port = int(nodes[0].address.rpartition(":")[2])
    nodes[0].stop()
    requests.get(f"http://127.0.0.1:{entrance}/stats", timeout=20)
    nodes[0].start(port)
    nodes[1].stop()
    assert wait_until(lambda: requests.get(f"http://127.0.0.1:{entrance}/stats", timeout=20).text == "node 1", 20)


def test_a_body_is_passed_on_while_it_is_still_being_sent(entrance: int, nodes: list[Upstream]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", entrance, timeout=20)
    connection.putrequest("POST", "/evaluation")
    connection.putheader("Content-Length", str(2_000_000))
    connection.endheaders(b"x" * 1_000_000)
    assert wait_until(lambda: any(node.first_chunk.is_set() for node in nodes), 20)
    connection.send(b"x" * 1_000_000)
    assert connection.getresponse().status == 200
    connection.close()
    assert [request.body for request in seen(nodes)] == [2_000_000]


def test_a_body_in_chunks_arrives_whole(entrance: int, nodes: list[Upstream]) -> None:
    answer = requests.post(f"http://127.0.0.1:{entrance}/evaluation", data=iter([b"a" * 70_000, b"b" * 5]), timeout=20)
    assert answer.status_code == 200
    assert [request.body for request in seen(nodes)] == [70_005]


def test_a_body_over_the_limit_is_refused_before_it_is_sent(entrance: int, nodes: list[Upstream]) -> None:
    head = b"POST /evaluation HTTP/1.1\r\nHost: mesh\r\nConnection: close\r\nContent-Length: 10737418240\r\n\r\n"
    status, headers, body = raw(entrance, head)
    assert (status, headers["content-type"], json.loads(body)["status"]) == (413, "application/problem+json", 413)
    assert seen(nodes) == []


NO_LENGTH = b"POST /evaluation HTTP/1.1\r\nHost: mesh\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET /stats HTTP/1.1\r\nHost: mesh\r\nX-Big: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: mesh\r\n\r\n", 414),
        (NO_LENGTH + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (NO_LENGTH + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /stats HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"TRACE /stats HTTP/1.1\r\nHost: mesh\r\n\r\n", 405),
    ],
    ids=["headers", "target", "two lengths", "coding", "no host", "no request line", "trace"],
)
def test_a_malformed_request_ends_at_the_entrance(
    entrance: int, nodes: list[Upstream], request_bytes: bytes, expected: int
) -> None:
    status, headers, body = raw(entrance, request_bytes)
    assert (status, headers["content-type"], json.loads(body)["status"]) == (
        expected,
        "application/problem+json",
        expected,
    )
    assert seen(nodes) == []


def test_200_kb_of_headers_are_refused_or_cut_off(entrance: int, nodes: list[Upstream]) -> None:
    status, _, _ = raw(entrance, b"GET /stats HTTP/1.1\r\nHost: mesh\r\n" + b"X-Big: " + b"a" * 200_000 + b"\r\n\r\n")
    assert status in (0, 431)
    assert seen(nodes) == []


def test_bad_chunks_are_refused(entrance: int, nodes: list[Upstream]) -> None:
    status, _, _ = raw(entrance, NO_LENGTH + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n")
    assert status == 400


def test_events_come_through_at_once(entrance: int, nodes: list[Upstream]) -> None:
    with socket.create_connection(("127.0.0.1", entrance), timeout=20) as connection:
        connection.sendall(f"GET /evaluation/{ID}/events HTTP/1.1\r\nHost: mesh\r\n\r\n".encode())
        got = b""
        while b"data: 1" not in got:
            data = connection.recv(65536)
            assert data, got
            got += data
    assert not any(node.end_events.is_set() for node in nodes)


def open_idle(port: int, target: str) -> socket.socket:
    """A client that has asked and reads nothing."""
    connection = socket.socket()
    connection.settimeout(20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: mesh\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize(("target", "most", "other"), [("", 100, "/events"), ("/events", 128, "")])
def test_one_address_has_so_many_requests_open(
    entrance: int, nodes: list[Upstream], target: str, most: int, other: str
) -> None:
    for node in nodes:
        node.content = b"x" * 8_000_000
    idle = [open_idle(entrance, f"/evaluation/{ID}{target}") for _ in range(most)]
    assert wait_until(lambda: len(seen(nodes)) == most, 20)
    refused = requests.get(f"http://127.0.0.1:{entrance}/evaluation/{ID}{target}", timeout=20)
    assert_problem(refused, 429)
    assert refused.headers["Retry-After"] == "5"
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    idle.append(open_idle(entrance, f"/evaluation/{ID}{other}"))  # is counted apart
    assert idle[-1].recv(12) == b"HTTP/1.1 200"
    for connection in idle:
        connection.close()
    nodes[0].content = nodes[1].content = b"y"
    url = f"http://127.0.0.1:{entrance}/evaluation/{ID}"
    assert wait_until(lambda: requests.get(url, timeout=20).status_code == 200, 20)
