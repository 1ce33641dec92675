"""PURE: what an owner knows of the modules it drives, and what follows from what happens to them.

Each call gives the records that changed, to be merged into the store, or the orders to send. The schedule can be built
again from the store at any time: it holds nothing that must survive. But for `update` and `drop` no call costs more the
more modules there are.

A module has at most two attempts at a time. Its record shows one of them; of the other a successor hears from the
worker that has it, or not at all: then its result is still welcome, if it is the first.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from testmesh.load_balance.policy import NodeLoad, Placement, Policy, room_for
from testmesh.model import Evaluation, ModuleResult, ModuleState, Verdict
from testmesh.node.driving.book import Book
from testmesh.node.driving.jobs import MAX_LOSSES, Module
from testmesh.node.driving.placed import Attempt
from testmesh.node.driving.prediction import FromFile, Predictor
from testmesh.node.driving.tail import Running, is_late, second_attempts
from testmesh.node.messaging.messages import AttemptReport, Task, WorkOrder
from testmesh.node.storage.replica import ModuleRecord

MAX_NODE_FAILURES = 3  # attempts that failed by a node's fault, before the module is infra_failed
_MOST_ATTEMPTS = 2  # of a module at a time


class Schedule:
    """Not thread-safe: the coordinator's thread has it for itself. Times are monotonic seconds, `wall` Unix seconds."""

    def __init__(self, policy: Policy, predictor: Predictor | None = None) -> None:
        self._policy = policy
        self._book = Book(predictor or FromFile())

    # Evaluations -----------------------------------------------------------------------------

    def update(self, evaluation: Evaluation, states: Sequence[ModuleState]) -> list[ModuleRecord]:
        """Take up an evaluation, or what became known of one.

        That a module waits to be placed is not recorded: one without a record is pending. Of an evaluation that is
        cancelled this gives the `cancelled` states of what has not ended.
        """
        self._book.take_up(evaluation, states)
        return self._cancel(evaluation.id) if evaluation.cancelled else []

    def drop(self, evaluation_id: str) -> None:
        """Another node drives it now, or it has ended."""
        self._book.drop(evaluation_id)

    def drives(self, evaluation_id: str) -> bool:
        return evaluation_id in self._book.jobs

    def evaluations(self) -> list[Evaluation]:
        return [job.evaluation for job in self._book.jobs.values()]

    def is_complete(self, evaluation_id: str) -> bool:
        """Every source is resolved (or it is cancelled) and every module has its result."""
        return self._book.jobs[evaluation_id].is_complete

    def contested(self, evaluation_id: str) -> tuple[ModuleRecord, ...]:
        """Results that came while another attempt still ran: a successor must know them before that one ends."""
        return tuple(self._book.jobs[evaluation_id].contested)

    # Placing ---------------------------------------------------------------------------------

    def place(
        self, nodes: Sequence[NodeLoad], now: float, held_back: Collection[str] = ()
    ) -> list[tuple[str, WorkOrder]]:
        """Orders for nodes with room. `nodes` have `assigned` as they said last, which orders on the way are not in.

        `held_back`: evaluations of which nothing is placed yet. Once nothing else waits, what is late is placed twice.
        """
        turns, tasks = self._book.turns, dict[tuple[str, str], list[Task]]()
        if not turns.is_empty(held_back):
            loads = self._book.seen(nodes, now)
            if any(load.room > 0 for load in loads):
                candidates = turns.candidates(held_back, now, lambda need: room_for(need, loads))
                self._give(self._policy.place(candidates, loads), now, tasks)
        if turns.is_empty(held_back):
            loads = self._book.seen(nodes, now)
            if any(load.is_free for load in loads):
                self._give(second_attempts(self._running(held_back, now), loads, now), now, tasks)
        return [(node, self._order(node, evaluation_id, given)) for (node, evaluation_id), given in tasks.items()]

    def placed_by_node(self) -> dict[str, int]:
        return self._book.counts()

    def placed_before(self, moment: float) -> dict[str, set[tuple[str, Task]]]:
        """Attempts placed before a moment, by node: what each should still have."""
        found: dict[str, set[tuple[str, Task]]] = {}
        for _, attempt in self._book.attempts():
            if attempt.placed_at < moment:
                found.setdefault(attempt.node, set()).add(attempt.id)
        return found

    def _running(self, held_back: Collection[str], now: float) -> Iterator[Running]:
        """What may have a second attempt."""
        for module, attempt in self._book.attempts():
            began = attempt.began_at
            if len(module.attempts) > 1 or module.runs_alone or attempt.evaluation in held_back:
                continue
            if began is None or is_late(module.prediction, began, now):
                yield Running(module.candidate(), module.prediction, attempt.node, attempt.placed_at, began)

    def _give(self, placements: Iterable[Placement], now: float, tasks: dict[tuple[str, str], list[Task]]) -> None:
        for placement in placements:
            this = placement.candidate
            module, job = self._book.module_of(this), self._book.jobs[this.evaluation]
            task = Task(this.project, this.module, job.evaluation.epoch, module.next_attempt, this.alone)
            self._book.add(module, task, placement.address, now)
            tasks.setdefault((placement.address, this.evaluation), []).append(task)

    def _order(self, node: str, evaluation_id: str, tasks: Sequence[Task]) -> WorkOrder:
        """The first one to a node has the whole record, which it stores; later ones what a worker needs of it."""
        job = self._book.jobs[evaluation_id]
        if node in job.told:
            return WorkOrder(job.part_of(tasks), tuple(tasks), whole=False)
        job.told.add(node)
        return WorkOrder(job.evaluation, tuple(tasks))

    # What happens ----------------------------------------------------------------------------

    def unplaced(self, node: str, evaluation_id: str, tasks: Sequence[Task]) -> None:
        """An order did not arrive. Should it have after all, its report is still welcome."""
        if evaluation_id in self._book.jobs:
            self._book.jobs[evaluation_id].told.discard(node)
        for task in tasks:
            module = self._book.find(evaluation_id, task)
            attempt = module.attempt(task) if module is not None else None
            if module is not None and attempt is not None and attempt.node == node and attempt.began_at is None:
                self._book.remove(module, attempt)
                if not module.attempts:
                    self._book.turns.give_back(module)

    def found(self, node: str, held: Iterable[tuple[str, Task]], now: float) -> None:
        """A worker has these: what was given to it by an earlier owner, and not given up since, is left to it."""
        for evaluation_id, task in held:
            module = self._book.find(evaluation_id, task)
            if module is None or module.is_over:
                continue
            attempt = module.attempt(task)
            if attempt is None:
                attempt = self._adopted(module, task, node, now)
                if attempt is not None:
                    self._book.begin(attempt, now)  # for all that is known
            elif attempt.began_at is not None:
                attempt.began_at = min(attempt.began_at, now)  # it was not known when

    def lost(self, node: str, tasks: set[tuple[str, Task]] | None = None, *, blame: bool = True) -> list[ModuleRecord]:
        """A node is gone, or (`tasks`) no longer has these: they wait again. One lost too often is `crashed`.

        `blame`: it may be the module's doing; not so where a node left by itself. A module of which another attempt
        lives is not lost.
        """
        if tasks is None:
            self._book.lost(node)
        changed = []
        for module, attempt in self._book.attempts_at(node):
            if tasks is not None and attempt.id not in tasks:
                continue
            if blame:
                module.lost_with.append(node)
            losses = module.state.losses + (blame and len(module.attempts) == 1)
            if losses <= MAX_LOSSES:
                changed += self._give_up(module, attempt, losses=losses)
                continue
            detail = (
                f"The node that ran this module was lost {losses} times in a row,"
                f" the last time ({node}) with nothing else to run."
            )
            module.state = replace(module.state, losses=losses)
            changed.append(self._settle(module, attempt.task, node, ModuleResult(Verdict.CRASHED, detail=detail)))
        return changed

    def ended_elsewhere(self, state: ModuleState) -> None:
        """A result that another owner came to, and that is stored here by now."""
        job = self._book.jobs.get(state.evaluation)
        module = job.modules.get((state.project, state.module)) if job else None
        if module is not None and not module.is_over:
            self._book.end(module, state)

    def reported(self, report: AttemptReport, now: float, wall: float) -> list[ModuleRecord]:
        """An attempt began or ended. The first that ends is the result; what comes later is discarded."""
        module = self._book.find(report.evaluation, report.task)
        if module is None or module.is_over:
            return []
        result = report.result
        if result is not None and not report.retry and not _is_excused(report):
            return [self._settle(module, report.task, report.node, result)]
        attempt = module.attempt(report.task)
        if attempt is None and report.returned is None:
            attempt = self._adopted(module, report.task, report.node, now)
        if attempt is None or attempt.node != report.node:
            return []
        if result is None and report.returned is None:
            return self._began(module, attempt, now, wall)
        return self._ended_in_vain(module, attempt, report)

    def _ended_in_vain(self, module: Module, attempt: Attempt, report: AttemptReport) -> list[ModuleRecord]:
        """It was given back, the node failed, or its time was not its own."""
        if report.result is None or not report.retry:
            return self._give_up(module, attempt, starved=module.state.starved + _is_excused(report))
        module.failed_on.append(report.node)
        if len(module.failed_on) >= MAX_NODE_FAILURES and len(module.attempts) == 1:
            return [self._settle(module, report.task, report.node, report.result)]
        return self._give_up(module, attempt)

    def _adopted(self, module: Module, task: Task, node: str, now: float) -> Attempt | None:
        """One whose order seemed not to arrive, or that an earlier owner placed; unless it was given up since."""
        if (task.epoch, task.attempt) < module.floor or len(module.attempts) >= _MOST_ATTEMPTS:
            return None
        return self._book.add(module, task, node, now)

    def _began(self, module: Module, attempt: Attempt, now: float, wall: float) -> list[ModuleRecord]:
        self._book.begin(attempt, now)
        for other in [other for other in module.attempts if other.began_at is None and other.number < attempt.number]:
            self._book.remove(module, other)  # its worker sees that a later one runs, and does not begin it
        if module.state.verdict is Verdict.RUNNING or attempt.number < module.number:
            return []
        module.state = replace(_showing(module.state, attempt, Verdict.RUNNING), began_at=wall)
        return [ModuleRecord(module.state)]

    def _give_up(
        self, module: Module, attempt: Attempt, *, losses: int | None = None, starved: int | None = None
    ) -> list[ModuleRecord]:
        """It waits again, with these counts, unless another attempt lives.

        For its next attempt, under that one's number: at its old one, `running` would win in every merge.
        """
        self._book.remove(module, attempt)
        module.floor = max(module.floor, (attempt.task.epoch, attempt.task.attempt + 1))
        state, epoch = module.state, self._book.job_of(module).evaluation.epoch
        waiting = replace(state, verdict=Verdict.PENDING, epoch=epoch, attempt=module.next_attempt, began_at=0.0)
        if not module.attempts:
            losses = state.losses if losses is None else losses
            starved = state.starved if starved is None else starved
            module.state = replace(waiting, losses=losses, starved=starved)
            self._book.turns.give_back(module)
        elif state.verdict is not Verdict.RUNNING or module.number != attempt.number:
            return []  # the record shows the other one, or none
        elif (other := module.attempts[0]).number > attempt.number:
            verdict = Verdict.PENDING if other.began_at is None else Verdict.RUNNING
            module.state = _showing(state, other, verdict)
        else:
            module.state = waiting
        return [ModuleRecord(module.state)]

    def _settle(self, module: Module, task: Task, node: str, result: ModuleResult) -> ModuleRecord:
        counts = result.counts
        if result.verdict is Verdict.CRASHED and not (counts.passed or counts.failed or counts.errors):
            counts = replace(counts, failed=module.plan.tests_found)
        state = replace(
            module.state,
            verdict=result.verdict,
            epoch=task.epoch,
            attempt=task.attempt,
            node=node,
            counts=counts,
            time=result.time,
            python=result.python,
            detail=result.detail,
            cpu_time=result.cpu_time,
            began_at=result.began_at,
        )
        record = ModuleRecord(state, result.tests)
        if any(attempt.task != task for attempt in module.attempts):
            self._book.job_of(module).contested.append(record)
        self._book.end(module, state)
        return record

    def _cancel(self, evaluation_id: str) -> list[ModuleRecord]:
        changed = []
        for module in self._book.jobs[evaluation_id].modules.values():
            if not module.is_over:
                epoch, attempt = max([module.number, *(attempt.number for attempt in module.attempts)])
                state = replace(module.state, verdict=Verdict.CANCELLED, epoch=epoch, attempt=attempt)
                self._book.end(module, state)
                changed.append(ModuleRecord(state))
        return changed


def _is_excused(report: AttemptReport) -> bool:
    """A timeout while the processor was short: it runs once more, alone, and what comes of that stands."""
    timeout = report.result is not None and report.result.verdict is Verdict.TIMEOUT
    return timeout and report.starved and not report.task.alone


def _showing(state: ModuleState, attempt: Attempt, verdict: Verdict) -> ModuleState:
    epoch, number = attempt.number
    return replace(state, verdict=verdict, epoch=epoch, attempt=number, node=attempt.node, began_at=0.0)
