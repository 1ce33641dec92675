"""One piece of work a key at a time; whoever asks for it meanwhile waits for the same result."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from typing import Generic, TypeVar

from testmesh.errors import InfrastructureError

Result = TypeVar("Result")
_LOOK_S = 0.2  # how often a waiter looks whether it was cancelled


class SingleFlight(Generic[Result]):
    """Keys that are being worked on. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, Future[Result]] = {}

    def run(self, key: str, work: Callable[[], Result], cancelled: Callable[[], bool] = lambda: False) -> Result:
        """Do the work in this thread, or wait for the thread that already does it. Nothing is kept once it ended.

        Raises:
            CancelledError: `cancelled` said so while this thread waited; the work goes on for the others.
            What `work` raised, in every thread that waited for it.
        """
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if not leads:
            return _join(flight, cancelled)
        try:
            result = work()
        except BaseException as error:
            self._land(key)
            is_stop = not isinstance(error, Exception)  # an exit of that thread is not one of the others
            flight.set_exception(InfrastructureError("the thread that did this was stopped") if is_stop else error)
            raise
        self._land(key)
        flight.set_result(result)
        return result

    def _land(self, key: str) -> None:
        with self._lock:
            del self._flights[key]


def _join(flight: Future[Result], cancelled: Callable[[], bool]) -> Result:
    while not flight.done():
        if cancelled():
            raise CancelledError
        wait([flight], timeout=_LOOK_S)
    return flight.result()
