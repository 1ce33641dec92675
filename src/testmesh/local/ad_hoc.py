"""One node beside the others: what src/local_node.py starts."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from testmesh.local import docker_node, health
from testmesh.local.address import routed_address
from testmesh.local.engine import Engine, find_engine
from testmesh.local.environment import ensure_environment
from testmesh.local.errors import LocalError
from testmesh.local.mesh import join_line, node_environ
from testmesh.local.run_folder import RunFolder

_USAGE = """local_node.py [--process] PORT [[HOST] BOOTSTRAP_PORT]

  local_node.py 5001                     a new mesh
  local_node.py 5002 5001                joins the node on 5001 of this machine
  local_node.py 5003 192.168.1.20 5001   joins a node of another machine

A container, in the background; with --process a process, in the foreground."""


@dataclass(frozen=True, slots=True)
class Request:
    """Whom to join: `bootstrap_port` of `host`, or of this machine; a new mesh where both are None."""

    port: int
    host: str | None = None
    bootstrap_port: int | None = None


def parse(arguments: list[str]) -> tuple[Request, bool]:
    """What to start, and whether as a process. Ends the program with exit code 2 where that cannot be understood."""
    parser = argparse.ArgumentParser(prog="local_node.py", usage=_USAGE, allow_abbrev=False)
    parser.add_argument("--process", action="store_true", help="in the foreground, without a container")
    parser.add_argument("places", nargs="+", metavar="PORT", help="its port, and the address of a node to join")
    given = parser.parse_args(arguments)
    *hosts, last = given.places[1:] or [None]
    ports = [given.places[0], *([last] if last else [])]
    if len(hosts) > 1 or not all(port.isdecimal() and 0 < int(port) < 65536 for port in ports):
        parser.error("give a port, or a port and a port to join, or a port and the host and port to join")
    return Request(int(ports[0]), hosts[0] if hosts else None, int(last) if last else None), given.process


def plan_environ(request: Request, run: RunFolder, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the node.

    Raises:
        LocalError: it is to join a mesh whose secret is not known here.
    """
    bootstrap: tuple[str, ...] = ()
    towards = request.host
    if request.bootstrap_port is not None:
        own = environ.get("HOST_REAL_IP") or routed_address()
        known = None if request.host else health.node_address(request.bootstrap_port)
        bootstrap = (known or f"{request.host or own}:{request.bootstrap_port}",)
        towards = bootstrap[0].rpartition(":")[0]
    address = environ.get("HOST_REAL_IP") or (routed_address(towards) if towards else routed_address())
    secret = environ.get("MESH_SECRET") or run.secret()
    if secret is None:
        if bootstrap:
            raise LocalError(
                f"joining {bootstrap[0]} takes its secret: MESH_SECRET=… (there: the file .run/secret, or MESH_SECRET, "
                "or docker compose exec cnode1 cat /secret/mesh)"
            )
        secret = run.make_secret()
    return node_environ(
        environ,
        address=address,
        port=request.port,
        peers=bootstrap,
        secret=secret,
        data=run.ad_hoc_data(request.port),
    )


def run_node(root: Path, arguments: list[str]) -> NoReturn:
    """Start the node's container, or become the node: this process is replaced then. Exit code 2 where that cannot
    be, with why."""
    request, as_process = parse(arguments)
    run = RunFolder(root / ".run")
    try:
        engine = None if as_process else _engine(root)
        run.prepare()
        environ = plan_environ(request, run, os.environ)
        if engine is not None:
            docker_node.start(engine, root, request.port, environ)
            _describe(request, run, environ, f"docker stop {docker_node.container_name(request.port)}")
            sys.exit(0)
        python = sys.executable if _has_requirements() else str(ensure_environment(root, "requirements.txt"))
    except LocalError as error:
        sys.stderr.write(f"local_node.py: {error.detail}\n")
        sys.exit(2)
    _describe(request, run, environ, None)
    os.execve(python, [python, str(root / "src" / "run_node.py")], environ)  # noqa: S606 - no shell is wanted


def _engine(root: Path) -> Engine:
    if not (root / "Dockerfile").is_file():
        raise LocalError("Dockerfile is missing in this folder; for a node without a container add --process")
    try:
        return find_engine(os.environ, compose=False)
    except LocalError as error:
        raise LocalError(f"{error.detail}; for a node without a container add --process") from error


def _has_requirements() -> bool:
    return all(importlib.util.find_spec(name) for name in ("flask_openapi", "gunicorn", "pydantic", "requests"))


def _describe(request: Request, run: RunFolder, environ: Mapping[str, str], stop: str | None) -> None:
    """`stop`: the command that stops it, None where it runs in the foreground."""
    advertised = environ["MESH_ADVERTISE"]
    host = advertised.rpartition(":")[0]
    joins = f"joins {environ['MESH_BOOTSTRAP']}" if environ["MESH_BOOTSTRAP"] else "a new mesh"
    where = "the same MESH_SECRET as here" if os.environ.get("MESH_SECRET") else f"{run.secret_file} here"
    line = join_line(request.port + 1, f"{host} {request.port}", as_process=stop is None)
    sys.stdout.write(
        f"Node {advertised}: {joins}. {stop or 'Ctrl-C'} stops it.\nLet another join by:\n"
        f"{line}\n           where the secret is {where}.\n"
    )
    sys.stdout.flush()
