"""PURE: who calls back, and when. Times are monotonic seconds."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from testmesh.model import Evaluation
from testmesh.node.membership.ownership import rendezvous

PAUSES_S = tuple(2.0**tries for tries in range(12))  # after each try but the last: 68 minutes in all
AT_ONCE = 8
AT_ONCE_TO_A_HOST = 2  # one that does not answer holds up those to nobody else
_LATE_RESULTS_S, _LATE_RESULTS_LOOKS = 2.0, 15
_STORE_AGAIN_S = 10.0
_BEGIN_AGAIN_S = 1.0


def wants_callback(evaluation: Evaluation) -> bool:
    """Whether it has ended and somebody is still to be told."""
    asked_for = evaluation.options.callback_url is not None and evaluation.pruned is None
    return asked_for and evaluation.finished_at is not None and not evaluation.called_back


def caller_of(evaluation: Evaluation, live: Iterable[str]) -> str:
    """The live node that calls back, the same for all: the owner, or else a holder of its files, or else any."""
    present = set(live)
    if evaluation.owner in present:
        return evaluation.owner
    return rendezvous(evaluation.id, present & set(evaluation.holders) or present)[0]


@dataclass(slots=True)
class _Waiting:
    evaluation: Evaluation
    host: str
    tries: int = 0
    looks: int = 0  # in vain, for results that have not come
    due: float = -math.inf
    under_way: bool = False
    is_told: bool = False  # but that is not stored yet


@dataclass(slots=True)
class Plan:
    """Of one node. A call is begun by `begin`, and ends with one of the calls below that."""

    address: str
    _waiting: dict[str, _Waiting] = field(default_factory=dict)

    def see(self, evaluation: Evaluation) -> bool:
        """An evaluation, or what became known of one. Gives whether somebody is to be told of its end."""
        if not wants_callback(evaluation):
            self._waiting.pop(evaluation.id, None)
            return False
        known = self._waiting.get(evaluation.id)
        if known is None:
            self._waiting[evaluation.id] = _Waiting(evaluation, _host(evaluation))
        else:
            known.evaluation = evaluation
        return True

    def begin(self, live: Iterable[str], now: float) -> list[str]:
        """The evaluations of which the end is to be told now, by this node. `live`: the other live nodes."""
        begun = []
        # First tries go first, so that receivers that never answer hold up each other alone.
        for waiting in sorted(self._ready(live), key=lambda waiting: waiting.tries):
            if waiting.due <= now and self._has_room(waiting.host):
                waiting.under_way = True
                begun.append(waiting.evaluation.id)
        return begun

    def next_due(self, live: Iterable[str]) -> float | None:
        """When `begin` has something to give. None: not before something happens."""
        return min((waiting.due for waiting in self._ready(live) if self._has_room(waiting.host)), default=None)

    def is_told(self, evaluation_id: str) -> bool:
        """Whether only that it was told is still to be stored."""
        waiting = self._waiting.get(evaluation_id)
        return waiting is not None and waiting.is_told

    # How a call ended ------------------------------------------------------------------------

    def stored(self, evaluation_id: str) -> None:
        """That it is over. Or it is not, but this process lets it be."""
        self._waiting.pop(evaluation_id, None)

    def not_begun(self, evaluation_id: str, now: float) -> None:
        """This node had no room for the call: that is no try."""
        self._ended(evaluation_id, now + _BEGIN_AGAIN_S)

    def not_stored(self, evaluation_id: str, now: float) -> None:
        """It was told, and nobody could write that down: it is not told again meanwhile."""
        waiting = self._ended(evaluation_id, now + _STORE_AGAIN_S)
        if waiting is not None:
            waiting.is_told = True

    def incomplete(self, evaluation_id: str, now: float) -> bool:
        """Its end was heard of before its last results were. False: they did not come, so tell what is known."""
        waiting = self._waiting.get(evaluation_id)
        if waiting is None or waiting.looks == _LATE_RESULTS_LOOKS:
            return False
        waiting.looks += 1
        self._ended(evaluation_id, now + _LATE_RESULTS_S)
        return True

    def failed(self, evaluation_id: str, now: float) -> float | None:
        """Seconds until the next try. None: that was the last."""
        waiting = self._waiting.get(evaluation_id)
        if waiting is None or waiting.tries == len(PAUSES_S):
            return None
        pause = PAUSES_S[waiting.tries]
        waiting.tries += 1
        self._ended(evaluation_id, now + pause)
        return pause

    def _ended(self, evaluation_id: str, due: float) -> _Waiting | None:
        waiting = self._waiting.get(evaluation_id)
        if waiting is not None:
            waiting.under_way, waiting.due = False, due
        return waiting

    def _ready(self, live: Iterable[str]) -> list[_Waiting]:
        """This node's turn, and not under way."""
        present = {self.address, *live}
        idle = (waiting for waiting in self._waiting.values() if not waiting.under_way)
        return [waiting for waiting in idle if caller_of(waiting.evaluation, present) == self.address]

    def _has_room(self, host: str) -> bool:
        under_way = Counter(waiting.host for waiting in self._waiting.values() if waiting.under_way)
        return under_way.total() < AT_ONCE and under_way[host] < AT_ONCE_TO_A_HOST


def _host(evaluation: Evaluation) -> str:
    try:
        return (urlsplit(evaluation.options.callback_url or "").hostname or "").rstrip(".")  # whatever the port
    except ValueError:  # a record that no node of this version made
        return ""
