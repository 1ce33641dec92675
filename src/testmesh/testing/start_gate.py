"""Few modules start at the same time on a host, however many nodes it has and however many modules run.

Starting is the part that computes: an interpreter, pytest, the project's imports. Course tests then mostly wait, but
for times that their authors chose on an idle machine; a dozen starts beside them would make them late and fail. A node
measures before it starts a module what the processors have to do; but a measurement is as old as the last tenth of a
second, and another node may have measured the same. So a module also passes one of as many gates as there are
processors, whichever is free, and holds it until its first test begins, or until it can be measured.
"""

import logging
import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from testmesh.errors import InfrastructureError
from testmesh.testing.host_lock import try_host_lock

_log = logging.getLogger(__name__)
_SOON_S = 0.01  # between two tries; a start takes some tenths of a second
_LATER_S = 0.05
_NOT_SOON_S = 0.5  # refused for so long
OpenGate = Callable[[], None]  # lets the next one through; a second call does nothing


class StartGates(Protocol):
    """Safe from any thread."""

    def enter(self) -> OpenGate | None:
        """Pass a gate that is free, and hold it. None: all are held; nobody tells when one is opened."""
        ...


class HostGates:
    """The gates that all nodes of this user on the host share which have the same `name`. A dead node holds none."""

    def __init__(self, gates: int, folder: Path | None = None, name: str = "start") -> None:
        """`folder`: where the locks are; by default one below the system's folder for temporary files."""
        self._gates = gates
        self._folder = folder
        self._name = name
        self._complained = False

    def enter(self) -> OpenGate | None:
        try:
            for number in range(self._gates):
                descriptor = try_host_lock(f"{self._name}-{number}", self._folder)
                if descriptor is not None:
                    return _Once(lambda: os.close(descriptor))  # noqa: B023 - it is not bound again
        except InfrastructureError as error:
            if not self._complained:
                self._complained = True
                _log.warning("modules start beside those of other nodes of this machine: %s", error)
            return lambda: None
        return None


def try_again_after(refused_s: float) -> float:
    """Seconds until the next try of one who has been refused for so many; trying costs a little."""
    return _SOON_S if refused_s < _NOT_SOON_S else _LATER_S


def gate_name(scope: str) -> str:
    """Of the gates of all nodes that share the processors `scope`."""
    return f"start-{sha256(scope.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


class NoGates:
    """For a node that need not mind any other."""

    def enter(self) -> OpenGate | None:
        return lambda: None


class _Once:
    """Calls a function the first time; safe from any thread."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        with self._lock:
            if not self._done:
                self._done = True
                self._function()
