"""PURE: what a node had to do in the last hour, a sample every ten seconds. Times are monotonic seconds."""

from collections import deque
from dataclasses import dataclass

from testmesh.node.messaging.messages import Moment
from testmesh.node.working.admission import Sample

INTERVAL_S = 10.0
KEPT = 360
_LEAST_S = 1.0  # over less time, what the processors did says little


@dataclass(frozen=True, slots=True)
class _Entry:
    at: float
    running: int
    waiting: int
    cpu: float | None


class LoadHistory:
    """Not thread-safe. `memory`: bytes that the node may use in all; None: not known."""

    def __init__(self, memory: int | None) -> None:
        self._memory = memory
        self._entries: deque[_Entry] = deque(maxlen=KEPT)
        self._read: deque[Sample] = deque(maxlen=2)

    def is_due(self, now: float) -> bool:
        return not self._read or now >= self._read[-1].at + INTERVAL_S

    def add(self, sample: Sample, running: int, waiting: int) -> None:
        self._entries.append(_Entry(sample.at, running, waiting, self.cpu(sample)))
        self._read.append(sample)

    def cpu(self, sample: Sample) -> float | None:
        """The part of the processors, 0 to 1, that was used until then, for ten seconds or less. None: not known."""
        earlier = [each for each in self._read if sample.at - each.at >= _LEAST_S]
        if not earlier or not sample.processors or len(earlier[-1].processors) != len(sample.processors):
            return None
        before, after = earlier[-1].processors[-1], sample.processors[-1]
        used = (after.busy_s - before.busy_s) / (sample.at - earlier[-1].at)
        return min(1.0, max(0.0, used / after.cores)) if after.cores > 0 else None

    def memory(self, sample: Sample) -> float | None:
        """The part of the memory, 0 to 1, that cannot be had any more. None: not known."""
        if not self._memory or sample.memory is None:
            return None
        return min(1.0, max(0.0, 1.0 - sample.memory / self._memory))

    def moments(self, now: float) -> tuple[Moment, ...]:
        """The oldest first."""
        return tuple(Moment(max(0.0, now - e.at), e.running, e.waiting, e.cpu) for e in self._entries)
