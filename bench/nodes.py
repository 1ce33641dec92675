"""Nodes as processes on free ports, for a measurement; gone when it ends."""

import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.systems.groups import Group
from testmesh.local.health import is_healthy, live_peers, wait_until
from testmesh.local.processes import ProcessId, start, stop

ROOT = Path(__file__).resolve().parents[1]
_START_S = 60.0


@contextlib.contextmanager
def running_nodes(folder: Path, count: int, groups: Sequence[Group] = (), **settings: str) -> Iterator[list[str]]:
    """Gives the nodes' URLs, once all know each other. `settings` are MESH_ variables for all of them.

    `groups`: control groups to start them in, one each; without any they share this process's.
    """
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        ports = [taken.getsockname()[1] for taken in sockets]
    secret = secrets.token_hex(16)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    started: list[ProcessId] = []
    try:
        for number, port in enumerate(ports):
            own = {
                "MESH_PORT": str(port),
                "MESH_SECRET": secret,
                "MESH_DATA_DIR": str(folder / f"node-{port}"),
                "MESH_BOOTSTRAP": "" if port == ports[0] else f"127.0.0.1:{ports[0]}",
            }
            command = [sys.executable, str(ROOT / "src" / "run_node.py")]
            if groups:
                command = groups[number].entered_by(command)
            started.append(start(command, environ | own | settings, folder / f"node-{port}.log", folder))
        for port in ports:
            ready = wait_until(lambda port=port: is_healthy(port) and live_peers(port) == count - 1, _START_S)  # type: ignore[misc]
            if not ready:
                raise SystemExit((folder / f"node-{port}.log").read_text(errors="replace"))
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        stop(started, grace_s=15)
