"""Environments on disk: built once a key, found again in a moment, used by many modules and written by none.

    root/<key>/ready.json          written last; a folder without it is what a killed build left, and is rebuilt
    root/<key>/<attempt>/env       the virtual environment that ready.json names
    root/<key>/<attempt>/work      the installer's files and copies of what is built, gone once it is ready

ready.json has when it was built; its modification time is when it was last used, for whoever makes room.
Every attempt has a folder of its own, so that what an orphan of a killed node still writes spoils nothing.
"""

import contextlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import SpecifierSet

from testmesh.clock import Clock
from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.settings import MIB
from testmesh.testing.environment_key import Interpreter, environment_key, running_interpreter
from testmesh.testing.install_failures import installer_words
from testmesh.testing.installers import Installation, Installer, InstallTimeoutError, python_of
from testmesh.testing.project_files import copy_sources
from testmesh.testing.requirements import RequirementSet
from testmesh.testing.run_command import RunCommand
from testmesh.testing.single_flight import SingleFlight

MIN_FREE = 64 * MIB  # bytes: with less, a failure is the disk's
_REMEMBER_S = 60.0  # how long requirements that failed are not tried again
_CHECK_TIMEOUT_S = 60.0
_CHECK = "import importlib.metadata as m, pytest; print(m.version('pytest'))"
# setuptools' words for a folder of several packages that nobody meant to be packed as one distribution.
_NOT_PACKABLE = "Multiple top-level"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that is ready. `version` is its Python's, as in `3.11.7`; `pytest` its pytest's."""

    key: str
    python: Path
    bin_dir: Path
    version: str
    pytest: str


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    until: float  # monotonic
    timeout_s: float | None  # the time that did not suffice, where that is why


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class EnvironmentCache:
    """The environments of one node. Safe from any thread; `root` belongs to this node alone."""

    def __init__(
        self,
        root: Path,
        installer: Installer,
        run: RunCommand,
        clock: Clock,
        interpreters: Sequence[Interpreter] = (),
        free: Callable[[Path], int] = free_bytes,
        *,
        is_read_only: bool = False,
    ) -> None:
        """`interpreters`: those to choose from, best first; by default the one that runs this process.

        `is_read_only`: modules cannot write into an environment, so all of its bytecode is compiled with it. That
        takes 0.6 s (pytest) to 3.5 s (pandas) and saves each module 0.2 s to 1.3 s; else the first module does it.
        """
        self._root = root.absolute()
        self._installer = installer
        self._run = run
        self._clock = clock
        self._interpreters = tuple(interpreters) or (running_interpreter(),)
        self._free = free
        self._is_read_only = is_read_only
        self._flights: SingleFlight[Environment] = SingleFlight()
        self._lock = threading.Lock()
        self._failures: dict[str, _Failure] = {}
        self._root.mkdir(parents=True, exist_ok=True)

    def key(self, project: Path, requirements: RequirementSet) -> str:
        """The environment's name: equal for whatever would install the same.

        Raises:
            EnvironmentFailedError: no interpreter here satisfies `requires-python`.
        """
        return environment_key(project, requirements, self._interpreter(requirements), self._installer.name)

    def peek(self, key: str) -> Environment | None:
        """The environment if it is built, else None."""
        ready = _read_ready(self._root / key / "ready.json")
        if ready is None:
            return None
        bin_dir = self._root / key / ready["attempt"] / "env" / "bin"
        python = bin_dir / "python"
        if not python.exists():  # the interpreter that it is made of is gone
            return None
        return Environment(key, python, bin_dir, ready["python"], ready["pytest"])

    def prepare(
        self,
        project: Path,
        requirements: RequirementSet,
        timeout_s: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Environment:
        """The project's environment, built where it is not there yet. One build a key; others wait for it.

        Raises:
            EnvironmentFailedError: the requirements cannot be installed within `timeout_s`. Remembered for a minute.
            InfrastructureError: the index, the disk or this node is at fault. Not remembered.
            concurrent.futures.CancelledError: `cancelled` said so while another thread built it.
        """
        interpreter = self._interpreter(requirements)
        key = environment_key(project, requirements, interpreter, self._installer.name)

        def build() -> Environment:
            return self.peek(key) or self._build(key, project, requirements, interpreter, timeout_s)

        while True:
            found = self.peek(key)
            if found is not None:
                self._touch(key)
                return found
            self._raise_remembered(key, timeout_s)
            try:
                return self._flights.run(key, build, cancelled)
            except InstallTimeoutError as error:
                if error.timeout_s >= timeout_s:
                    raise
                # Another thread built with less time than this one has: build again.

    def sweep(self) -> None:
        """Remove what killed builds left. To be called before the first `prepare`, when nothing is being built."""
        for folder in self._root.iterdir():
            if _read_ready(folder / "ready.json") is None:
                _remove(folder)

    def _interpreter(self, requirements: RequirementSet) -> Interpreter:
        wanted = SpecifierSet(requirements.requires_python)
        for interpreter in self._interpreters:
            if wanted.contains(interpreter.version, prereleases=True):
                return interpreter
        there = ", ".join(interpreter.version for interpreter in self._interpreters)
        raise EnvironmentFailedError(f"requires-python is {requirements.requires_python}, but this node has {there}")

    def _build(
        self, key: str, project: Path, requirements: RequirementSet, interpreter: Interpreter, timeout_s: float
    ) -> Environment:
        folder = self._root / key
        if self._free(self._root) < MIN_FREE:
            raise InfrastructureError("this node's disk is full; make room in its data folder")
        _remove(folder)
        try:
            return self._install(folder, project, requirements, interpreter, timeout_s)
        except EnvironmentFailedError as error:
            _remove(folder)
            if self._free(self._root) < MIN_FREE:
                raise InfrastructureError("this node's disk filled up during the installation; make room") from error
            self._remember(key, error)
            raise
        except OSError as error:
            _remove(folder)
            raise InfrastructureError(f"this node cannot store an environment: {error}") from error
        except BaseException:
            _remove(folder)
            raise

    def _install(
        self, folder: Path, project: Path, requirements: RequirementSet, interpreter: Interpreter, timeout_s: float
    ) -> Environment:
        attempt = folder / uuid.uuid4().hex[:8]
        work, sources = attempt / "work", attempt / "sources"
        for made in (work, sources):
            made.mkdir(parents=True)
        wanted = Installation(
            target=attempt / "env",
            python=interpreter.path,
            lines=(*requirements.lines, *_copy_paths(project, requirements, sources)),
            constraints=requirements.constraints,
            sources=sources,
            work=work,
            timeout_s=timeout_s,
            compile_bytecode=self._is_read_only,
        )
        try:
            self._installer.install(wanted)
        except EnvironmentFailedError as error:
            if requirements.without_project is None or _NOT_PACKABLE not in str(error):
                raise
            self._installer.install(replace(wanted, lines=requirements.without_project.lines))
        python = python_of(wanted.target)
        version = self._check(python, attempt)
        for done in (work, sources):
            _remove(done)
        ready = {
            "attempt": attempt.name,
            "python": interpreter.version,
            "pytest": version,
            "lines": wanted.lines,
            "created_at": self._clock.wall(),
        }
        _write_ready(folder / "ready.json", ready)
        return Environment(folder.name, python, python.parent, interpreter.version, version)

    def _check(self, python: Path, attempt: Path) -> str:
        """The version of the environment's pytest, which a requirement may have put something else in the place of.

        The import also compiles pytest's bytecode, most of what every module would otherwise spend time on.
        """
        env = {"PATH": os.defpath, "HOME": str(attempt), "PYTHONUTF8": "1"}
        done = self._run([str(python), "-I", "-c", _CHECK], env, attempt, _CHECK_TIMEOUT_S)
        if done.returncode < 0 and not done.timed_out:
            raise InfrastructureError(f"the environment's check was ended by signal {-done.returncode}; try again")
        if done.returncode:
            words = installer_words(done.output, (f"{attempt}/",))
            raise EnvironmentFailedError(f"pytest cannot be imported once the requirements are installed: {words}")
        return done.output.strip().splitlines()[-1][:40] if done.output.strip() else ""

    def _touch(self, key: str) -> None:
        now = self._clock.wall()
        with contextlib.suppress(OSError):  # a read-only disk does not hinder the use
            os.utime(self._root / key / "ready.json", (now, now))

    def _remember(self, key: str, error: EnvironmentFailedError) -> None:
        now = self._clock.monotonic()
        timeout_s = error.timeout_s if isinstance(error, InstallTimeoutError) else None
        with self._lock:
            self._failures = {name: old for name, old in self._failures.items() if old.until > now}
            self._failures[key] = _Failure(str(error), now + _REMEMBER_S, timeout_s)

    def _raise_remembered(self, key: str, timeout_s: float) -> None:
        with self._lock:
            failure = self._failures.get(key)
        if failure is None or failure.until <= self._clock.monotonic():
            return
        if failure.timeout_s is None:
            raise EnvironmentFailedError(failure.message)
        if failure.timeout_s >= timeout_s:
            raise InstallTimeoutError(failure.timeout_s)


def _copy_paths(project: Path, requirements: RequirementSet, sources: Path) -> list[str]:
    """Copies of what is built, since a build writes beside its sources; gives the lines that install the copies."""
    lines = []
    for number, path in enumerate(requirements.paths):
        name = f"{number}/{Path(path.path).name}" if path.is_archive else f"project-{number}"
        copy_sources(project / path.path, sources / name)
        extras = f"[{','.join(path.extras)}]" if path.extras else ""
        marker = f" ; {path.marker}" if path.marker else ""
        lines.append(f"./{name}{extras}{marker}")
    return lines


def _read_ready(file: Path) -> dict[str, str] | None:
    try:
        ready = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_whole = isinstance(ready, dict) and all(isinstance(ready.get(k), str) for k in ("attempt", "python", "pytest"))
    return ready if is_whole else None


def _write_ready(file: Path, ready: Mapping[str, object]) -> None:
    """Whole or not at all, also after a loss of power."""
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream:
        json.dump(ready, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(folder: Path) -> None:
    """Marker first: what is left of a removal that is cut short must not look ready."""
    with contextlib.suppress(OSError):
        (folder / "ready.json").unlink()
    shutil.rmtree(folder, ignore_errors=True)
