"""A worker and its outbox in simulated time, as `worker.py` and `outbox.py` do it with threads."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from testmesh.model import Counts, Evaluation, ModuleResult, ModuleState, Verdict
from testmesh.node.messaging.messages import AttemptReport, AttemptReports, Held, Load, Returned, Task, WorkOrder
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes

_RETRY_S = 0.5
_STARVES = 0.05  # of those that run beside others
Key = tuple[str, Task]


class Host(Protocol):
    """What a worker needs of its node. What it asks for later comes only while the node's process lives."""

    ledger: Ledger

    @property
    def address(self) -> str: ...

    def later(self, seconds: float, action: Callable[[], None]) -> None: ...

    def seconds(self, low: float, high: float) -> float: ...

    def fetch(self, evaluation: Evaluation, done: Callable[[bool], None]) -> None:
        """Have its archives here, from whoever has them."""
        ...

    def report(self, owner: str, reports: AttemptReports, done: Callable[[bool], None]) -> None: ...


def counts_of(evaluation_id: str, project: str, module: str) -> Counts:
    """What every run of a module finds, whatever happens around it."""
    number = int.from_bytes(hashlib.sha256(f"{evaluation_id} {project} {module}".encode()).digest()[:4], "big")
    return Counts(number % 7, number // 7 % 3, number // 21 % 2, number // 42 % 2)


@dataclass(eq=False)
class Attempt:
    evaluation: Evaluation
    task: Task
    running: bool = False
    ended: bool = False
    cancelled: bool = False

    @property
    def key(self) -> Key:
        return (self.evaluation.id, self.task)

    @property
    def gives_way(self) -> bool:
        return self.cancelled and not self.running and not self.ended


@dataclass
class SimulatedWorker:
    host: Host
    slots: int
    longest: float  # seconds that a module may run
    starves: bool = True  # a few that run beside others come to no end in their time, as the processor is short
    _held: dict[Key, Attempt] = field(default_factory=dict)
    _ready: list[Attempt] = field(default_factory=list)
    _reports: list[AttemptReport] = field(default_factory=list)
    _busy: set[str] = field(default_factory=set)
    _draining: bool = False
    runs: list[Key] = field(default_factory=list)  # that came to their end

    # What the node asks ----------------------------------------------------------------------

    def accept(self, order: WorkOrder) -> bool:
        if self._draining:
            return False
        for task in order.tasks:
            if (order.evaluation.id, task) in self._held:
                continue
            for other in self._held.values():
                if _is_older(other, order.evaluation.id, task):
                    other.cancelled = True
            attempt = Attempt(order.evaluation, task)
            self._held[attempt.key] = attempt
            self.host.later(self.host.seconds(0.02, 0.5), lambda attempt=attempt: self._prepare(attempt))  # type: ignore[misc]
        self.changed(self.host.ledger.store.records(order.evaluation.id))
        return True

    def held(self) -> Held:
        tasks = tuple(key for key, attempt in self._held.items() if attempt.running or not attempt.gives_way)
        return Held(tasks, self.load())

    def load(self) -> Load:
        running = sum(attempt.running for attempt in self._held.values())
        waiting = sum(not attempt.running and not attempt.cancelled for attempt in self._held.values())
        return Load(0 if self._draining else self.slots, running, waiting, float(self.slots))

    def drain(self) -> None:
        self._draining = True
        for attempt in [a for a in self._held.values() if not a.running and not a.ended]:
            attempt.cancelled = True
            self._give_back(attempt, Returned.LEAVING)

    def is_quiet(self) -> bool:
        return not self._held

    def changed(self, changes: Changes) -> None:
        """Nothing is to come of what has ended, nor of an attempt where another has, or where a later one runs."""
        over = {e.id for e in changes.evaluations if e.cancelled or e.finished_at is not None}
        states = {record.state.key: record.state for record in changes.modules}
        for attempt in list(self._held.values()):
            state = states.get((attempt.evaluation.id, attempt.task.project, attempt.task.module))
            if attempt.evaluation.id in over or (state is not None and _is_pointless(attempt, state)):
                attempt.cancelled = True

    # Doing the work --------------------------------------------------------------------------

    def _prepare(self, attempt: Attempt) -> None:
        def fetched(found: bool) -> None:
            if self._is_cancelled(attempt):
                return
            if found:
                self._ready.append(attempt)
                self._begin()
            else:
                self._give_back(attempt, Returned.NO_ARCHIVE)

        if not self._is_cancelled(attempt):
            self.host.fetch(attempt.evaluation, fetched)

    def _begin(self) -> None:
        while self._ready:
            attempt = self._ready[0]
            running = [other for other in self._held.values() if other.running]
            alone = attempt.task.alone or any(other.task.alone for other in running)
            if not attempt.cancelled and (len(running) >= self.slots or (alone and running)):
                return
            self._ready.pop(0)
            if self._is_cancelled(attempt):
                continue
            attempt.running = True
            self._put(AttemptReport(attempt.evaluation.id, attempt.task, self.host.address))
            took = self.host.seconds(0.05, self.longest)
            self.host.later(took, lambda attempt=attempt, took=took: self._end(attempt, took))  # type: ignore[misc]

    def _end(self, attempt: Attempt, took: float) -> None:
        beside_others = sum(other.running for other in self._held.values()) > 1
        attempt.running = False
        if not self._is_cancelled(attempt):
            attempt.ended = True
            task = attempt.task
            starved = self.starves and beside_others and self.host.seconds(0, 1) < _STARVES
            counts = counts_of(attempt.evaluation.id, task.project, task.module)
            verdict = Verdict.FAILED if counts.failed or counts.errors else Verdict.PASSED
            result = ModuleResult(Verdict.TIMEOUT if starved else verdict, counts, took, "3.11")
            self.runs.append(attempt.key)
            self._put(AttemptReport(attempt.evaluation.id, task, self.host.address, result, starved=starved))
        self._begin()

    def _give_back(self, attempt: Attempt, why: Returned) -> None:
        attempt.ended = True
        self._put(AttemptReport(attempt.evaluation.id, attempt.task, self.host.address, returned=why))

    def _is_cancelled(self, attempt: Attempt) -> bool:
        if attempt.cancelled and not attempt.ended:
            self._held.pop(attempt.key, None)
        return attempt.cancelled

    # The outbox ------------------------------------------------------------------------------

    def _put(self, report: AttemptReport) -> None:
        self._reports.append(report)
        self._hand_out()

    def _hand_out(self) -> None:
        reports, self._reports = self._reports, []
        by_owner: dict[str, list[AttemptReport]] = {}
        for report in reports:
            evaluation = self.host.ledger.store.evaluation(report.evaluation)
            if evaluation is None or evaluation.finished_at is not None:
                self._taken([report])
            elif evaluation.owner in self._busy:
                self._reports.append(report)
            else:
                by_owner.setdefault(evaluation.owner, []).append(report)
        for owner, mine in by_owner.items():
            self._tell(owner, mine)

    def _tell(self, owner: str, reports: list[AttemptReport]) -> None:
        def done(taken: bool) -> None:
            if taken:
                self._taken(reports)
                free()
            else:
                self.host.later(_RETRY_S, put_back)

        def put_back() -> None:
            self._reports = [*reports, *self._reports]
            free()

        def free() -> None:
            self._busy.discard(owner)
            self._hand_out()

        self._busy.add(owner)
        load = self.load()
        ended = sum(report.is_over for report in reports)
        after = Load(load.slots, load.running, max(0, load.waiting - ended))
        self.host.report(owner, AttemptReports(self.host.address, tuple(reports), after), done)

    def _taken(self, reports: Iterable[AttemptReport]) -> None:
        for report in reports:
            if report.is_over:
                self._held.pop((report.evaluation, report.task), None)


def _is_older(attempt: Attempt, evaluation_id: str, task: Task) -> bool:
    mine = attempt.task
    return (
        attempt.evaluation.id == evaluation_id
        and (mine.project, mine.module) == (task.project, task.module)
        and (mine.epoch, mine.attempt) < (task.epoch, task.attempt)
        and not attempt.running
    )


def _is_pointless(attempt: Attempt, state: ModuleState) -> bool:
    mine, theirs = (attempt.task.epoch, attempt.task.attempt), (state.epoch, state.attempt)
    if state.verdict.is_final:
        return mine != theirs
    return state.verdict is Verdict.RUNNING and mine < theirs and not attempt.running
