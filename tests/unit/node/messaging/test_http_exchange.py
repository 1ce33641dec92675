"""Calls to a node go over one connection that stays open; what goes wrong on it has a name."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import cast

import pytest
from flask import Flask

from testmesh.app.auth import internal_blueprint
from testmesh.app.peer_routes import PeerService, register_peer_routes
from testmesh.errors import PeerError, PeerFailedError, PeerRefusedError
from testmesh.node.membership.membership import Member
from testmesh.node.messaging.http_exchange import Connections
from testmesh.node.messaging.http_peers import HttpPeers
from testmesh.node.messaging.messages import Load, PingReply
from testmesh.signing import RequestVerifier

SECRET = "a-secret-of-the-tests"


class Served:
    """A node that answers pings over connections that stay open, as gunicorn does, and counts those."""

    def __init__(self) -> None:
        app = Flask(__name__)
        connected: list[object] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                connected.append(self.client_address)
                super().setup()

            def do_GET(self) -> None:
                raw = {"RAW_URI": self.path}
                answer = app.test_client().get(self.path, headers=dict(self.headers), environ_overrides=raw)
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.data)

            def log_message(self, *_: object) -> None:
                pass

        self.connected = connected
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        blueprint = internal_blueprint(RequestVerifier(SECRET, self.address))
        register_peer_routes(blueprint, cast(PeerService, SimpleNamespace(pinged=self.pinged)), lambda: None)
        app.register_blueprint(blueprint)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def pinged(self, updates: tuple[Member, ...]) -> PingReply:
        return PingReply(updates, Load(4, 0, 0), 7)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(20)
        self._server.server_close()  # waits for the connections' threads, which end with their clients'


@pytest.fixture
def node() -> Iterator[Served]:
    served = Served()
    yield served
    served.close()


@pytest.fixture
def peers(node: Served) -> Iterator[HttpPeers]:
    made = HttpPeers(SECRET)
    yield made
    made.close()


def test_one_connection_carries_the_challenge_and_all_messages(node: Served, peers: HttpPeers) -> None:
    for _ in range(20):
        assert peers.ping(node.address, (), 10).digest == 7
    assert len(node.connected) == 1


def test_a_refusal_does_not_cost_the_connection(node: Served, peers: HttpPeers) -> None:
    for _ in range(5):
        with pytest.raises(PeerFailedError, match="404"):
            peers._call("GET", node.address, "/ping/nowhere")
    assert len(node.connected) == 1


def test_nothing_listens_at_the_address(peers: HttpPeers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(PeerRefusedError):
        peers.ping(f"127.0.0.1:{port}", (), 5)


def test_one_that_says_nothing_is_given_up(peers: HttpPeers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(PeerError, match="did not answer in time"):
        peers.ping(f"127.0.0.1:{silent.getsockname()[1]}", (), 0.1)


def serve_one_request_a_connection(listener: socket.socket, status: str, count: int) -> None:
    """Keep-alive is promised, and the connection closed."""
    for _ in range(count):
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())


def test_a_kept_connection_that_was_closed_is_made_again(peers: HttpPeers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=serve_one_request_a_connection, args=(listener, "500 Oops", 3))
        thread.start()
        for _ in range(3):
            with pytest.raises(PeerFailedError, match="500"):
                peers.ping(address, (), 10)
        thread.join(20)


def test_a_connection_whose_answer_broke_off_is_not_used_again() -> None:
    accepted = []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            client, _ = listener.accept()
            accepted.append(client)
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")

    connections = Connections()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        for _ in range(2):
            answer = connections.send("GET", f"127.0.0.1:{listener.getsockname()[1]}", "/", b"", {}, 10)
            assert answer is not None
            with pytest.raises(PeerError):
                answer.read()
            answer.close()
        thread.join(20)
    assert len(accepted) == 2
    for client in accepted:
        client.close()
    connections.close()


def test_one_that_always_hangs_up_is_given_up(peers: HttpPeers) -> None:
    def serve(listener: socket.socket) -> None:
        for _ in range(3):
            listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(PeerError):
            peers.ping(f"127.0.0.1:{listener.getsockname()[1]}", (), 10)
        thread.join(20)


@pytest.mark.parametrize("address", ["nonsense", "a..b:80", "127.0.0.1:port"])
def test_what_is_no_address_is_out_of_reach(peers: HttpPeers, address: str) -> None:
    with pytest.raises(PeerError):
        peers.ping(address, (), 1)
