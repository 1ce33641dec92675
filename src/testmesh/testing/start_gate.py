"""Few modules start at the same time on a host, however many run.

Starting is the part that computes: an interpreter, pytest, the project's imports. Course tests then mostly wait, but
for times that their authors chose on an idle machine; a dozen starts beside them would make them late and fail. So a
module passes one of as many gates as there are processors, and holds it until its first test begins, or `HOLD_S` at the
most: a module that hangs in an import must not hold up the others.
"""

import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from testmesh.testing.cancellation import Cancellation
from testmesh.testing.host_lock import host_lock

HOLD_S = 5.0
_PATIENCE = 4  # times that: then on without, since who holds it may be stopped itself


@contextlib.contextmanager
def start_gate(
    cancellation: Cancellation, folder: Path | None = None, gates: int | None = None, hold_s: float = HOLD_S
) -> Iterator[Callable[[], None]]:
    """Wait at a gate; gives what opens it to the next. So does the end of the block, and of `hold_s`.

    Raises:
        InfrastructureError: the folder of the locks is not this user's alone.
    """
    number = random.randrange(gates or os.cpu_count() or 1)  # noqa: S311 - which one does not matter
    held = contextlib.ExitStack()
    patience = Cancellation()
    timer = threading.Timer(_PATIENCE * hold_s, patience.cancel)
    timer.daemon = True
    timer.start()
    with cancellation.telling(patience.cancel):
        held.enter_context(host_lock(f"start-{number}", patience, folder))
    timer.cancel()
    release = _Once(held.close)
    timer = threading.Timer(hold_s, release)
    timer.daemon = True
    timer.start()
    try:
        yield release
    finally:
        timer.cancel()
        release()


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
