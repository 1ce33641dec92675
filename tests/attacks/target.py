"""A node to attack, what is planted around it, and what every hostile project is told of it."""

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.attacks import guard
from tests.support.boxes import reachable_environment
from tests.support.mesh import ROOT, RunningNode, ended, wait_for
from tests.support.ports import free_ports

MIB = 1024**2
LIMITS = {"memory": 256 * MIB, "disk": 64 * MIB, "processes": 64}
SETTINGS = {
    "MESH_MODULE_MEMORY": str(LIMITS["memory"]),
    "MESH_MODULE_DISK": str(LIMITS["disk"]),
    "MESH_MODULE_PROCESSES": str(LIMITS["processes"]),
}
_KIT = Path(__file__).with_name("kit.py").read_text()
_NOBODY = 4_190_001  # a process id that is hardly ever given
_PATIENCE_S = 600.0
_NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts")


class CannotRunError(Exception):
    """The node does not have what this needs; the message says what."""


@dataclass
class Range:
    """A node to shoot at, and everything that watches over it. `node` is None where it is not ours (--url)."""

    url: str
    level: str
    loopback: str
    mark: str
    headers: Mapping[str, str]
    canaries: list[guard.Canary]
    secrets: tuple[str, ...]
    trap: guard.Trap
    left_port: int
    node: RunningNode | None = None
    data_dir: str = "/data"

    def get(self, path: str) -> Any:
        answer = requests.get(self.url + path, headers=self.headers, timeout=120)
        answer.raise_for_status()
        return answer.json()

    def post(self, archive: bytes, options: Mapping[str, float] | None = None) -> requests.Response:
        return requests.post(
            f"{self.url}/evaluation",
            files={"file": ("class.zip", archive)},
            data={"options": json.dumps(options)} if options else {},
            headers=self.headers,
            timeout=120,
        )

    def grade(self, archive: bytes, options: Mapping[str, float] | None = None) -> tuple[dict[str, Any], list[Any]]:
        """Submit, wait, and give the evaluation and its tests."""
        answer = self.post(archive, options)
        assert answer.status_code == 202, answer.text
        path = f"/evaluation/{answer.json()['id']}"
        document = wait_for(lambda: ended(self.get(path)), _PATIENCE_S, f"{path} to end")
        return document, list(self.get(f"{path}/tests")["tests"])

    def node_pids(self) -> list[int]:
        if self.node is None or self.node.process is None:
            return [_NOBODY, _NOBODY + 1]
        return [self.node.process.pid, *guard.descendants(self.node.process.pid)]

    def kit(self) -> dict[str, str | bytes]:
        """What every project carries."""
        addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
        target = {
            "mark": self.mark,
            "ns": {
                kind: str(Path(f"/proc/self/ns/{kind}").readlink())
                for kind in ("user", "mnt", "pid", "net", "ipc", "uts")
            },
            "uids": [0, os.getuid()],
            "limits": LIMITS,
            "passwd_digest": hashlib.sha256(Path("/etc/passwd").read_bytes()).hexdigest(),
            "data_dir": self.data_dir,
            "secret_files": [f"{self.data_dir}/node.key", "/secret/mesh", str(ROOT / ".run" / "secret")],
            "canary_files": [str(canary.path) for canary in self.canaries],
            "home_canary": str(self.canaries[-1].path),
            "source_dir": str(ROOT / "src"),
            "node_pid": self.node_pids()[0],
            "node_pids": self.node_pids(),
            "node_port": int(self.url.rpartition(":")[2]),
            "addresses": ["127.0.0.2", *addresses],
            "trap_port": self.trap.port,
            "abstract": self.trap.abstract,
            "unix": str(self.trap.unix),
            "left_port": self.left_port,
            "ipc_key": 0x746D0000 | int(self.mark[-4:], 16),
        }
        return {"kit.py": _KIT, "target.json": json.dumps(target)}


@contextlib.contextmanager
def local_range(folder: Path, level: str) -> Iterator[Range]:
    """A node of our own at that level, with random secrets. Raises CannotRunError where the level cannot be had."""
    folder.chmod(0o711)  # level portable runs tests as another user, who must get to his own folder
    mark = f"tm{secrets.token_hex(5)}"
    hidden = (guard.new_canary(), guard.new_canary())
    settings = SETTINGS | {"MESH_SANDBOX": level, "MESH_SECRET": hidden[0], "MESH_API_TOKEN": hidden[1]}
    with contextlib.ExitStack() as stack:
        planted = stack.enter_context(guard.canaries(folder))
        trap = stack.enter_context(guard.Trap(folder, mark))
        python = reachable_environment(folder) if level == "portable" and os.getuid() == 0 else Path(sys.executable)
        node = stack.enter_context(_running(folder, settings, python))
        health = node.get("/health")
        found = Range(
            url=node.url,
            level=health["sandbox"],
            loopback=health["loopback"],
            mark=mark,
            headers={"Authorization": f"Bearer {hidden[1]}"},
            canaries=planted,
            secrets=(*hidden, *(canary.text for canary in planted)),
            trap=trap,
            left_port=free_ports(1)[0],
            node=node,
            data_dir=str(node.data),
        )
        yield found


@contextlib.contextmanager
def _running(folder: Path, settings: Mapping[str, str], python: Path) -> Iterator[RunningNode]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    node = RunningNode(free_ports(1)[0], folder, environ, python=str(python))
    environ |= {"MESH_PORT": str(node.port), "MESH_DATA_DIR": str(node.data), **settings}
    node.start()
    assert node.process is not None
    process = node.process
    try:
        wait_for(lambda: node.is_healthy() or process.poll() is not None, what="the node to start or give up")
        if process.poll() is not None:
            raise CannotRunError(node.log.read_text(errors="replace").strip().rpartition("\n")[2])
        yield node
    finally:
        if process.poll() is None:
            node.kill()


@contextlib.contextmanager
def remote_range(folder: Path, url: str, token: str | None) -> Iterator[Range]:
    """A node that runs already, e.g. the entrance of a compose stack on this machine."""
    mark = f"tm{secrets.token_hex(5)}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with guard.canaries(folder) as planted, guard.Trap(folder, mark) as trap:
        health = requests.get(f"{url}/health", timeout=30).json()
        hidden = tuple(canary.text for canary in planted) + ((token,) if token else ())
        port = free_ports(1)[0]
        found = Range(url, health["sandbox"], health["loopback"], mark, headers, planted, hidden, trap, port)
        yield found
