"""The environments of a node: built once a key, found again in a moment, used by many modules and written by none."""

import contextlib
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path

from testmesh.clock import Clock
from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.settings import GIB, MIB
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.environment_check import EnvironmentCheck
from testmesh.testing.environment_eviction import to_evict
from testmesh.testing.environment_key import Interpreter, environment_key
from testmesh.testing.environment_seal import seal
from testmesh.testing.environment_shelf import Environment, EnvironmentShelf, discard
from testmesh.testing.installers import Installation, Installer, InstallTimeoutError, python_of
from testmesh.testing.interpreters import Interpreters, folders_of, running_interpreter
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


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    until: float  # monotonic
    timeout_s: float | None  # the time that did not suffice, where that is why


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
    ) -> None:
        """`interpreters`: by default the one that runs this process. `limit`: bytes that all may take together.

        `packages`: where `installer` keeps what it downloads.
        """
        self._shelf = EnvironmentShelf(root)
        self._installer = installer
        self._run = run
        self._clock = clock
        self._interpreters = interpreters or Interpreters((running_interpreter(),))
        self._free = free
        self._limit = limit
        self._packages = packages
        self._flights: SingleFlight[Environment] = SingleFlight()
        self._lock = threading.Lock()
        self._failures: dict[str, _Failure] = {}
        self._holders: Counter[str] = Counter()  # how many use a key now; only what nobody uses is evicted

    def key(self, project: Path, requirements: RequirementSet) -> str:
        """The environment's name: equal for whatever would install the same.

        Raises:
            EnvironmentFailedError: no interpreter here satisfies `requires-python`.
        """
        interpreter = self._interpreters.choose(requirements.requires_python)
        return environment_key(project, requirements, interpreter, self._installer.name)

    def peek(self, key: str) -> Environment | None:
        """The environment if it is built, else None."""
        return self._shelf.find(key)

    def prepare(
        self,
        project: Path,
        requirements: RequirementSet,
        timeout_s: float,
        cancellation: Cancellation | None = None,
    ) -> Environment:
        """The project's environment, built where it is not there yet. One build a key; others wait for it.

        It may be evicted as soon as this returns: use it within `lease`.

        Raises:
            EnvironmentFailedError: the requirements cannot be installed within `timeout_s`. Remembered for a minute.
            InfrastructureError: the index, the disk or this node is at fault. Not remembered.
            concurrent.futures.CancelledError: because of `cancellation`; an installation is ended at once.
        """
        cancellation = cancellation or Cancellation()
        interpreter = self._interpreters.choose(requirements.requires_python)
        key = environment_key(project, requirements, interpreter, self._installer.name)

        def build() -> Environment:
            return self.peek(key) or self._build(key, project, requirements, interpreter, timeout_s, cancellation)

        with self._held(key):
            while True:
                found = self.peek(key)
                if found is not None:
                    self._shelf.touch(key, self._clock.wall())
                    return found
                self._raise_remembered(key, timeout_s)
                try:
                    return self._flights.run(key, build, lambda: cancellation.is_set)
                except InstallTimeoutError as error:
                    if error.timeout_s >= timeout_s:
                        raise
                    # Another thread built with less time than this one has: build again.
                except CancelledError:
                    if cancellation.is_set:
                        raise
                    # It was the other thread's build that was cancelled: build in its place.

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
            with self._lock:  # so that nobody takes it up between the look and the step
                aside = None if self._holders[key] else self._shelf.set_aside(key)
            if aside is not None:
                discard(aside)
        if self._packages is not None and self._free(self._shelf.root) < LOW_FREE:
            self._packages.empty()

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

    def _build(
        self,
        key: str,
        project: Path,
        requirements: RequirementSet,
        interpreter: Interpreter,
        timeout_s: float,
        cancellation: Cancellation,
    ) -> Environment:
        self.make_room()
        if self._free(self._shelf.root) < MIN_FREE:
            raise InfrastructureError("this node's disk is full; make room in its data folder")
        in_use = self._packages.in_use() if self._packages else contextlib.nullcontext()
        try:
            with in_use:
                built = self._install(key, project, requirements, interpreter, timeout_s, cancellation)
        except EnvironmentFailedError as error:
            is_full = self._free(self._shelf.root) < MIN_FREE
            self._shelf.remove(key)
            if is_full:
                raise InfrastructureError("this node's disk filled up during the installation; make room") from error
            self._remember(key, error)
            raise
        except OSError as error:
            self._shelf.remove(key)
            raise InfrastructureError(f"this node cannot store an environment: {error}") from error
        except BaseException:
            self._shelf.remove(key)
            raise
        self.make_room()
        return built

    def _install(
        self,
        key: str,
        project: Path,
        requirements: RequirementSet,
        interpreter: Interpreter,
        timeout_s: float,
        cancellation: Cancellation,
    ) -> Environment:
        attempt = self._shelf.begin(key)
        work, sources = attempt / "work", attempt / "sources"
        for made in (work, sources):
            made.mkdir()
        readable = folders_of(interpreter)
        wanted = Installation(
            target=attempt / "env",
            python=interpreter.path,
            lines=(*requirements.lines, *_copy_paths(project, requirements, sources)),
            constraints=requirements.constraints,
            sources=sources,
            work=work,
            timeout_s=timeout_s,
            readable=readable,
            cancellation=cancellation,
        )
        try:
            self._installer.install(wanted)
        except EnvironmentFailedError as error:
            if requirements.without_project is None or _NOT_PACKABLE not in str(error):
                raise
            self._installer.install(replace(wanted, lines=requirements.without_project.lines))
        python = python_of(wanted.target)
        pytest = EnvironmentCheck(self._run, python, attempt, readable, cancellation).complete()
        size = seal(wanted.target, python, interpreter.path)
        for done in attempt.iterdir():
            if done != wanted.target:
                discard(done)
        environment = Environment(key, python, python.parent, interpreter.version, pytest, readable)
        self._shelf.publish(environment, attempt, size, {"lines": wanted.lines, "created_at": self._clock.wall()})
        self._shelf.touch(key, self._clock.wall())
        return environment

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
