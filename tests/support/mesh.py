"""Real nodes as processes on free ports, for tests that need a mesh. Everything is gone when the context ends."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a-secret-of-the-tests"
PATIENCE_S = 90.0
T = TypeVar("T")


@dataclass
class RunningNode:
    port: int
    folder: Path
    environ: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def log(self) -> Path:
        return self.folder / f"node_{self.port}.log"

    @property
    def data(self) -> Path:
        return self.folder / f"data_{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "src" / "run_node.py")],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_healthy(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/health", timeout=2).status_code == 200
        return False

    def kill(self) -> None:
        """As a power cut: no process of it, tests included, gets a word in. The worker's children die with it."""
        assert self.process is not None
        for pid in (*children(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)

    def terminate(self) -> int:
        """SIGTERM; gives the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=60)

    def get(self, path: str, **arguments: Any) -> Any:
        response = requests.get(f"{self.url}{path}", timeout=30, **arguments)
        response.raise_for_status()
        return response.json()

    def submit(self, archive: bytes, options: Mapping[str, Any] | None = None, key: str | None = None) -> str:
        data = {"options": json.dumps(options)} if options else {}
        files = {"file": ("class.zip", archive)}
        headers = {"Idempotency-Key": key} if key else {}
        answer = requests.post(f"{self.url}/evaluation", files=files, data=data, headers=headers, timeout=60)
        assert answer.status_code == 202, answer.text
        found: str = answer.json()["id"]
        assert answer.headers["Location"].endswith(found)
        return found

    def wait_done(self, evaluation_id: str, patience: float = PATIENCE_S) -> dict[str, Any]:
        return wait_for(lambda: ended(self.get(f"/evaluation/{evaluation_id}")), patience, f"{evaluation_id} to end")


@dataclass
class RunningMesh:
    nodes: list[RunningNode] = field(default_factory=list)

    def __getitem__(self, index: int) -> RunningNode:
        return self.nodes[index]

    def wait_joined(self) -> None:
        """Until every living node knows every other."""
        alive = [node for node in self.nodes if node.process is not None and node.process.poll() is None]
        everyone = {node.address for node in alive}
        for node in alive:
            wait_for(
                lambda node=node: node.is_healthy() and {*node.get("/peers"), node.address} == everyone,  # type: ignore[misc]
                what=f"{node.address} to know {everyone}",
            )


@contextlib.contextmanager
def mesh(folder: Path, count: int, **settings: str) -> Iterator[RunningMesh]:
    """`count` joined nodes; `settings` are MESH_ variables for all of them."""
    running = RunningMesh()
    ports = free_ports(count)
    for port in ports:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
        node = RunningNode(port, folder, environ)
        environ |= {
            "MESH_PORT": str(port),
            "MESH_SECRET": SECRET,
            "MESH_DATA_DIR": str(node.data),
            "MESH_BOOTSTRAP": "" if port == ports[0] else f"127.0.0.1:{ports[0]}",
        } | settings
        running.nodes.append(node)
    try:
        for node in running.nodes:
            node.start()
        running.wait_joined()
        yield running
    except BaseException:
        for node in running.nodes:
            if node.log.exists():
                sys.stderr.write(f"--- {node.log.name}\n{node.log.read_text(errors='replace')[-6000:]}\n")
        raise
    finally:
        for node in running.nodes:
            if node.process is not None and node.process.poll() is None:
                node.kill()


def wait_for(condition: Callable[[], T | None], patience: float = PATIENCE_S, what: str = "the condition") -> T:
    """What `condition` gives once that is true. Fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain for {what}; the last was {found!r}")
        time.sleep(0.05)


def ended(document: dict[str, Any]) -> dict[str, Any] | None:
    return document if document["finished_at"] else None


def children(pid: int) -> list[int]:
    """Its child processes, not their children."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [taken.getsockname()[1] for taken in sockets]


def zip_of(files: Mapping[str, str | bytes]) -> bytes:
    """A zip with these files, by path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()
