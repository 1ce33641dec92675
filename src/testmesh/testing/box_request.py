"""What the launcher is told of a run, for each level of isolation (launcher.py says what the fields mean)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from testmesh.model import Service
from testmesh.settings import GIB, MIB
from testmesh.testing import namespaces
from testmesh.testing.isolation import IsolationLevel
from testmesh.testing.machine_files import MachineFiles

_OPEN_FILES = 4096
_PENDING_SIGNALS, _MESSAGE_QUEUES, _LOCKED_MEMORY = 1024, 819_200, 8 * MIB  # they count to the node's user too
_SLACK_S = 60.0  # of wall time, after which a box ends by itself: the node should have ended it long before
_DATA_TIMES = 2  # of the memory limit: what a process may reserve, for much of it is never used
_CPU_TIMES = 2  # processor seconds for each second of wall time that a run may take


@dataclass(frozen=True, slots=True)
class BoxLimits:
    """What all processes of a run may use together; bytes and numbers."""

    memory: int = 2 * GIB
    processes: int = 256
    disk: int = GIB


@dataclass(frozen=True, slots=True)
class BoxCommand:
    """A command and what it may touch. Paths are the machine's; `read` has what is shown besides the machine's own.

    At level full it sees `code` (its folder and name) as a copy in the box, and nothing but `read` and `write`.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    timeout_s: float
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    code: tuple[str, str] | None = None
    watched_folder: str | None = None  # on disk, where the disk limit holds
    services: tuple[Service, ...] = ()
    hand_over: Mapping[str, Any] | None = None
    network: bool = False  # it reaches other machines


def box_request(
    command: BoxCommand,
    level: IsolationLevel,
    limits: BoxLimits,
    files: MachineFiles,
    uid: int | None,
    cgroup: Any = None,
) -> dict[str, Any]:
    kept = namespaces.NEWNET if command.network else 0
    return {
        "level": level.sandbox,
        "name": command.name,
        "argv": list(command.argv),
        "env": dict(command.env),
        "cwd": command.cwd,
        "hand_over": command.hand_over,
        "services": [asdict(service) for service in command.services],
        "namespaces": level.namespaces & ~kept,
        "user_namespace": bool(level.namespaces & namespaces.NEWUSER),
        "uid": uid if level.own_uid else None,
        "root": _root(command, limits, files) if level.sandbox == "full" else None,
        "fresh_proc": level.fresh_proc,
        "landlock": _landlock(command, level, files),
        "limits": {
            "RLIMIT_CORE": 1,  # 0 would still let a handler of the machine, which is root's, take a dump
            "RLIMIT_FSIZE": limits.disk,
            "RLIMIT_NOFILE": _OPEN_FILES,
            "RLIMIT_SIGPENDING": _PENDING_SIGNALS,
            "RLIMIT_MSGQUEUE": _MESSAGE_QUEUES,
            "RLIMIT_MEMLOCK": _LOCKED_MEMORY,
            "RLIMIT_DATA": _DATA_TIMES * limits.memory,
            "RLIMIT_CPU": int(command.timeout_s * _CPU_TIMES) + 1,
        },
        "memory": limits.memory,
        "processes": limits.processes,
        "wall": command.timeout_s + sum(max(one.timeout_s, one.seconds) for one in command.services) + _SLACK_S,
        "cpu_time": command.timeout_s * _CPU_TIMES,
        "folder": command.watched_folder,
        "disk": limits.disk,
        "cgroup": cgroup,
    }


def _root(command: BoxCommand, limits: BoxLimits, files: MachineFiles) -> dict[str, Any]:
    etc = [*files.etc, *(files.etc_network if command.network else ())]
    return {
        "read": _outermost([*files.folders, *etc, *command.read]),
        "write": list(command.write),
        "links": [list(link) for link in files.links],
        "code": None if command.code is None else list(command.code),
        "size": limits.disk,
    }


def _landlock(command: BoxCommand, level: IsolationLevel, files: MachineFiles) -> dict[str, Any] | None:
    if not level.landlock:
        return None
    etc = [*files.etc, *files.etc_network]
    links = [path for path, _ in files.links]
    return {
        "read": [*files.folders, *links, *etc, "/proc", "/dev", *command.read],
        "write": [*command.write, *files.devices],
        "abi": level.landlock,
    }


def _outermost(paths: Sequence[str]) -> list[str]:
    """Without what lies below another one: it is shown with that."""
    found: list[str] = []
    for path in sorted(f"{path}/" for path in set(paths)):
        if not found or not path.startswith(found[-1]):
            found.append(path)
    return [path[:-1] for path in found]
