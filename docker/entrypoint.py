"""Process 1 of a node's container: finds the mesh's secret and the node's address, then becomes the node.

Besides the node's own settings it reads:
  HOST_REAL_IP      the address of the machine, as the nodes of other machines reach it
  PUBLISHED_PORT    the port of the machine that leads to this node; without it MESH_PORT
  NODE_NAME         this container's name in its network; used where HOST_REAL_IP is not set
  NEIGHBOURS        NAME:PORT,… of the nodes of the same network; NODE_NAME may be among them
"""

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

_SECRET_FILE = Path("/secret/mesh")
_NODE = Path(__file__).resolve().parents[1] / "src" / "run_node.py"
_OWN = ("HOST_REAL_IP", "PUBLISHED_PORT", "NODE_NAME", "NEIGHBOURS")


def keep_secret(file: Path, given: str) -> str:
    """The secret in `file`, which several containers share; `given` replaces it, and without either one is made.

    Raises:
        OSError: the folder cannot be written.
    """
    kept = file.read_text().strip() if file.exists() else ""
    if kept and given in ("", kept):
        return kept
    descriptor, unfinished = tempfile.mkstemp(dir=file.parent)  # its mode is 600
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write((given or secrets.token_hex(32)) + "\n")
        if given:
            Path(unfinished).replace(file)
        else:
            _link(unfinished, file)
    finally:
        Path(unfinished).unlink(missing_ok=True)
    return file.read_text().strip()


def _link(unfinished: str, file: Path) -> None:
    """Unlike a renaming, a link replaces nothing: of containers that start at once the first one's secret stays."""
    try:
        os.link(unfinished, file)
    except FileExistsError:
        return


def node_environ(environ: Mapping[str, str], secret: str, host_name: str) -> dict[str, str]:
    """The node's environment: the container's, and where it listens, how others reach it, whom it joins."""
    port = environ.get("MESH_PORT") or "5001"
    name = environ.get("NODE_NAME") or host_name
    outside = environ.get("HOST_REAL_IP", "").strip()
    reached_at = f"{outside}:{environ.get('PUBLISHED_PORT') or port}" if outside else f"{name}:{port}"
    neighbours = [place for place in environ.get("NEIGHBOURS", "").split(",") if place and place != f"{name}:{port}"]
    bootstrap = [*neighbours, *filter(None, [environ.get("MESH_BOOTSTRAP", "").strip()])]
    kept = {key: value for key, value in environ.items() if key not in _OWN}
    return kept | {
        "MESH_HOST": "0.0.0.0",  # noqa: S104 - a container's port is reached from outside only where it is published
        "MESH_PORT": port,
        "MESH_ADVERTISE": environ.get("MESH_ADVERTISE") or reached_at,
        "MESH_BOOTSTRAP": ",".join(bootstrap),
        "MESH_DATA_DIR": environ.get("MESH_DATA_DIR") or "/data",
        "MESH_SECRET": secret,
    }


def main() -> NoReturn:
    given = os.environ.get("MESH_SECRET", "").strip()
    try:
        secret = keep_secret(_SECRET_FILE, given)
    except OSError as error:
        sys.stderr.write(
            f"testmesh: the secret cannot be kept in {_SECRET_FILE} ({error.strerror}); the volume must belong to "
            f"user {os.getuid()}\n"
        )
        sys.exit(2)
    environ = node_environ(os.environ, secret, socket.gethostname())
    host, _, port = environ["MESH_ADVERTISE"].rpartition(":")
    if os.environ.get("HOST_REAL_IP"):
        sys.stdout.write(
            "From another machine with a copy of this folder, let a node join by: "
            f"MESH_SECRET=… python3 src/local_node.py {port} {host} {port} (the secret is in {_SECRET_FILE} here)\n"
        )
    else:
        sys.stdout.write("HOST_REAL_IP is not set: nodes of other machines cannot join this one\n")
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, str(_NODE)], environ)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
