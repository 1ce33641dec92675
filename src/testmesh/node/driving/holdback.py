"""PURE: evaluations of which nothing is placed just now, and until when."""

from collections.abc import Iterable
from dataclasses import dataclass, field

ANSWER_WITHIN_S = 0.7  # what a worker has not said by then is placed again; one result stands all the same


@dataclass(slots=True)
class _Reason:
    until: float
    unanswered: set[str]  # nodes whose answers end it earlier; none: only time does


@dataclass(slots=True)
class HoldBack:
    """Times are monotonic seconds."""

    _found: dict[str, _Reason] = field(default_factory=dict)

    def until(self, evaluation_id: str, moment: float) -> None:
        self._found[evaluation_id] = _Reason(moment, set())

    def until_answered(self, evaluation_id: str, nodes: Iterable[str], now: float) -> None:
        self._found[evaluation_id] = _Reason(now + ANSWER_WITHIN_S, set(nodes))

    def answered(self, node: str) -> None:
        """Or it will never answer."""
        for evaluation_id, reason in tuple(self._found.items()):
            if node in reason.unanswered:
                reason.unanswered.discard(node)
                if not reason.unanswered:
                    del self._found[evaluation_id]

    def forget(self, evaluation_id: str) -> None:
        self._found.pop(evaluation_id, None)

    def expire(self, now: float) -> None:
        self._found = {name: reason for name, reason in self._found.items() if reason.until > now}

    def names(self) -> set[str]:
        return set(self._found)

    def next_due(self) -> float:
        return min((reason.until for reason in self._found.values()), default=float("inf"))
