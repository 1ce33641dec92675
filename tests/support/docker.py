"""A real Docker engine: compose stacks on ports and networks of their own. Everything is gone when the context ends."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from testmesh.local import engine
from testmesh.local.engine import Engine
from testmesh.local.errors import LocalError
from tests.support.mesh import ended, wait_for
from tests.support.ports import free_ports

REPOSITORY = Path(__file__).resolve().parents[2]
_BASES = {"BASE_IMAGE": "python:3.12-slim-bookworm", "NGINX_IMAGE": "nginx:1.28"}
_COPIED = (
    ".dockerignore",
    "Dockerfile",
    "boot.sh",
    "default.conf",
    "docker",
    "docker-compose.yml",
    "examples",
    "pyproject.toml",
    "requirements.txt",
    "scripts",
    "src",
)


def usable_engine() -> tuple[Engine | None, str]:
    """The engine, or None and why these tests cannot run here."""
    try:
        found = engine.find_engine(os.environ)
    except LocalError as error:
        return None, error.detail
    for variable, usual in _BASES.items():
        image = os.environ.get(variable) or usual
        inspected = engine.ask([found.docker, "image", "inspect", image], os.environ)
        if inspected.returncode and engine.ask([found.docker, "pull", "--quiet", image], os.environ).returncode:
            return None, f"the image {image} cannot be had; {variable} names another (.ci/run makes one)"
    return found, ""


@dataclass
class Stack:
    """The compose project of a copy of the repository."""

    folder: Path
    found: Engine
    subnet: str
    ports: list[int]  # of cnode1, cnode2 …
    entrance: int
    files: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MESH_", "COMPOSE_"))}
        published = {f"CNODE{number}_PORT": str(port) for number, port in enumerate(self.ports, 1)}
        own = {"NODE_SUBNET": self.subnet, "ENTRANCE_PORT": str(self.entrance), "TESTMESH_PYTHON": sys.executable}
        return kept | published | own | self.variables

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.entrance}"

    def compose(self, *arguments: str) -> str:
        """Run compose in the project's folder; what it printed."""
        files = [part for file in self.files for part in ("-f", file)]
        return self._run([*self.found.compose, *files, *arguments])

    def docker(self, *arguments: str) -> str:
        return self._run([self.found.docker, *arguments])

    def run(self, *command: str, patience: float = 240) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )

    def _run(self, command: list[str]) -> str:
        ended = self.run(*command)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def container(self, service: str) -> str:
        """Its id, of a stopped one too."""
        listed = self.docker(
            "ps", "-aq", "--filter", f"label=com.docker.compose.service={service}", *self._own_filter()
        )
        return listed.strip()

    def containers(self) -> list[str]:
        return self.docker("ps", "-aq", *self._own_filter()).split()

    def _own_filter(self) -> tuple[str, str]:
        return "--filter", f"label=com.docker.compose.project={self.folder.name}"

    def inspect(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", self.container(service)))[0]
        return found

    def get(self, path: str, port: int | None = None) -> Any:
        """A document, through the entrance or from the node on `port`."""
        answer = requests.get(f"http://127.0.0.1:{port or self.entrance}{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def submit(self, archive: bytes, port: int | None = None) -> str:
        answer = requests.post(
            f"http://127.0.0.1:{port or self.entrance}/evaluation", files={"file": ("class.zip", archive)}, timeout=60
        )
        assert answer.status_code == 202, answer.text
        found: str = answer.json()["id"]
        return found

    def wait_done(self, evaluation_id: str, port: int | None = None) -> dict[str, Any]:
        return wait_for(lambda: ended(self.get(f"/evaluation/{evaluation_id}", port)), what=f"{evaluation_id} to end")

    def wait_whole(self) -> None:
        """Until every node is healthy and knows every other, and the entrance leads to them."""
        wait_for(self.is_whole, what="all nodes to know each other")

    def is_whole(self) -> bool:
        return all(map(self._knows_all, self.ports)) and answers(f"{self.url}/health")

    def _knows_all(self, port: int) -> bool:
        with contextlib.suppress(requests.RequestException):
            return len(self.get("/peers", port)) == len(self.ports) - 1
        return False


def answers(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=5).status_code == 200
    return False


def random_subnet() -> str:
    """The first three numbers of a private network that hardly anyone uses."""
    return f"10.{random.randrange(201, 250)}.{random.randrange(256)}"


@contextlib.contextmanager
def stack(folder: Path, found: Engine, nodes: int = 4, **variables: str) -> Iterator[Stack]:
    """A copy of the repository in `folder`, whose name must be unique; what is started there is removed."""
    copy_repository(folder)
    *ports, entrance = free_ports(nodes + 1)
    made = Stack(folder, found, random_subnet(), ports, entrance, variables=variables)
    try:
        yield made
    except BaseException:
        sys.stderr.write(made.run(*found.compose, "logs", "--tail", "40", "--no-color").stdout[-8000:])
        raise
    finally:
        # The override's nodes too, where a test added them.
        whole = [*found.compose, "-f", "docker-compose.yml", "-f", "docker/six-nodes.yml"]
        made.run(*whole, "kill")
        made.run(*whole, "down", "--volumes", "--remove-orphans", "--rmi", "local")


def copy_repository(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in _COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, folder / name)


def unique_name(prefix: str) -> str:
    """For a project, so that no other run on this machine has the same."""
    return f"{prefix}{os.getpid()}x{random.randrange(10**6)}"


def projects(count: int, test_file: str) -> Mapping[str, str | bytes]:
    """So many projects of one test file each, by path; see `zip_of`."""
    return {f"class/p{number:02}/tests/test_it.py": test_file for number in range(count)}
