"""Writes an environment's bytecode beside the tests that run in it already, so that the first need not wait for it."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from pathlib import Path

from testmesh.errors import EnvironmentFailedError, TestmeshError
from testmesh.testing.environment_check import EnvironmentCheck
from testmesh.testing.environment_key import Interpreter
from testmesh.testing.environment_seal import seal
from testmesh.testing.environment_shelf import Environment, EnvironmentShelf, discard
from testmesh.testing.run_command import RunCommand

_log = logging.getLogger(__name__)
_COMPILE_S = 240.0


class EnvironmentCompiler:
    """Safe from any thread. `later` has a function called soon in another thread, one after the other."""

    def __init__(
        self,
        shelf: EnvironmentShelf,
        run: RunCommand,
        hold: Callable[[str], AbstractContextManager[None]],
        evict: Callable[[str], None],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        """`hold`: within it the environment of a key is not evicted. `evict`: does so, unless it is held."""
        self._shelf, self._run, self._hold, self._evict, self._later = shelf, run, hold, evict, later
        self._asked: set[str] = set()
        self._done: set[Path] = set()  # pythons of environments; those that are made again have another one
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}  # by key: two boxes must not write into one environment

    def ask(self, environment: Environment, interpreter: Interpreter) -> None:
        """Unless it is under way. What keeps it from being done is tried again when it is asked for again."""
        key = environment.key
        with self._lock:
            if key in self._asked or environment.python in self._done:
                return
            self._asked.add(key)
        self._later(lambda: self.compile(key, interpreter))

    def compile(self, key: str, interpreter: Interpreter) -> None:
        """Now, in this thread, unless it was done. It may fail: the log says so."""
        with self._lock:
            one_at_a_time = self._locks.setdefault(key, threading.Lock())
        try:
            with one_at_a_time, self._hold(key):
                found = self._shelf.find(key)
                if found is None:
                    return
                if found.compiled:
                    self._done.add(found.python)
                    return
                environment = found.bin_dir.parent
                check = EnvironmentCheck(self._run, environment, interpreter, found.readable, None)
                try:
                    check.compile(_COMPILE_S)
                    self._shelf.compiled(key, seal(environment, interpreter))
                    self._done.add(found.python)
                finally:
                    discard(environment.parent / "check")
        except EnvironmentFailedError as error:  # its own code has spoiled it
            _log.warning("environment %s is made again once nothing runs in it: %s", key, error)
            self._evict(key)
        except (TestmeshError, OSError, CancelledError) as error:
            _log.info("environment %s is not compiled now: %s", key, error)
        except Exception:  # noqa: BLE001 - runs in it are only slower
            _log.exception("environment %s is not compiled now", key)
        finally:
            with self._lock:
                self._asked.discard(key)
