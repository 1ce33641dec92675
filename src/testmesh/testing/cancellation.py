"""A request to stop, made by one thread and noticed by another that waits for something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancellation:
    """Set once and never taken back. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._is_set = False

    @property
    def is_set(self) -> bool:
        return self._is_set

    def cancel(self) -> None:
        with self._lock:
            self._is_set = True
            listeners, self._listeners = self._listeners, []
            for listener in listeners:
                listener()

    @contextmanager
    def telling(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` (quick, and not raising) when it is cancelled, or at once if it has been.

        After the `with` block it is not called any more.
        """
        with self._lock:
            if self._is_set:
                listener()
            else:
                self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)
