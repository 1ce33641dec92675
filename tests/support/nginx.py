"""A real Nginx with the repository's default.conf, in front of small upstreams that remember what reached them."""

import http.client
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from testmesh.local import nginx
from testmesh.local.health import wait_until
from tests.support.ports import reserved_ports

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Seen:
    method: str
    target: str
    body: int  # bytes that arrived


@dataclass
class Upstream:
    """Answers everything with its name, or its content; `end_events` keeps an event stream open until it is set."""

    name: str
    seen: list[Seen] = field(default_factory=list)
    first_chunk: threading.Event = field(default_factory=threading.Event)
    end_events: threading.Event = field(default_factory=threading.Event)
    content: bytes = b""
    break_off: bool = False  # take the request, then close without an answer
    server: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        assert self.server is not None
        return f"127.0.0.1:{self.server.server_port}"

    def start(self, port: int = 0) -> None:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                super().handle_one_request()
                self.close_connection = True

            def answer(self) -> None:
                body = self._read_body()
                upstream.seen.append(Seen(self.command, self.path, body))
                if upstream.break_off:
                    self.close_connection = True
                    return
                if self.path.endswith("/events"):
                    self._stream()
                    return
                content = upstream.content or upstream.name.encode()
                self.send_response(200)
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = answer  # noqa: N815

            def _read_body(self) -> int:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    total = 0
                    while size := int(self.rfile.readline(), 16):
                        total += len(self.rfile.read(size))
                        self.rfile.readline()
                        upstream.first_chunk.set()
                    self.rfile.readline()
                    return total
                left = length = int(self.headers.get("Content-Length", 0))
                while left and (data := self.rfile.read1(min(left, 65536))):
                    left -= len(data)
                    upstream.first_chunk.set()
                return length - left

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write(b"event: module\ndata: 1\n\n")
                self.wfile.flush()
                upstream.end_events.wait(30)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256

        self.server = Server(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self.end_events.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()


@contextmanager
def upstreams(count: int) -> Iterator[list[Upstream]]:
    started = [Upstream(f"node {number}") for number in range(1, count + 1)]
    for upstream in started:
        upstream.start()
    try:
        yield started
    finally:
        for upstream in started:
            upstream.stop()


@contextmanager
def running_nginx(folder: Path, nodes: list[str]) -> Iterator[int]:
    """The port where Nginx listens, in front of `nodes`."""
    program = nginx.find_nginx()
    assert program is not None
    with reserved_ports(1) as (port,):
        nginx.prepare(folder, (REPOSITORY / "default.conf").read_text(), port, nodes)
        process = subprocess.Popen(nginx.command(program, folder), stdin=subprocess.DEVNULL)
        try:
            assert wait_until(lambda: listens(port) or process.poll() is not None, 20)
            assert process.poll() is None, (folder / "error.log").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def raw(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are; status, headers (names in lower case) and body of the answer.

    A side that closes while it is still being sent to gives (0, {}, b"").
    """
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read()
        except (ConnectionError, http.client.HTTPException):
            return 0, {}, b""
