import socket
import subprocess
import time

import pytest

from src.client import Client

PORT = 5001


@pytest.fixture(scope="session", autouse=True)
def server():
    process = subprocess.Popen(["python3", "server.py"])
    for _ in range(100):
        try:
            socket.create_connection(("localhost", PORT), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
    yield process
    process.terminate()
    process.wait(timeout=5)


@pytest.fixture
def client(server):
    client = Client(PORT)
    yield client
    client.close()
