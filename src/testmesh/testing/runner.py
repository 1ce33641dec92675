"""Runs one module: a private copy of the code, an environment without secrets, the launch, and nothing left."""

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testmesh.errors import InfrastructureError
from testmesh.model import Service
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.events import Event, ProcessEnd, RunReport
from testmesh.testing.folders import copy_tree, remove_tree
from testmesh.testing.isolation import IsolationLevel
from testmesh.testing.launch import Launch
from testmesh.testing.loopback import loopback_lock
from testmesh.testing.rootdir import root_arguments
from testmesh.testing.start_gate import start_gate

_log = logging.getLogger(__name__)
_PREFIX = "run-"
_STARTED = frozenset({"begin", "session_end"})  # events after which a run no longer only starts
_PLUGIN = Path(__file__).with_name("pytest_plugin.py")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One attempt at one module."""

    code: Path  # the project's folder, which is only read; tests see a copy of the same name
    module: str  # relative to the project, with forward slashes
    python: Path  # of the project's environment; not resolved, for a link is what makes it one
    bin_dir: Path  # of the project's environment, first on PATH
    timeout_s: float
    services: tuple[Service, ...] = ()
    binds_ports: bool = False  # must not share a loopback with another such module
    tests_found: int = 1  # for the grade of a run that never came to collect


class ModuleRunner:
    """Safe from any thread, any number of runs at once. Each takes its thread until it has ended."""

    def __init__(
        self,
        work: Path,
        isolation: IsolationLevel,
        lock_folder: Path | None = None,
        max_file_size: int = 1024**3,
    ) -> None:
        """`work` is this runner's alone: what an earlier one left in it is removed."""
        self._work = work
        self._isolation = isolation
        self._lock_folder = lock_folder
        self._limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": max_file_size}
        work.mkdir(parents=True, exist_ok=True)
        for left in work.glob(_PREFIX + "*"):
            _discard(left)

    def run(
        self,
        request: RunRequest,
        on_started: Callable[[], None] = lambda: None,
        on_event: Callable[[Event], None] = lambda _: None,
        cancellation: Cancellation | None = None,
    ) -> RunReport:
        """Run a module to its end, its time limit or its cancellation; nothing of it is left when this returns.

        Both callbacks are called in this thread; `on_started` when the tests start, services and waiting behind them.

        Raises:
            InfrastructureError: it could not be run, which is no fault of the tests: disk full, no process to be had.
        """
        cancellation = cancellation or Cancellation()
        with (
            self._port_lock(request, cancellation) as lock,
            self._private_folder() as folder,
            start_gate(cancellation, self._lock_folder) as opened,
        ):

            def take(event: Event) -> None:
                if event.kind in _STARTED:
                    opened()
                on_event(event)

            if cancellation.is_set:
                return RunReport(end=ProcessEnd(cancelled=True))
            project = _prepare(request, folder)
            commands = self._commands(request, folder, project)
            launch = Launch(commands, request.module, request.services, request.timeout_s, lock)
            return launch.follow(on_started, take, cancellation)

    @contextlib.contextmanager
    def _port_lock(self, request: RunRequest, cancellation: Cancellation) -> Iterator[int | None]:
        may_bind = request.binds_ports or bool(request.services)
        if self._isolation.loopback == "private" or not may_bind:
            yield None
        else:
            with loopback_lock(cancellation, self._lock_folder) as descriptor:
                yield descriptor

    @contextlib.contextmanager
    def _private_folder(self) -> Iterator[Path]:
        folder = self._work / (_PREFIX + secrets.token_hex(4))
        try:
            yield folder
        finally:
            _discard(folder)

    def _commands(self, request: RunRequest, folder: Path, project: Path) -> dict[str, Any]:
        """What the launcher is told, but for the pipes."""
        env = {
            "PATH": f"{request.bin_dir}:{_SYSTEM_PATH}",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if (request.bin_dir.parent / "pyvenv.cfg").exists():
            env["VIRTUAL_ENV"] = str(request.bin_dir.parent)
        return {
            "argv": [str(request.python), str(_PLUGIN)],
            "arguments": root_arguments(project, request.module),
            "env": env,
            "cwd": str(project),
            "services": [asdict(service) for service in request.services],
            "limits": self._limits,
            "namespaces": self._isolation.loopback == "private",
            "user_namespace": self._isolation.user_namespace,
            "fresh_proc": self._isolation.fresh_proc,
        }


def _discard(folder: Path) -> None:
    """Remove a run's folder. What cannot be removed must not change the verdict: it waits for the next start."""
    try:
        remove_tree(folder)
    except OSError as error:
        _log.warning("%s cannot be removed now: %s", folder, error)


def _prepare(request: RunRequest, folder: Path) -> Path:
    """A fresh folder with a home, a place for temporary files and a writable copy of the code, which is returned."""
    project = folder / "code" / (request.code.name or "project")
    try:
        for made in (folder, folder / "home", folder / "tmp", folder / "code"):
            made.mkdir(mode=0o700)
        copy_tree(request.code, project)
    except OSError as error:
        raise InfrastructureError(f"the code cannot be copied for its tests: {error}") from error
    return project
