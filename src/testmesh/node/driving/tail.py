"""PURE: the end of the work, when nothing waits and nodes are free: second attempts of modules that are late.

The first result stands, whichever it is of, and the other attempt is cancelled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from testmesh.load_balance.policy import Candidate, NodeLoad, Placement
from testmesh.node.driving.prediction import Prediction

PATIENCE_S = 0.3  # orders travel, and are prepared
TIMES_TOO_LONG = 2.0
_STUCK_S = 2.0  # besides several times what its preparation was taken to take
_TIMES_PREPARING = 4.0
_TOO_LONG_S = 2.0  # what ends sooner is not worth a second attempt
_TOO_LONG_UNKNOWN_S = 10.0  # a guess is often wrong


@dataclass(frozen=True, slots=True)
class Running:
    """The one attempt of a module that was placed at `node`. Times are monotonic seconds; `began_at` None: it waits."""

    candidate: Candidate
    prediction: Prediction
    node: str
    placed_at: float
    began_at: float | None


def is_late(prediction: Prediction, began_at: float, now: float) -> bool:
    """Whether it runs much longer than was to be expected."""
    return now - began_at > _limit(prediction)


def second_attempts(running: Iterable[Running], nodes: Sequence[NodeLoad], now: float) -> list[Placement]:
    """What waits goes first, the longest before others; then what runs, the latest before others.

    What waits has one where its node is busy, or has long begun nothing: by another's module that runs alone, or since
    the preparation hangs.
    """
    free = {node.address: node for node in nodes if node.is_free}
    if not free:
        return []
    known = {node.address: node for node in nodes}
    waiting, late = [], []
    for one in running:
        there = known.get(one.node)
        if one.began_at is not None:
            if is_late(one.prediction, one.began_at, now):
                late.append((one.began_at + _limit(one.prediction), one))
        elif there is not None and (
            (there.is_busy and now - one.placed_at >= PATIENCE_S) or _is_stuck(one, there, now)
        ):
            waiting.append((-one.prediction.wall, one))
    placements = []
    for _, one in sorted(waiting, key=_first) + sorted(late, key=_first):
        choices = [node for node in free.values() if _is_worth_it(one, node, known, now)]
        if choices:
            candidate = one.candidate
            best = min(choices, key=lambda node: (candidate.lacking(node) + node.delay, node.address))
            placements.append(Placement(candidate, best.address))
            filled = replace(best, assigned=best.assigned + 1, work=best.work + candidate.work)
            del free[best.address]
            if filled.is_free:
                free[best.address] = filled
    return placements


def _first(late: tuple[float, Running]) -> float:
    return late[0]


def _limit(prediction: Prediction) -> float:
    """Seconds after which a run is late."""
    least = _TOO_LONG_S if prediction.known else _TOO_LONG_UNKNOWN_S
    return max(least, TIMES_TOO_LONG * prediction.wall)


def _is_stuck(one: Running, there: NodeLoad, now: float) -> bool:
    """Whether its node has begun nothing since it was placed, for longer than any preparation should take."""
    waited = now - one.placed_at
    preparing = sum(seconds for _, seconds in one.candidate.needs)
    return waited > _STUCK_S + _TIMES_PREPARING * preparing and there.quiet >= waited


def _is_worth_it(one: Running, node: NodeLoad, known: dict[str, NodeLoad], now: float) -> bool:
    if node.address == one.node or node.address in one.candidate.avoid:
        return False
    if one.began_at is not None:
        return True
    there = known[one.node]
    if _is_stuck(one, there, now):
        return True
    return one.candidate.lacking(node) + node.delay < (there.work - one.candidate.work) / there.cores
