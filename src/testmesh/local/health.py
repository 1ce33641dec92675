"""Asking nodes of this machine how they are. Never through a proxy: they are next door."""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any

_POLL_S = 0.1


def get_json(port: int, path: str, timeout_s: float = 3.0) -> tuple[int, Any]:
    """Status and document of http://127.0.0.1:port/path; (0, None) where there is no such answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read(1024 * 1024))
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None
    finally:
        connection.close()


def node_address(port: int) -> str | None:
    """The address that the node on this port advertises, None where no node answers."""
    _, health = get_json(port, "/health")
    address = health.get("address") if isinstance(health, dict) else None
    return address if isinstance(address, str) else None


def is_healthy(port: int) -> bool:
    status, health = get_json(port, "/health")
    return status == 200 and isinstance(health, dict) and "address" in health


def live_peers(port: int) -> int:
    """How many other nodes it knows to be alive."""
    status, peers = get_json(port, "/peers")
    return len(peers) if status == 200 and isinstance(peers, list) else 0


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
