"""The server as a process of its own: its life, its own refusals, and what uploads cost it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import requests

from testmesh.app.lanes import READS, THREADS
from testmesh.app.server import serve
from testmesh.settings import Settings

SCRIPT = Path(__file__).parents[2] / "support" / "serve_fake.py"
MIB = 1024 * 1024
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
KIND = "multipart/form-data; boundary=b"


class Server:
    def __init__(self, folder: Path, mode: str = "") -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[str]:
        path = self.folder / "events"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def worker(self) -> int:
        return int(next(event for event in self.events if event.startswith("start")).split()[1])

    @property
    def incoming(self) -> list[Path]:
        return list((self.folder / "incoming").iterdir())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def raw(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of the answer to exactly these bytes."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_answer(connection)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)

    def close(self) -> str:
        if self.process.poll() is None:
            self.process.kill()
        return self.process.communicate(timeout=30)[1]


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    file = connection.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, file.read(int(headers.get("content-length", "0")))


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    wait_until(lambda: started.events)
    yield started
    started.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("shared"))
    wait_until(lambda: started.events)
    yield started
    started.close()


# Its life -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_drains_while_it_answers_then_stops_the_node_and_ends_with_0(server: Server, how: signal.Signals) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /test/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "slow" in server.events)
        assert server.end(how) == 0
        assert read_answer(connection)[0] == 200
    assert [event.split()[0] for event in server.events] == ["start", "slow", "drain", "stop", "exit"]
    assert server.close() == ""
    assert sorted(path.name for path in server.folder.iterdir()) == ["events", "incoming"]


def test_a_worker_that_is_told_to_stop_takes_all_with_it(server: Server) -> None:
    os.kill(server.worker, signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert server.events[-2:] == ["stop", "exit 0"]


def test_a_thread_that_hangs_does_not_hold_up_the_end(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /test/hang HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "hanging" in server.events)
        assert server.end() == 0
    assert server.events[-2:] == ["stop", "exit 0"]


@pytest.mark.parametrize(("how", "status"), [("die", 7), ("kill", 128 + signal.SIGKILL)])
def test_a_node_that_dies_is_not_started_again(server: Server, how: str, status: int) -> None:
    if how == "kill":
        os.kill(server.worker, signal.SIGKILL)
    else:
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{server.url}/test/die", timeout=30)
    assert server.process.wait(30) == status
    assert [event.split()[0] for event in server.events] == ["start", "exit"]


def test_a_node_that_cannot_start_ends_with_one_line(tmp_path: Path) -> None:
    server = Server(tmp_path, "fail")
    assert server.process.wait(30) == 3
    assert server.close().splitlines() == [
        "the node cannot start: MESH_DATA_DIR=/nowhere: it cannot be written; choose another folder"
    ]
    assert [event.split()[0] for event in server.events] == ["start", "stop", "exit"]


def test_a_port_in_use_ends_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def build() -> NoReturn:
        raise AssertionError("nothing is built where nothing can listen")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve(Settings(port=port), build) == 3
    assert len(caplog.records) == 1
    assert f"MESH_PORT={port}" in caplog.text


def test_the_worker_dies_with_the_arbiter(server: Server) -> None:
    worker = server.worker
    server.process.kill()
    wait_until(lambda: not alive(worker))


def test_signals_that_multiply_workers_do_nothing(shared: Server) -> None:
    for ignored in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2, signal.SIGWINCH):
        shared.process.send_signal(ignored)
    os.kill(shared.worker, signal.SIGINT)  # as a terminal sends it; the arbiter decides
    assert requests.get(f"{shared.url}/peers", timeout=30).status_code == 200
    assert len([event for event in shared.events if event.startswith("start")]) == 1


# Its own refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="request line"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", 400, id="version"),
        pytest.param(b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", 400, id="header name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400, id="folding"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two lengths"),
        pytest.param(
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, id="length and chunked"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nTransfer-Encoding: other\r\n\r\n", 501, id="transfer coding"),
        pytest.param(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414, id="request line too long"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431, id="header too large"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 70 + b"\r\n", 431, id="too many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nExpect: wonders\r\n\r\n", 417, id="expectation"),
    ],
)
def test_what_gunicorn_refuses_is_a_problem_too(shared: Server, request_bytes: bytes, expected: int) -> None:
    status, headers, body = shared.raw(request_bytes)
    assert status == expected
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["status"] == expected
    assert len(json.loads(body)["detail"]) > 15


def test_the_server_header_tells_no_version(shared: Server) -> None:
    assert requests.get(f"{shared.url}/health", timeout=30).headers["Server"] == "testmesh"


def test_connections_are_kept(shared: Server) -> None:
    with shared.connect() as connection:
        for _ in range(3):
            connection.sendall(b"GET /peers HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_answer(connection)[0] == 200


def test_silent_and_slow_clients_do_not_keep_others_out(shared: Server) -> None:
    silent = [shared.connect() for _ in range(150)]
    slow = [shared.connect() for _ in range(30)]
    try:
        for connection in slow:
            connection.sendall(b"GET /peers HTTP/1.1\r\nHos")
        assert requests.get(f"{shared.url}/peers", timeout=30).status_code == 200
    finally:
        for connection in silent + slow:
            connection.close()


# Clients that do not take their answers -------------------------------------------------------

LARGE = 8 * MIB  # of /test/large


@pytest.fixture
def idle(server: Server) -> Iterator[list[socket.socket]]:
    """150 clients that ask for five large answers each and read none."""
    connections = []
    for _ in range(150):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"GET /test/large HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        connections.append(connection)
    yield connections
    for connection in connections:
        connection.close()


def test_nodes_and_monitors_are_answered_while_nobody_takes_what_was_read(
    server: Server, idle: list[socket.socket]
) -> None:
    def still_answered() -> bool:
        assert requests.get(f"{server.url}/health", timeout=30).status_code == 200
        assert requests.get(f"{server.url}/ping", timeout=30).status_code == 404  # the fake has no peers
        return all(is_reset(connection) for connection in idle)

    wait_until(still_answered)


def test_clients_that_do_not_read_do_not_keep_readers_out(server: Server, idle: list[socket.socket]) -> None:
    assert requests.get(f"{server.url}/stats", timeout=60).status_code == 200
    assert requests.get(f"{server.url}/test/large", timeout=60).content == b"x" * LARGE
    assert idle


def test_answers_nobody_takes_are_not_held_once_for_each_client(server: Server, idle: list[socket.socket]) -> None:
    before = resident(server.worker, "VmRSS")
    wait_until(lambda: any(is_reset(connection) for connection in idle))
    assert resident(server.worker, "VmHWM") - before < (THREADS[READS] + 8) * LARGE


def is_reset(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return True
    return False


def test_a_client_that_takes_its_answer_slowly_has_all_of_it(shared: Server) -> None:
    with shared.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(b"GET /test/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = b""
        while data := connection.recv(65536):
            got += data
            time.sleep(0.002)  # its pace, not a wait
    assert got.endswith(b"\r\n\r\n" + b"x" * LARGE)


# Uploads ------------------------------------------------------------------------------------


def send(server: Server, size: int, chunked: bool) -> int:
    """Upload `size` zeros; the status of the answer."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(HEAD) + size + len(TAIL)}"
    with server.connect() as connection:
        connection.sendall(f"POST /evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: {KIND}\r\n{length}\r\n\r\n".encode())
        for piece in (HEAD, *[bytes(MIB)] * (size // MIB), TAIL):
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        connection.sendall(b"0\r\n\r\n" if chunked else b"")
        return read_answer(connection)[0]


def resident(pid: int, what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize("chunked", [False, True])
def test_64_mebibytes_grow_the_process_by_less_than_16(shared: Server, chunked: bool) -> None:
    assert send(shared, MIB, chunked) == 202
    Path(f"/proc/{shared.worker}/clear_refs").write_text("5")  # the peak from now on
    before = resident(shared.worker, "VmRSS")
    assert send(shared, 64 * MIB, chunked) == 202
    assert resident(shared.worker, "VmHWM") - before < 16 * MIB
    assert shared.incoming == []


def test_ten_gibibytes_are_refused_at_once_and_the_connection_ends(shared: Server) -> None:
    request = f"POST /evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: {KIND}\r\nContent-Length: {10 * 1024**3}\r\n\r\n"
    status, headers, body = shared.raw(request.encode())
    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["status"] == 413


def test_a_client_that_is_still_sending_reads_its_refusal(shared: Server) -> None:
    head = f"POST /stats HTTP/1.1\r\nHost: x\r\nContent-Length: {4 * MIB}\r\n\r\n".encode()
    status, _, _ = shared.raw(head + b"x" * 4 * MIB)
    assert status == 405


@pytest.mark.parametrize("declared", [True, False])
def test_a_client_that_goes_away_leaves_nothing(shared: Server, declared: bool) -> None:
    framing = b"Content-Length: 9000000\r\n\r\n" if declared else b"Transfer-Encoding: chunked\r\n\r\n895440\r\n"
    head = b"POST /evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: " + KIND.encode() + b"\r\n" + framing
    with shared.connect() as connection:
        connection.sendall(head + HEAD + b"x" * MIB)
        wait_until(lambda: shared.incoming)
    wait_until(lambda: not shared.incoming)


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"5\r\nabcdefgh\r\n", b"-1\r\n", b"ffffffffffffffffff\r\nx"])
def test_bad_chunks_are_400(shared: Server, chunk: bytes) -> None:
    head = b"POST /evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: " + KIND.encode()
    with shared.connect() as connection:
        connection.sendall(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection)[0] == 400
    assert shared.incoming == []
