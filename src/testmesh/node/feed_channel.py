"""PURE: what the readers of one evaluation are told: its document as it was told last, and the newest events."""

from collections import deque
from dataclasses import dataclass

from testmesh.model import Evaluation, ModuleState
from testmesh.node.document import document
from testmesh.node.feed_parts import changes, encoded, whole
from testmesh.node.service import EvaluationView
from testmesh.node.storage.replica import Changes, ModuleRecord, merge_evaluations, merge_modules

KEPT_BYTES = 4 * 1024 * 1024  # of events: a reader further behind begins anew
_LATE_RESULTS_S = 5.0  # the end of an evaluation may be heard of before its last results are
_MOST_DIGITS = 18  # of a position; what has more was not told by anybody, and takes long to read
_LAST = "last"  # in the place of a number: any node knows by it that nothing follows


def is_last(event_id: str) -> bool:
    return event_id.endswith(f".{_LAST}")


@dataclass(frozen=True, slots=True)
class Prepared:
    """New events, not told yet: the document they make, and each as its bytes but for the id."""

    document: dict[str, object]
    events: tuple[tuple[str, dict[str, object]], ...]
    is_over: bool


class Channel:
    """Not thread-safe, but that `prepare` may run beside the reading calls.

    `instance` is the first part of the events' ids, and no other channel's. Positions count events from 0.
    """

    def __init__(self, instance: str, view: EvaluationView, wall: float, now: float) -> None:
        self._instance = instance
        self.evaluation = view.evaluation
        self._modules: dict[tuple[str, str], ModuleRecord] = {}
        self._ended_since: float | None = None
        self._events: deque[bytes] = deque()
        self._size = 0
        self._first = 0  # the position of the oldest event that is kept
        self.learn(records_of(view))
        self._told = document(view, wall)
        self.is_over = self._is_over(now)
        self._whole: tuple[int, bytes] | None = None

    @property
    def position(self) -> int:
        """Behind the newest event."""
        return self._first + len(self._events)

    @property
    def states(self) -> tuple[ModuleState, ...]:
        return tuple(record.state for record in self._modules.values())

    def learn(self, news: Changes) -> None:
        """Merge records of this evaluation; in whatever order they come, and however often."""
        for evaluation in news.evaluations:
            self.evaluation = merge_evaluations(self.evaluation, evaluation)
        for record in news.modules:
            place = (record.state.project, record.state.module)
            known = self._modules.get(place)
            bare = ModuleRecord(record.state)  # of the tests nothing is told here
            self._modules[place] = merge_modules(known, bare) if known else bare

    def prepare(self, view: EvaluationView, wall: float, now: float) -> Prepared:
        """What the readers have not been told of `view`."""
        shown = document(view, wall)
        is_over = self._is_over(now)
        return Prepared(shown, tuple(changes(self._told, shown, is_over)), is_over)

    def tell(self, prepared: Prepared) -> None:
        self._told, self.is_over = prepared.document, prepared.is_over
        self._whole = None
        for event in prepared.events:
            place = _LAST if event[0] == "done" else str(self.position)
            data = encoded(event, f"{self._instance}.{place}")
            self._events.append(data)
            self._size += len(data)
        while self._size > KEPT_BYTES:
            self._size -= len(self._events.popleft())
            self._first += 1

    def whole(self) -> tuple[int, bytes]:
        """The position from which to go on, and all that was told so far. Made once for all who ask meanwhile."""
        if self._whole is None:
            *others, last = whole(self._told, self.is_over)
            last_id = f"{self._instance}.{_LAST if self.is_over else self.position - 1}"
            pieces = [*(encoded(event, None) for event in others), encoded(last, last_id)]
            self._whole = self.position, b"".join(pieces)
        return self._whole

    def position_after(self, event_id: str) -> int | None:
        """None where it is of another channel, or where what followed is not kept any more."""
        instance, _, number = event_id.rpartition(".")
        if instance != self._instance or len(number) > _MOST_DIGITS or not number.removeprefix("-").isdecimal():
            return None
        position = int(number) + 1
        return position if self._first <= position <= self.position else None

    def since(self, position: int) -> list[bytes] | None:
        """The events from there on; None where the first of them is not kept any more."""
        if position < self._first:
            return None
        return [self._events[index] for index in range(position - self._first, len(self._events))]

    def _is_over(self, now: float) -> bool:
        """Whether it has ended, and its results are known or were waited for; here, as the owner's clock may differ."""
        if self.evaluation.finished_at is None:
            return False
        if self._ended_since is None:
            self._ended_since = now
        return _all_final(self.evaluation, self._modules) or now - self._ended_since > _LATE_RESULTS_S


def _all_final(evaluation: Evaluation, modules: dict[tuple[str, str], ModuleRecord]) -> bool:
    places = ((project.name, plan.path) for project in evaluation.projects for plan in project.modules)
    return all(place in modules and modules[place].state.verdict.is_final for place in places)


def records_of(view: EvaluationView) -> Changes:
    return Changes((view.evaluation,), tuple(ModuleRecord(state) for state in view.modules))


def news_of(merged: Changes, evaluation_id: str) -> Changes:
    """The part of it that is of this evaluation, without tests."""
    return Changes(
        tuple(evaluation for evaluation in merged.evaluations if evaluation.id == evaluation_id),
        tuple(ModuleRecord(record.state) for record in merged.modules if record.state.evaluation == evaluation_id),
    )
