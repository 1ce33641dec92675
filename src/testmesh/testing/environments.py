"""The environments of a node: built once a key, found again in a moment, used by many modules and written by none."""

import contextlib
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from testmesh.clock import Clock
from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.settings import GIB, MIB
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.environment_check import EnvironmentCheck
from testmesh.testing.environment_compiler import EnvironmentCompiler
from testmesh.testing.environment_eviction import to_evict
from testmesh.testing.environment_key import Interpreter, environment_key
from testmesh.testing.environment_seal import seal
from testmesh.testing.environment_shelf import Environment, EnvironmentShelf, discard
from testmesh.testing.installers import Installation, Installer, InstallTimeoutError, python_of
from testmesh.testing.interpreters import Interpreters, running_interpreter
from testmesh.testing.machine_files import interpreter_folders
from testmesh.testing.package_cache import PackageCache
from testmesh.testing.project_files import copy_sources
from testmesh.testing.requirements import RequirementSet
from testmesh.testing.run_command import RunCommand
from testmesh.testing.single_flight import SingleFlight

MIN_FREE = 64 * MIB  # bytes: with less, a failure is the disk's
LOW_FREE = 256 * MIB  # bytes: with less, room is made before anything is built
_REMEMBER_S = 60.0  # how long requirements that failed are not tried again
# setuptools' words for a folder of several packages that nobody meant to be packed as one distribution.
_NOT_PACKABLE = "Multiple top-level"


