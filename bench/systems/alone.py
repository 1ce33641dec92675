"""One command by itself: its wall time and the processor time of its whole process tree.

    python -m bench.systems.alone '{"command": …}'

runs a command below a process that adopts all orphans, and where that is permitted in a network of its own; prints what
it took. Whatever is left of it is killed and counted.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.systems.groups import Group
from testmesh.testing import namespaces
from testmesh.testing.process_tree import kill_descendants

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Order:
    """`group`: folder of the control group that counts; without one, the times of all children are summed."""

    command: Sequence[str]
    folder: str
    environ: Mapping[str, str]
    output: str  # the file for what it prints
    timeout_s: float
    own_network: bool
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Took:
    """`wall`: seconds until the command itself ended. `cpu`: seconds, user and system, of it and all below it."""

    wall: float
    cpu: float
    in_time: bool
    status: int


def alone(order: Order) -> Took:
    """Run it from a fresh process, so that nothing of this one is counted."""
    command = [sys.executable, "-m", "bench.systems.alone", json.dumps(asdict(order))]
    done = subprocess.run(command, env=_environ(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(order.command)} could not be measured:\n{done.stderr}")
    return Took(**json.loads(done.stdout))


def can_have_own_network() -> bool:
    """Whether a command can have a loopback that no other has."""
    code = "from bench.systems.alone import enter_network; enter_network()"
    return (
        subprocess.run([sys.executable, "-c", code], env=_environ(), capture_output=True, check=False).returncode == 0
    )


def enter_network() -> None:
    """Leave the machine's network for an empty one with its own loopback.

    Raises:
        OSError: this is not permitted here.
    """
    uid, gid = os.getuid(), os.getgid()
    try:
        namespaces.unshare(namespaces.NEWNET)
    except PermissionError:
        namespaces.unshare(namespaces.NEWUSER | namespaces.NEWNET)
        namespaces.map_ids("self", uid, uid, gid)
    namespaces.loopback_up()


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


# The process beside the command --------------------------------------------------------------


def _measured(order: Order) -> Took:
    namespaces.adopt_orphans()
    before = _counted(order)
    with Path(order.output).open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            order.command,
            cwd=order.folder,
            env=dict(order.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _enter(order),  # noqa: PLW1509 - this process has a single thread
        )
        in_time = True
        try:
            process.wait(order.timeout_s)
        except subprocess.TimeoutExpired:
            in_time = False
        wall = time.perf_counter() - begun
    if not in_time:
        process.kill()
        process.wait()
    kill_descendants()
    return Took(wall, _counted(order) - before, in_time, process.returncode)


def _enter(order: Order) -> None:
    if order.group:
        (Path(order.group) / "cgroup.procs").write_text(str(os.getpid()))
    if order.own_network:
        enter_network()


def _counted(order: Order) -> float:
    if order.group:
        return Group((Path(order.group),)).cpu_seconds()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    json.dump(asdict(_measured(Order(**json.loads(sys.argv[1])))), sys.stdout)
