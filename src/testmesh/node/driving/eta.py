"""PURE: how long an evaluation will most likely still take.

No schedule is quicker than its longest module, than its processor time over all processors, and than its wall time over
all slots; and a mesh that takes the longest first comes close to the largest of the three.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from testmesh.node.driving.prediction import Prediction

# A module that is over its prediction is expected to run for another quarter of what it has: the longer something has
# lasted, the longer it is likely to last.
_LASTS_ON = 0.25
_MOST_BUSY = 1000.0  # processors that one module may seem to use: clocks are coarse where it took no time


@dataclass(frozen=True, slots=True)
class OpenModule:
    """`running_s`: for how long it has been running; None: it waits. Seconds."""

    prediction: Prediction
    running_s: float | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of all nodes that take work: processors, and the most modules at once."""

    cores: float
    slots: int

    def share(self, among: int) -> "Capacity":
        """What one of several evaluations gets, which take turns."""
        return Capacity(self.cores / max(1, among), max(1, self.slots // max(1, among)))


def seconds_left(modules: Iterable[OpenModule], capacity: Capacity, limit_s: float) -> float | None:
    """None where nothing takes work.

    Args:
        limit_s: seconds after which a module is ended.
    """
    if capacity.cores <= 0 or capacity.slots <= 0:
        return None
    longest = processor_s = wall_s = 0.0
    for module in modules:
        left = _left(module, limit_s)
        longest = max(longest, left)
        wall_s += left
        processor_s += left * _processors(module.prediction)
    return max(longest, processor_s / capacity.cores, wall_s / capacity.slots)


def _processors(prediction: Prediction) -> float:
    """How many it keeps busy while it runs."""
    return min(prediction.cpu / prediction.wall, _MOST_BUSY) if prediction.wall > 0 else 0.0


def _left(module: OpenModule, limit_s: float) -> float:
    ran = module.running_s
    if ran is None:
        return min(module.prediction.wall, limit_s)
    left = max(module.prediction.wall - ran, _LASTS_ON * ran)
    return max(0.0, min(left, limit_s - ran))
