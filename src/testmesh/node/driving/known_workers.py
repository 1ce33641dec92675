"""PURE: the workers as an owner sees them: how busy each is, as it said last, and which are given nothing just now."""

from collections.abc import Iterable, Mapping

from testmesh.load_balance.policy import NodeLoad
from testmesh.node.messaging.messages import Load

_REST_S = 1.0  # a node that refused an order gets no other for so long
_OUT_OF_REACH = 2  # questions in a row that a worker did not answer: others get what it has
_CUT_OFF_S = 30.0  # and it gets nothing for so long, unless it answers
_LEAST_CORES = 0.05


class KnownWorkers:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._loads: dict[str, Load] = {}
        self._resting: dict[str, float] = {}  # until when
        self._unanswered: dict[str, int] = {}  # questions in a row

    @property
    def loads(self) -> Mapping[str, Load]:
        return self._loads

    def said(self, node: str, load: Load) -> None:
        self._loads[node] = load

    def refused(self, node: str, now: float) -> None:
        """It took no work."""
        self._resting[node] = max(self._resting.get(node, 0.0), now + _REST_S)

    def answered(self, node: str) -> None:
        """A question."""
        if self._unanswered.pop(node, 0) >= _OUT_OF_REACH:
            self._resting.pop(node, None)

    def did_not_answer(self, node: str, now: float) -> bool:
        """Whether it is taken to be out of reach.

        It lives, or the membership would say so; but the cable from here to there is cut, and it cannot report.
        """
        self._unanswered[node] = self._unanswered.get(node, 0) + 1
        if self._unanswered[node] < _OUT_OF_REACH:
            return False
        self._resting[node] = now + _CUT_OFF_S
        return True

    def lost(self, node: str) -> None:
        self._loads.pop(node, None)
        self._unanswered.pop(node, None)

    def that_take_work(self, nodes: Iterable[str], now: float) -> list[NodeLoad]:
        return [
            NodeLoad(node, load.slots, load.running + load.waiting, max(load.cores, _LEAST_CORES))
            for node in nodes
            if (load := self._loads.get(node)) is not None and load.slots and self._resting.get(node, 0.0) <= now
        ]
