# mypy: ignore-errors
# ruff: noqa: ARG001
"""Every test has a broker of its own, a process, at the one port that is in the assignment."""

import socket
import subprocess
import time

import course
import pytest
from client import Client


@pytest.fixture
def broker():
    process = subprocess.Popen(["python3", "broker.py"])
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", course.PORT)).close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the broker does not listen") from None
            time.sleep(0.05)
    yield process
    process.terminate()
    process.wait()


@pytest.fixture
def connect(broker):
    clients = []

    def connect():
        clients.append(Client())
        return clients[-1]

    yield connect
    for client in clients:
        client.close()
