"""The receiver in docs/api.md, as it stands there."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from testmesh.clock import FakeClock, SystemClock
from testmesh.node.callbacks.http_courier import HttpCourier, trusted_certificates
from tests.support.ports import reserved_ports
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[4]
SECRET = "a-secret-of-the-tests"
BODY = b'{"id": "e1", "projects": {"project-a": {"nota": 17.5}}}'


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def receiver() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    (example,) = re.findall(r"```python\n(import hashlib.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    with reserved_ports(1) as (port,):
        environ = os.environ | {"MESH_CALLBACK_SECRET": SECRET, "PORT": str(port)}
        command = [sys.executable, "-c", example]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: accepts(port))
                yield f"http://127.0.0.1:{port}/", process
            finally:
                process.kill()


def test_it_takes_what_is_genuine_once_and_nothing_else(receiver: tuple[str, "subprocess.Popen[bytes]"]) -> None:
    url, process = receiver
    courier = HttpCourier(SECRET, SystemClock(), trusted_certificates(), private=True)
    assert [courier.deliver(url, "e1", BODY), courier.deliver(url, "e1", BODY)] == [204, 204]
    stranger = HttpCourier("another-secret", SystemClock(), trusted_certificates(), private=True)
    assert stranger.deliver(url, "e2", BODY) == 401
    old = HttpCourier(SECRET, FakeClock(wall=1_000_000_000.0), trusted_certificates(), private=True)
    assert old.deliver(url, "e3", BODY) == 401
    for signature in ("", "t=1", "v1=x", "t=99999999999999999999,v1=é", "nonsense"):
        headers = {"Testmesh-Signature": signature.encode("latin-1"), "Testmesh-Delivery": b"e4"}
        assert requests.post(url, data=BODY, headers=headers, timeout=10).status_code == 401
    process.kill()
    said, _ = process.communicate()
    assert said == b"project-a 17.5\n"
