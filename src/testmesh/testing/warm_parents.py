"""Which environments can be served by a warm launcher (see warm_process.py), and by which.

A warm launcher runs unboxed, so its pytest is never an environment's own, which a requirement may have changed: it is
an environment made of the same versions alone, from wheels of the node's index, whose making ran no foreign code. An
environment whose pytest is byte by byte the same is served by it. Others, and those of other interpreters, start cold.
"""

import contextlib
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from testmesh.errors import InfrastructureError, TestmeshError
from testmesh.testing.environment_shelf import Environment
from testmesh.testing.environments import EnvironmentCache
from testmesh.testing.launcher_process import LauncherProcess
from testmesh.testing.requirements import RequirementSet
from testmesh.testing.same_pytest import belongs_to_this_user, has_same_pytest, pytest_of

_log = logging.getLogger(__name__)
_MOST = 4  # that stay, each of some 25 MB
_REMEMBERED = 1000
_READY_S = 60.0
_PATIENCE_S = 0.25  # what a start waits: as long as it takes to see that one of those that are there will do
_INSTALL_S = 120.0
_RETRY_S = 60.0
_SOURCE = str(Path(__file__).parents[2])
_START = (
    "import sys; loaded = frozenset(sys.modules); del sys.path[0]; sys.path.append(sys.argv[1])\n"
    "from testmesh.testing.warm_process import main; tests = main(loaded, sys.argv[1])\n"
    # A fork that runs tests is here again, where it has as much of the stack as a new interpreter.
    "try: status = tests.run(*tests.arguments)\n"
    "except BaseException as error: status = tests.status_of(error)\n"
    "tests.end(status)"
)
_ENVIRON = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}


@dataclass(frozen=True, slots=True)
class WarmParent:
    """`readable`: what its runs read besides what their environments do."""

    launcher: LauncherProcess
    readable: tuple[str, ...]


def warm_launcher(python: Path, environ: Mapping[str, str] = _ENVIRON) -> LauncherProcess:
    """Of an environment that no foreign code has touched; starts at its first use."""
    return LauncherProcess((str(python), "-c", _START, _SOURCE), {**_ENVIRON, **environ})


class WarmSource(Protocol):
    def of(self, environment: Environment) -> WarmParent | None:
        """What serves runs in this environment, at once; None: they start cold."""
        ...

    def want(self, environment: Environment) -> None:
        """Runs in this environment are to be served soon."""
        ...


class NoWarmParents:
    def of(self, environment: Environment) -> WarmParent | None:
        del environment
        return None

    def want(self, environment: Environment) -> None:
        del environment


@dataclass(slots=True)
class _Kept:
    parent: WarmParent
    lease: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def close(self) -> None:
        self.parent.launcher.close()
        self.lease.close()


