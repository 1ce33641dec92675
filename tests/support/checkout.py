"""A checkout whose nodes are fakes: boot.sh and all that belongs to it are the repository's own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import reserved_ports

REPOSITORY = Path(__file__).parents[2]

_FAKE_NODE = """\
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

behaviour = os.environ.get("FAKE_NODE", "")
if behaviour == "dies":
    sys.exit("fake node: no luck today")
data = Path(os.environ["MESH_DATA_DIR"])
data.mkdir(parents=True, exist_ok=True)
starts = data / "starts"
starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
(data / "environ.json").write_text(json.dumps(dict(os.environ)))
peers = [peer for peer in os.environ["MESH_BOOTSTRAP"].split(",") if peer]

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        healthy = behaviour != "ill"
        found = {"/health": {"status": "ok", "address": os.environ["MESH_ADVERTISE"]}, "/peers": peers}.get(self.path)
        self.send_response(200 if found is not None and healthy else 503)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *args):
        pass

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer((os.environ["MESH_HOST"], int(os.environ["MESH_PORT"])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Checkout:
    path: Path
    first_port: int
    entrance: int

    def command(self, *arguments: str) -> list[str]:
        return [str(self.path / "boot.sh"), *arguments]

    def environ(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
        # The test's own interpreter has the requirements; on all addresses is where a node listens, but only
        # the loopback is used.
        return kept | {"TESTMESH_PYTHON": sys.executable, "HOST_REAL_IP": "127.0.0.1"} | extra

    def boot(self, *arguments: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        """Run boot.sh with two nodes on ports of their own; `arguments` may say otherwise."""
        usual = ["--nodes", "2", "--first-port", str(self.first_port), "--port", str(self.entrance)]
        return self.run(*usual, *arguments, **extra)

    def run(self, *arguments: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments),
            env=self.environ(**extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def node_environ(self, number: int) -> dict[str, str]:
        """What the node saw in its environment; the first is number 0."""
        text = (self.path / ".run" / "data" / str(self.first_port + number) / "environ.json").read_text()
        return dict(json.loads(text))

    def starts(self, number: int) -> int:
        """How often the node was started on its data."""
        return len((self.path / ".run" / "data" / str(self.first_port + number) / "starts").read_text())


@contextmanager
def checkout(folder: Path) -> Iterator[Checkout]:
    """A checkout in `folder`; its mesh is stopped in the end."""
    shutil.copytree(REPOSITORY / "src" / "testmesh", folder / "src" / "testmesh", ignore=_no_caches)
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    for name in ("boot.sh", "default.conf", "src/local_node.py"):
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / "src" / "run_node.py").write_text(_FAKE_NODE)
    with reserved_ports(5) as (first, *_, last):
        made = Checkout(folder, first, last)
        try:
            yield made
        finally:
            made.run("--down")


def _no_caches(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]
