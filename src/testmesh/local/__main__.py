"""`python -m testmesh.local`: the part of boot.sh that is not shell."""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from testmesh.errors import TestmeshError
from testmesh.local.docker_mesh import DockerMesh
from testmesh.local.engine import Engine
from testmesh.local.errors import LocalError
from testmesh.local.mesh import LocalMesh, Plan


def main(arguments: list[str]) -> int:
    """The exit code: 0, 1 where a grade of the demonstration is not as expected, 2 where the mesh cannot be started."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    root = Path.cwd()
    try:
        if given.down:
            _down(root, given.mode)
            _say("The mesh is down.")
            return 0
        port = _up(root, given)
        if given.demo:
            # Imported here, so that --down works where no environment was made.
            from testmesh.local.demo import run_demo  # noqa: PLC0415

            return run_demo(root, f"http://127.0.0.1:{port}", os.environ.get("MESH_API_TOKEN"))
    except TestmeshError as error:
        sys.stderr.write(f"boot.sh: {error.detail}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("boot.sh: interrupted; what still runs is stopped by ./boot.sh --down\n")
        return 130
    return 0


def _up(root: Path, given: argparse.Namespace) -> int:
    """The port of the entrance. Processes and containers of one checkout do not run side by side: they share ports."""
    counted = given.nodes is not None or given.first_port is not None
    if given.mode == "docker" and counted:
        raise LocalError("--nodes and --first-port are for --local; docs/docker.md shows how to add containers")
    containers = DockerMesh(root, os.environ, _say)
    engine = _engine(containers, told=given.mode == "auto" and not counted, needed=given.mode == "docker")
    processes = LocalMesh(root, os.environ, _say)
    if engine is not None and given.mode != "local" and not counted:
        processes.down()
        return containers.up(engine, given.port, fresh=given.fresh)
    if engine is not None:
        containers.down(engine)
    return processes.up(Plan(given.nodes or 4, given.first_port or 5001, given.port), fresh=given.fresh)


def _engine(containers: DockerMesh, *, told: bool, needed: bool) -> Engine | None:
    try:
        return containers.find_engine()
    except LocalError as error:
        if needed:
            raise
        if told:
            _say(f"No containers ({error.detail}): starting the nodes as processes.")
        return None


def _down(root: Path, mode: str) -> None:
    """Both kinds, whichever runs."""
    if mode != "docker":
        LocalMesh(root, os.environ, _say).down()
    containers = DockerMesh(root, os.environ, _say)
    engine = None if mode == "local" else _engine(containers, told=False, needed=mode == "docker")
    if engine is not None:
        containers.down(engine)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./boot.sh", add_help=False, allow_abbrev=False)
    parser.add_argument("--mode", choices=["auto", "docker", "local"], default="auto")
    parser.add_argument("--down", action="store_true")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--port", type=_port)
    parser.add_argument("--nodes", type=_count)
    parser.add_argument("--first-port", type=_port)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port; give a number from 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text} nodes cannot be started; give a number from 1 to 64")
    return int(text)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on (./boot.sh | head); that is no reason to stop half-way
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
