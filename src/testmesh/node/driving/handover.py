"""PURE: evaluations that this node asks others to drive, since it leaves or cannot store what becomes of them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from testmesh.model import Evaluation
from testmesh.node.driving.driver_events import HandOver
from testmesh.node.membership.ownership import rendezvous
from testmesh.node.messaging.messages import Load
from testmesh.node.storage.replica import Changes, ModuleRecord

_ASK_AGAIN_S = 1.0


@dataclass(slots=True)
class Handovers:
    """Times are monotonic seconds."""

    _asking: dict[str, tuple[float, str]] = field(default_factory=dict)  # until when nobody else is asked, and who is
    _refusers: dict[str, set[str]] = field(default_factory=dict)  # who did not take it when asked
    _released: dict[str, tuple[int, str]] = field(default_factory=dict)  # the epoch that was given up, and to whom

    def names(self, now: float) -> Collection[str]:
        """What is not to be placed just now."""
        self._asking = {name: (until, to) for name, (until, to) in self._asking.items() if until > now}
        return self._asking.keys()

    def forget(self, evaluation_id: str) -> None:
        self._asking.pop(evaluation_id, None)
        self._refusers.pop(evaluation_id, None)
        self._released.pop(evaluation_id, None)

    def target(
        self, evaluation: Evaluation, live: Sequence[str], loads: Mapping[str, Load], *, at_any_price: bool
    ) -> str | None:
        """The one who would take over anyway, but for those who take no work themselves. None: there is nobody.

        `at_any_price`: then one who takes no work, since this node cannot keep it.
        """
        able = [node for node in live if node not in loads or loads[node].slots]
        candidates = [n for n in able if n in evaluation.holders] or able
        if not candidates and at_any_price:
            candidates = [n for n in live if n in evaluation.holders] or list(live)
        order = rendezvous(evaluation.id, candidates)
        refusers = self._refusers.get(evaluation.id, set())
        if refusers >= set(order):
            self._refusers.pop(evaluation.id, None)  # the round begins anew
            return order[0] if order and at_any_price else None
        return next(node for node in order if node not in refusers)

    def ask(self, evaluation: Evaluation, target: str, unsaved: Sequence[ModuleRecord], now: float) -> list[HandOver]:
        """The message that makes `target` the owner; none while it is under way, or failed a moment ago."""
        until, _ = self._asking.get(evaluation.id, (-math.inf, ""))
        if now < until:
            return []
        self._asking[evaluation.id] = (math.inf, target)
        handed = replace(evaluation, owner=target, epoch=evaluation.epoch + 1)
        mine = tuple(record for record in unsaved if record.state.evaluation == evaluation.id)
        return [HandOver(target, Changes((handed,), mine))]

    def is_asking(self, evaluation_id: str) -> bool:
        return evaluation_id in self._asking

    def refused(self, evaluation_id: str, by: str, now: float) -> None:
        self._asking[evaluation_id] = (now + _ASK_AGAIN_S, by)
        self._refusers.setdefault(evaluation_id, set()).add(by)

    def release(self, handed: Evaluation) -> None:
        """`handed.owner` drives it, though this node could not store that."""
        self._released[handed.id] = (handed.epoch - 1, handed.owner)

    def is_released(self, evaluation: Evaluation) -> bool:
        """Whether what the store says of its owner was given up since."""
        epoch, _ = self._released.get(evaluation.id, (-1, ""))
        return evaluation.epoch <= epoch

    def lost(self, node: str) -> None:
        """What was given to it may be known to nobody else, and what it was asked it will not answer."""
        self._asking = {name: (until, to) for name, (until, to) in self._asking.items() if to != node}
        self._released = {name: (epoch, to) for name, (epoch, to) in self._released.items() if to != node}
