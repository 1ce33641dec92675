"""Wall time for what goes by days: the median of the mesh's clocks, so that a wrong one decides nothing."""

import threading

from testmesh.clock import Clock


class MeshTime:
    """Safe from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[float, float]] = {}  # by peer: what it said, and when on the monotonic clock

    def heard(self, address: str, wall: float) -> None:
        """A peer said what its clock shows, in Unix seconds."""
        with self._lock:
            self._heard[address] = (wall, self._clock.monotonic())

    def forget(self, address: str) -> None:
        with self._lock:
            self._heard.pop(address, None)

    def has_peers(self) -> bool:
        with self._lock:
            return bool(self._heard)

    def now(self) -> float:
        """Unix seconds; of an even number of clocks the lower one of those in the middle."""
        with self._lock:
            at = self._clock.monotonic()
            clocks = sorted([self._clock.wall(), *(wall + at - then for wall, then in self._heard.values())])
        return clocks[(len(clocks) - 1) // 2]