class CacheEvent(StrEnum):
    HIT = "hit"
    MISS = "miss"
    BUILT = "built"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    until: float  # monotonic
    timeout_s: float | None  # the time that did not suffice, where that is why


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What `prepare` was asked for, under its key."""

    key: str
    project: Path
    requirements: RequirementSet
    interpreter: Interpreter
    timeout_s: float
    cancellation: Cancellation
    trusted: bool


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class EnvironmentCache:
    """Safe from any thread; `root` belongs to this node alone."""

    def __init__(
        self,
        root: Path,
        installer: Installer,
        run: RunCommand,
        clock: Clock,
        interpreters: Interpreters | None = None,
        free: Callable[[Path], int] = free_bytes,
        *,
        limit: int = 10 * GIB,
        packages: PackageCache | None = None,
        later: Callable[[Callable[[], None]], object] | None = None,
        told: Callable[[CacheEvent], None] = lambda _event: None,
    ) -> None:
        """`interpreters`: by default the one that runs this process. `limit`: bytes that all may take together.

        `packages`: where `installer` keeps what it downloads. `later`: has a function called soon in another
        thread; environments are then ready before their bytecode is written, which tests need not wait for.
        """
        self._shelf = EnvironmentShelf(root)
        self._installer = installer
        self._run = run
        self._clock = clock
        self._interpreters = interpreters or Interpreters((running_interpreter(),))
        self._free = free
        self._limit = limit
        self._told = told
        self._packages = packages
        self._compiler = (
            None if later is None else EnvironmentCompiler(self._shelf, run, self._held, self._evict, later)
        )
        self._flights: SingleFlight[Environment] = SingleFlight()
        self._made_of: dict[str, Interpreter] = {}
        self._lock = threading.Lock()
        self._failures: dict[str, _Failure] = {}
        self._holders: Counter[str] = Counter()  # how many use a key now; only what nobody uses is evicted

    def key(self, project: Path, requirements: RequirementSet) -> str:
        """The environment's name: equal for whatever would install the same.

        Raises:
            EnvironmentFailedError: no interpreter here satisfies `requires-python`.
        """
        return self._key(project, requirements, self._interpreters.choose(requirements.requires_python))

    def peek(self, key: str) -> Environment | None:
        """The environment if it is built, else None."""
        return self._shelf.find(key)

    def prepare(
        self,
        project: Path,
        requirements: RequirementSet,
        timeout_s: float,
        cancellation: Cancellation | None = None,
        *,
        trusted: bool = False,
    ) -> Environment:
        """The project's environment, built where it is not there yet. One build a key; others wait for it.

        `trusted`: only wheels of the index are installed, so that no foreign code takes part in its making, and its
        bytecode too is waited for. It may be evicted as soon as this returns: use it within `lease`.

        Raises:
            EnvironmentFailedError: the requirements cannot be installed within `timeout_s`. Remembered for a minute.
            InfrastructureError: the index, the disk or this node is at fault. Not remembered.
            concurrent.futures.CancelledError: because of `cancellation`; an installation is ended at once.
        """
        cancellation = cancellation or Cancellation()
        interpreter = self._interpreters.choose(requirements.requires_python)
        key = self._key(project, requirements, interpreter, trusted=trusted)
        self._made_of[key] = interpreter
        wanted = _Wanted(key, project, requirements, interpreter, timeout_s, cancellation, trusted)

        def build() -> Environment:
            return self.peek(key) or self._build(wanted)

        with self._held(key):
            self._told(CacheEvent.MISS if self.peek(key) is None else CacheEvent.HIT)
            while True:
                found = self.peek(key)
                if found is not None:
                    self._shelf.touch(key, self._clock.wall())
                    return self._with_bytecode(found, interpreter, trusted)
                self._raise_remembered(key, timeout_s)
                try:
                    built = self._flights.run(key, build, lambda: cancellation.is_set)
                    return self._with_bytecode(built, interpreter, trusted)
                except InstallTimeoutError as error:
                    if error.timeout_s >= timeout_s:
                        raise
                    # Another thread built with less time than this one has: build again.
                except CancelledError:
                    if cancellation.is_set:
                        raise
                    # It was the other thread's build that was cancelled: build in its place.

    def complete(self, environment: Environment) -> None:
        """Have the bytecode of an environment that `prepare` gave written soon, where that was left for later.

        To be called when its first tests have started, which compute as they do so.
        """
        interpreter = self._made_of.get(environment.key)
        if self._compiler is not None and not environment.compiled and interpreter is not None:
            self._compiler.ask(environment, interpreter)

    @contextlib.contextmanager
    def lease(self, environment: Environment, again: Callable[[], Environment]) -> Iterator[Environment]:
        """The environment, which is not evicted within the `with` block; it may have another path than it had.

        `again` prepares it once more, where it was evicted since; what that raises, this raises.
        """
        with self._held(environment.key):
            found = self.peek(environment.key)
            if found is not None:
                self._shelf.touch(environment.key, self._clock.wall())
            yield found or again()

    def sweep(self) -> None:
        """Remove what killed builds left. To be called before the first `prepare`, when nothing is being built."""
        self._shelf.sweep()

    def make_room(self) -> None:
        """Evict what is over the limit, and more where the disk is nearly full; never what is in use."""
        missing = LOW_FREE - self._free(self._shelf.root)
        for key in self._chosen(missing):
            self._evict(key)
        if self._packages is not None and self._free(self._shelf.root) < LOW_FREE:
            self._packages.empty()

    def _evict(self, key: str) -> None:
        with self._lock:  # so that nobody takes it up between the look and the step
            aside = None if self._holders[key] else self._shelf.set_aside(key)
        if aside is not None:
            discard(aside)

    def _chosen(self, missing: int) -> tuple[str, ...]:
        stored = list(self._shelf.stored())
        with self._lock:
            held = {key for key, holders in self._holders.items() if holders}
        return to_evict((replace(each, is_held=each.key in held) for each in stored), self._limit, missing)

    @contextlib.contextmanager
    def _held(self, key: str) -> Iterator[None]:
        with self._lock:
            self._holders[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders[key] -= 1
                if not self._holders[key]:
                    del self._holders[key]

    def _with_bytecode(self, environment: Environment, interpreter: Interpreter, at_once: bool) -> Environment:
        if at_once and self._compiler is not None and not environment.compiled:
            self._compiler.compile(environment.key, interpreter)
        return environment

    def _key(
        self, project: Path, requirements: RequirementSet, interpreter: Interpreter, *, trusted: bool = False
    ) -> str:
        return environment_key(project, requirements, interpreter, self._installer.name, trusted=trusted)

    def _build(self, wanted: _Wanted) -> Environment:
        key = wanted.key
        self.make_room()
        if self._free(self._shelf.root) < MIN_FREE:
            raise InfrastructureError("this node's disk is full; make room in its data folder")
        in_use = self._packages.in_use() if self._packages else contextlib.nullcontext()
        try:
            with in_use:
                built = self._install(wanted)
        except EnvironmentFailedError as error:
            is_full = self._free(self._shelf.root) < MIN_FREE
            self._shelf.remove(key)
            if is_full:
                raise InfrastructureError("this node's disk filled up during the installation; make room") from error
            self._remember(key, error)
            self._told(CacheEvent.FAILED)
            raise
        except OSError as error:
            self._shelf.remove(key)
            raise InfrastructureError(f"this node cannot store an environment: {error.strerror or error}") from error
        except BaseException:
            self._shelf.remove(key)
            raise
        self.make_room()
        self._told(CacheEvent.BUILT)
        return built

    def _install(self, wanted: _Wanted) -> Environment:
        deadline = self._clock.monotonic() + wanted.timeout_s
        try:
            try:
                made = self._installed(wanted, wanted.requirements, deadline)
            except EnvironmentFailedError as error:
                without = wanted.requirements.without_project
                if without is None or _NOT_PACKABLE not in str(error):
                    raise
                made = self._installed(wanted, without, deadline)
            environment, cancellation = made.target, wanted.cancellation
            check = EnvironmentCheck(self._run, environment, wanted.interpreter, made.readable, cancellation)
            pytest = check.pytest(self._left(deadline))
            if self._compiler is None:
                check.compile(max(0.0, deadline - self._clock.monotonic()))
        except InstallTimeoutError as error:  # of a step: what was too short is the whole
            raise InstallTimeoutError(wanted.timeout_s) from error
        size = seal(environment, wanted.interpreter)
        attempt = environment.parent
        for done in attempt.iterdir():
            if done != environment:
                discard(done)
        python = python_of(environment)
        version, compiled = wanted.interpreter.version, self._compiler is None
        built = Environment(wanted.key, python, python.parent, version, pytest, made.readable, compiled)
        self._shelf.publish(built, attempt, size, {"lines": made.lines, "created_at": self._clock.wall()})
        self._shelf.touch(wanted.key, self._clock.wall())
        return built

    def _installed(self, wanted: _Wanted, requirements: RequirementSet, deadline: float) -> Installation:
        """In new folders: in those of an earlier try foreign code may have prepared something for what is not boxed."""
        attempt = self._shelf.begin(wanted.key)
        work, sources = attempt / "work", attempt / "sources"
        for made in (work, sources):
            made.mkdir()
        interpreter = wanted.interpreter
        installation = Installation(
            target=attempt / "env",
            python=interpreter.path,
            lines=(*requirements.lines, *_copy_paths(wanted.project, requirements, sources)),
            constraints=requirements.constraints,
            sources=sources,
            work=work,
            timeout_s=self._left(deadline),
            readable=tuple(map(Path, interpreter_folders(interpreter.path, interpreter.prefix))),
            cancellation=wanted.cancellation,
            wheels_only=wanted.trusted,
        )
        self._installer.install(installation)
        return installation

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise InstallTimeoutError(left)
        return left

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