class WarmParents:
    """Safe from any thread. They are made in the background: what runs meanwhile starts cold."""

    def __init__(self, environments: EnvironmentCache, empty: Path, most: int = _MOST) -> None:
        """`empty`: a folder that is made here, a project of no files."""
        empty.mkdir(parents=True, exist_ok=True)
        self._environments, self._empty, self._most = environments, empty, most
        self._lock = threading.Lock()
        self._found: OrderedDict[Path, Future[str | None]] = OrderedDict()  # environment's python: key of its base
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # by the key of their environment, last used last
        self._retry_at: dict[Path, float] = {}  # where the index or the disk was at fault
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="warm")
        self._starting: LauncherProcess | None = None
        self._closed = False

    def of(self, environment: Environment) -> WarmParent | None:
        """Where there is none at all yet, none is made by this, so that the first run is not slowed down by it."""
        return self._found_within(environment, _PATIENCE_S) if self._kept else None

    def want(self, environment: Environment) -> None:
        self._look_for(environment)

    def wait(self, environment: Environment) -> WarmParent | None:
        """As `of`, but waits until it is made."""
        return self._found_within(environment, None)

    def _found_within(self, environment: Environment, timeout_s: float | None) -> WarmParent | None:
        looked_for = self._look_for(environment)
        try:
            key = None if looked_for is None else looked_for.result(timeout_s)
        except (TimeoutError, CancelledError):
            return None
        with self._lock:
            kept = self._kept.get(key or "")
            if kept is not None:
                self._kept.move_to_end(key or "")
                return kept.parent
            if key is not None:  # it had to make room for others: the next one has it made again
                self._found.pop(environment.python, None)
        return None

    def _look_for(self, environment: Environment) -> "Future[str | None] | None":
        with self._lock:
            if self._closed:
                return None
            looked_for = self._found.get(environment.python)
            if looked_for is not None and self._retry_at.get(environment.python, math.inf) <= time.monotonic():
                del self._retry_at[environment.python]
                looked_for = None
            if looked_for is None:
                looked_for = self._found[environment.python] = self._maker.submit(self._look, environment)
                while len(self._found) > _REMEMBERED:
                    self._found.popitem(last=False)
            return looked_for

    def close(self) -> None:
        with self._lock:
            self._closed = True
            kept, self._kept = list(self._kept.values()), OrderedDict()
            starting = self._starting
        self._maker.shutdown(wait=False, cancel_futures=True)
        if starting is not None:  # else it would outlive the node by what it takes to warm up
            starting.close()
        for each in kept:
            each.close()

    # In the maker's thread -------------------------------------------------------------------

    def _look(self, environment: Environment) -> str | None:
        """The key of what serves it, which is kept by now."""
        try:
            return self._serve(environment)
        except (TestmeshError, OSError) as error:
            _log.info("runs in environment %s start cold: %s", environment.key, error)
            if isinstance(error, InfrastructureError):
                self._retry_at[environment.python] = time.monotonic() + _RETRY_S
        except Exception:  # noqa: BLE001 - it is only slower without
            _log.exception("runs in environment %s start cold", environment.key)
        return None

    def _serve(self, environment: Environment) -> str | None:
        wanted = pytest_of(environment)
        if wanted is None:
            return None
        base = self._environments.prepare(self._empty, wanted, _INSTALL_S, trusted=True)
        cause = ""
        if base.python.resolve() != environment.python.resolve():
            cause = "its interpreter is another one"
        elif belongs_to_this_user(base.python.resolve()):
            cause = "a fork could change the modes of its interpreter, which belongs to this node's user"
        elif not has_same_pytest(base, environment):
            cause = "its pytest is not the index's own"
        if cause:
            _log.info("runs in environment %s start cold: %s", environment.key, cause)
            return None
        with self._lock:
            if base.key in self._kept:
                return base.key
        kept = self._start(base, wanted)
        if kept is None:
            _log.warning("pytest %s cannot be kept ready: what uses it starts cold", base.pytest)
            return None
        with self._lock:
            self._kept[base.key] = kept
            over = [self._kept.popitem(last=False)[1] for _ in range(len(self._kept) - self._most)]
            if self._closed:
                over += self._kept.values()
                self._kept.clear()
        for each in over:
            each.close()
        return base.key

    def _start(self, base: Environment, wanted: RequirementSet) -> _Kept | None:
        lease = contextlib.ExitStack()

        def again() -> Environment:
            return self._environments.prepare(self._empty, wanted, _INSTALL_S, trusted=True)

        held = lease.enter_context(self._environments.lease(base, again))
        launcher = warm_launcher(held.python)
        readable = (str(held.bin_dir.parent), *map(str, held.readable))
        kept = _Kept(WarmParent(launcher, readable), lease)
        with self._lock:
            self._starting = None if self._closed else launcher
        is_ready = self._starting is not None and launcher.wait_ready(_READY_S)
        with self._lock:
            self._starting = None
        if not is_ready:
            kept.close()
            return None
        return kept
