"""Real nodes as processes on free ports, for tests that need a mesh. Everything is gone when the context ends."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.support.once import made_once, shared_folder
from tests.support.ports import reserved_ports

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
    python: str = sys.executable
    host: str = "127.0.0.1"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

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
                [self.python, str(ROOT / "src" / "run_node.py")],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_healthy(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return self.request("GET", "/health", timeout=2).status_code == 200
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

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """All that is asked of it goes through here."""
        return requests.request(method, f"{self.url}{path}", **arguments)

    def get(self, path: str, **arguments: Any) -> Any:
        response = self.request("GET", path, **{"timeout": 30, **arguments})
        response.raise_for_status()
        return response.json()

    def submit(self, archive: bytes, options: Mapping[str, Any] | None = None, key: str | None = None) -> str:
        data = {"options": json.dumps(options)} if options else {}
        files = {"file": ("class.zip", archive)}
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.request("POST", "/evaluation", files=files, data=data, headers=headers, timeout=60)
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
    built = shared_environment()
    with reserved_ports(count) as ports:
        nodes = [_node(folder, port, ports[0], settings) for port in ports]
        if built is not None:
            for node in nodes:
                link_environments(built, node.data)
        with _running(nodes) as running:
            yield running


@contextlib.contextmanager
def _running(nodes: list[RunningNode]) -> Iterator[RunningMesh]:
    running = RunningMesh(nodes)
    try:
        for node in nodes:
            node.start()
        running.wait_joined()
        yield running
    except BaseException:
        for node in nodes:
            if node.log.exists():
                sys.stderr.write(f"--- {node.log.name}\n{node.log.read_text(errors='replace')[-6000:]}\n")
        raise
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.kill()


def _node(folder: Path, port: int, first: int, settings: Mapping[str, str]) -> RunningNode:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    node = RunningNode(port, folder, environ)
    environ |= {
        "MESH_PORT": str(port),
        "MESH_SECRET": SECRET,
        "MESH_DATA_DIR": str(node.data),
        "MESH_BOOTSTRAP": "" if port == first else f"127.0.0.1:{first}",
    }
    environ |= settings
    return node


def shared_environment() -> Path | None:
    """What build_environment makes, once for all tests; None where they have no folder in common."""
    shared = shared_folder()
    return made_once(shared, "built", build_environment) if shared else None


def build_environment(folder: Path) -> None:
    """That of projects without requirements, by a node with its data below `folder`, and what else it has made by then.

    With all bytecode: what is linked is not written to any more.
    """
    with reserved_ports(1) as (port,), _running([_node(folder, port, port, {})]) as running:
        running[0].wait_done(running[0].submit(zip_of({"p/test_a.py": "def test_a():\n    pass\n"})))
        wait_for(
            lambda: are_compiled(running[0].data / "environments"), 2 * PATIENCE_S, "the bytecode of the environments"
        )


def are_compiled(environments: Path) -> bool:
    """Whether all that a node has there has its bytecode, which is written in the background."""
    folders = [folder for folder in environments.iterdir() if not folder.name.startswith(".")]
    markers = [json.loads(file.read_text()) for file in environments.glob("*/ready.json")]
    return len(markers) == len(folders) > 0 and all(marker["compiled"] for marker in markers)


def link_environments(built: Path, data: Path) -> None:
    """As if the node had built them; that takes longer than most tests. Nothing writes into an environment's files."""
    for environments in built.glob("data_*/environments"):
        shutil.copytree(environments, data / environments.name, symlinks=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)
    return target


def wait_for(condition: Callable[[], T | None], patience: float = PATIENCE_S, what: str = "the condition") -> T:
    """What `condition` gives once that is true. Fails after `patience` seconds."""
    begun = time.monotonic()
    while True:
        found = condition()
        if found:
            return found
        waited = time.monotonic() - begun
        if waited > patience:
            raise AssertionError(f"waited {patience:.0f} s in vain for {what}; the last was {found!r}")
        time.sleep(min(max(0.02, waited / 10), 0.25))  # asking takes processor time from what is waited for


def ended(document: dict[str, Any]) -> dict[str, Any] | None:
    return document if document["finished_at"] else None


def children(pid: int) -> list[int]:
    """Its child processes, not their children."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def zip_of(files: Mapping[str, str | bytes]) -> bytes:
    """A zip with these files, by path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()
