"""Runs one module: a private copy of the code, an environment without secrets, a box, and nothing left."""

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from testmesh.errors import InfrastructureError
from testmesh.model import Service
from testmesh.settings import GIB, MIB
from testmesh.testing.box_process import BoxEnd, BoxError
from testmesh.testing.box_request import BoxCommand, BoxLimits
from testmesh.testing.boxes import Boxes, environment_folders
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.events import Event, EventParser, ProcessEnd, RunReport, ServiceReport
from testmesh.testing.folders import copy_tree, give_to, remove_tree
from testmesh.testing.loopback import loopback_lock
from testmesh.testing.private_root import CODE, HOME
from testmesh.testing.rootdir import RootArguments
from testmesh.testing.warm_parents import WarmParent

_log = logging.getLogger(__name__)
_PREFIX = "run-"
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
    readable: tuple[str, ...] | None = None  # what `python` needs to run; None: as its links tell
    roots: RootArguments | None = None  # what is known of the project's configuration
    warm: WarmParent | None = None  # what has pytest imported already; None: a new interpreter


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run finds its things, as it sees them itself; `folder` is the node's, outside of a box of full."""

    code: str
    home: str
    temporary: str
    folder: Path | None


class ModuleRunner:
    """Safe from any thread, any number of runs at once. Each takes its thread until it has ended."""

    def __init__(self, work: Path, boxes: Boxes, lock_folder: Path | None = None) -> None:
        """`work` is this runner's alone: what an earlier one left in it is removed."""
        self._work = work
        self._boxes = boxes
        self._lock_folder = lock_folder
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
        if request.warm is not None:
            try:
                return self._run(request, on_started, on_event, cancellation)
            except InfrastructureError as error:
                if isinstance(error, BoxError) and error.has_begun:
                    raise
                _log.warning("%s is run by a new interpreter: %s", request.module, error)
                request = replace(request, warm=None)
        return self._run(request, on_started, on_event, cancellation)

    def _run(
        self,
        request: RunRequest,
        on_started: Callable[[], None],
        on_event: Callable[[Event], None],
        cancellation: Cancellation,
    ) -> RunReport:
        nonce = secrets.token_hex(8)
        parser = EventParser(nonce, request.module)
        with (
            self._boxes.user() as uid,
            self._port_lock(request, cancellation) as lock,
            self._place(request, uid) as place,
        ):

            def take(data: bytes) -> None:
                for event in parser.feed(data):
                    on_event(event)

            if cancellation.is_set:
                return RunReport(end=ProcessEnd(cancelled=True))
            command = self._command(request, place, nonce)
            launcher = None if request.warm is None else request.warm.launcher
            box = self._boxes.start(command, uid=uid, with_events=True, lock=lock, launcher=launcher)
            end = box.follow(cancellation, on_started, take)
            return parser.report(_process_end(request, end, self._boxes.limits))

    @contextlib.contextmanager
    def _port_lock(self, request: RunRequest, cancellation: Cancellation) -> Iterator[int | None]:
        may_bind = request.binds_ports or bool(request.services)
        if self._boxes.level.loopback == "private" or not may_bind:
            yield None
        else:
            with loopback_lock(cancellation, self._lock_folder) as descriptor:
                yield descriptor

    @contextlib.contextmanager
    def _place(self, request: RunRequest, uid: int | None) -> Iterator[_Place]:
        name = request.code.name or "project"
        if self._boxes.level.sandbox == "full":  # made in the box, and gone with it
            yield _Place(f"{CODE}/{name}", HOME, "/tmp", None)  # noqa: S108 - its own
            return
        folder = self._work / (_PREFIX + secrets.token_hex(4))
        try:
            _prepare(request, folder, uid)
            yield _Place(str(folder / "code" / name), str(folder / "home"), str(folder / "tmp"), folder)
        finally:
            _discard(folder)

    def _command(self, request: RunRequest, place: _Place, nonce: str) -> BoxCommand:
        env = {
            "PATH": f"{request.bin_dir}:{_SYSTEM_PATH}",
            "HOME": place.home,
            "TMPDIR": place.temporary,
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if (request.bin_dir.parent / "pyvenv.cfg").exists():
            env["VIRTUAL_ENV"] = str(request.bin_dir.parent)
        in_box = place.folder is None
        return BoxCommand(
            name=self._boxes.new_name(),
            argv=(str(request.python), str(_PLUGIN)),
            env=env,
            cwd=place.code,
            timeout_s=request.timeout_s,
            read=(str(_PLUGIN), *_readable(request)),
            write=() if in_box else (str(place.folder),),
            code=(str(request.code), request.code.name or "project") if in_box else None,
            watched_folder=None if in_box else str(place.folder),
            services=request.services,
            hand_over={
                "nonce": nonce,
                "module": request.module,
                "arguments": (request.roots or RootArguments(request.code)).of(request.module),
            },
        )


def _readable(request: RunRequest) -> tuple[str, ...]:
    own = environment_folders(request.python) if request.readable is None else request.readable
    return own if request.warm is None else (*own, *request.warm.readable)


def _process_end(request: RunRequest, end: BoxEnd, limits: BoxLimits) -> ProcessEnd:
    texts = {"memory": _size(limits.memory), "disk": _size(limits.disk), "processes": str(limits.processes)}
    return ProcessEnd(
        exit_code=end.exit_code,
        timed_out=end.timed_out,
        cancelled=end.cancelled,
        over_limit=end.over_limit,
        limit_text=texts.get(end.over_limit, ""),
        duration=end.duration,
        cpu_time=end.cpu_time,
        stdout=end.stdout,
        stderr=end.stderr,
        output_cut=end.output_cut,
        services=tuple(
            ServiceReport(service.command, **report)
            for service, report in zip(request.services, end.services, strict=False)
        ),
    )


def _size(number: int) -> str:
    unit, name = (GIB, "GiB") if number >= GIB else (MIB, "MiB")
    return f"{number / unit:.3g} {name}"


def _discard(folder: Path) -> None:
    """Remove a run's folder. What cannot be removed must not change the verdict: it waits for the next start."""
    try:
        remove_tree(folder)
    except OSError as error:
        _log.warning("%s cannot be removed now: %s", folder, error)


def _prepare(request: RunRequest, folder: Path, uid: int | None) -> None:
    """A fresh folder with a home, a place for temporary files and a writable copy of the code."""
    try:
        for made in (folder, folder / "home", folder / "tmp", folder / "code"):
            made.mkdir(mode=0o700)
        copy_tree(request.code, folder / "code" / (request.code.name or "project"))
        if uid is not None:
            give_to(folder, uid)
    except OSError as error:
        raise InfrastructureError(f"the code cannot be copied for its tests: {error}") from error
