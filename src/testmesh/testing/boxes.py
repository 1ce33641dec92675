"""Boxes of one node: its launcher, its level of isolation and what all boxes of it share."""

import contextlib
import itertools
import logging
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from testmesh.errors import InfrastructureError
from testmesh.testing import cgroups, sandbox_cause
from testmesh.testing.box_process import BoxError, BoxProcess
from testmesh.testing.box_request import BoxCommand, BoxLimits, box_request
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.folders import remove_tree
from testmesh.testing.isolation import IsolationLevel, new_uid, probe
from testmesh.testing.launcher_process import LauncherProcess
from testmesh.testing.machine_files import MachineFiles, interpreter_folders, machine_files

_log = logging.getLogger(__name__)
_TRY_S = 20.0
_TRY = "import os, sys; open(sys.argv[1]).close(); open(sys.argv[2], 'w').close()"


@dataclass(frozen=True)
class Boxes:
    """Safe from any thread. Made by `open_boxes`."""

    launcher: LauncherProcess
    level: IsolationLevel
    limits: BoxLimits
    files: MachineFiles
    cgroup: Any = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _users: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new_name(self) -> str:
        return f"run-{next(self._numbers)}"

    @contextlib.contextmanager
    def user(self) -> Iterator[int | None]:
        """The user of one run, where each has its own; no other run has it meanwhile."""
        if not self.level.own_uid:
            yield None
            return
        with self._lock:
            uid = new_uid(self._users)
            if uid is None:
                raise InfrastructureError("this container maps too few users for a run to have one of its own")
            self._users.add(uid)
        try:
            yield uid
        finally:
            with self._lock:
                self._users.discard(uid)

    def start(
        self,
        command: BoxCommand,
        *,
        uid: int | None,
        limits: BoxLimits | None = None,
        with_events: bool = False,
        lock: int | None = None,
        launcher: LauncherProcess | None = None,
    ) -> BoxProcess:
        """`launcher`: a warm one, whose tests need no interpreter to be started.

        Raises:
            InfrastructureError: no process is to be had.
        """
        request = box_request(command, self.level, limits or self.limits, self.files, uid, self.cgroup)
        return BoxProcess(launcher or self.launcher, request, command.timeout_s, with_events, lock)

    def close(self) -> None:
        self.launcher.close()
        if self.cgroup is not None:
            with contextlib.suppress(OSError):
                cgroups.remove(cgroups.Groups(self.cgroup))


def open_boxes(
    work: Path,
    wanted: str = "auto",
    limits: BoxLimits | None = None,
    python: Path | None = None,
    node_pid: int | None = None,
) -> Boxes:
    """Start the launcher and find the best level that works here, not above `wanted`.

    It is tried in the folder `work` with the interpreter `python`, by default the one that runs this. `node_pid`: the
    process that all of the node descend from, by default this one.
    """
    launcher = LauncherProcess()
    boxes = Boxes(launcher, IsolationLevel("none"), limits or BoxLimits(), machine_files())
    work.mkdir(parents=True, exist_ok=True)
    level = probe(lambda tried: _try_level(replace(boxes, level=tried), work, python or Path(sys.executable)), wanted)
    return replace(
        boxes, level=level, cgroup=_make_cgroup(node_pid or os.getpid()) if level.sandbox != "none" else None
    )


def _make_cgroup(node_pid: int) -> list[Any] | None:
    own = Path("/proc/self")
    try:
        mounts, groups = ((own / name).read_text(encoding="utf-8") for name in ("mountinfo", "cgroup"))
        cgroups.sweep(mounts, groups)
        home, cause = cgroups.make_home(cgroups.home_name(os.getpid()), mounts, groups, node_pid)
    except OSError as error:
        home, cause = None, str(error)
    if cause:
        _log.info("limits of a run that no control group holds are watched: %s", cause)
    return None if home is None else home.folders


def _try_level(boxes: Boxes, work: Path, python: Path) -> str:
    """Really make a box and run Python in it: "" if that works, else why not, in words that help."""
    folder = work / "try"
    remove_tree(folder)  # what another level left belongs to another user
    folder.mkdir(mode=0o755)
    is_full = boxes.level.sandbox == "full"
    seen = str(Path(__file__))
    command = BoxCommand(
        name="try",
        argv=(str(python), "-I", "-S", "-c", _TRY, seen, "made"),
        env={},
        cwd="/box/code" if is_full else str(folder),
        timeout_s=_TRY_S,
        read=(seen, *environment_folders(python)),
        write=() if is_full else (str(folder),),
    )
    try:
        with boxes.user() as uid:
            if uid is not None and not is_full:
                os.chown(folder, uid, uid)
            end = boxes.start(command, uid=uid).follow(Cancellation())
    except BoxError as error:
        return sandbox_cause.explain(error.reason, error.errno, sandbox_cause.read_facts())
    except (InfrastructureError, OSError) as error:
        return str(error)
    finally:
        remove_tree(folder)
    if end.exit_code != 0:
        return f"Python does not run in it: {end.stderr.strip()[-300:] or f'exit status {end.exit_code}'}"
    return ""


def environment_folders(python: Path) -> tuple[str, ...]:
    """A virtual environment, if `python` is one's, and the interpreter it is made of."""
    environment = python.parent.parent
    own = (str(environment),) if (environment / "pyvenv.cfg").exists() else ()
    return (*own, *interpreter_folders(python))
