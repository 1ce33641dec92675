import socket

import pytest

import echo_server


@pytest.fixture(scope="module")
def server():
    server = echo_server.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def connect(server):
    opened = []

    def connect():
        client = socket.create_connection((echo_server.HOST, echo_server.PORT), timeout=5)
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.close()
