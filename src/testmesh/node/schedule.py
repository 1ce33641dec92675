"""PURE: what an owner knows of the modules it drives, and what follows from what happens to them.

Each call gives the records that changed, to be merged into the store, or the orders to send. The schedule can be built
again from the store at any time: it holds nothing that must survive.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest

from testmesh.load_balance.policy import Candidate, NodeLoad, Policy
from testmesh.model import Evaluation, ModuleResult, ModuleState, Verdict
from testmesh.node.messages import AttemptReport, Task, WorkOrder
from testmesh.node.replica import ModuleRecord

MAX_LOSSES = 3  # attempts lost with their nodes, before the module runs once alone
MAX_NODE_FAILURES = 3  # attempts that failed by a node's fault, before the module is infra_failed

ModuleKey = tuple[str, str]  # project, path


@dataclass(slots=True)
class _Module:
    state: ModuleState
    tests_found: int
    next_attempt: int
    node: str | None = None  # where its newest attempt was placed; None: it waits
    placed_at: float = 0.0
    lost_with: list[str] = field(default_factory=list)
    failed_on: list[str] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        return self.node is None and not self.state.verdict.is_final

    @property
    def runs_alone(self) -> bool:
        return self.state.losses >= MAX_LOSSES


@dataclass(slots=True)
class _Job:
    evaluation: Evaluation
    modules: dict[ModuleKey, _Module]


@dataclass(slots=True)
class Schedule:
    """Not thread-safe: the coordinator's thread has it for itself. Times are monotonic seconds."""

    policy: Policy
    _jobs: dict[str, _Job] = field(default_factory=dict)

    # Evaluations -----------------------------------------------------------------------------

    def update(self, evaluation: Evaluation, states: Sequence[ModuleState]) -> list[ModuleRecord]:
        """Take up an evaluation, or what became known of one. Gives new `pending` states of modules without one.

        Of an evaluation that is cancelled, the `cancelled` states of what has not ended.
        """
        known = {(state.project, state.module): state for state in states}
        earlier = self._jobs[evaluation.id].modules if evaluation.id in self._jobs else {}
        job = self._jobs[evaluation.id] = _Job(evaluation, {})
        created = []
        for project in evaluation.projects:
            for plan in project.modules:
                key = (project.name, plan.path)
                module, state = earlier.get(key), known.get(key)
                if module is None:
                    if state is None:
                        state = ModuleState(evaluation.id, project.name, plan.path, epoch=evaluation.epoch)
                        created.append(ModuleRecord(state))
                    module = _taken_up(state, plan.tests_found)
                elif state is not None and state.verdict.is_final and not module.state.verdict.is_final:
                    module.state, module.node = state, None  # it ended under another owner
                job.modules[key] = module
        return self._cancel(job) if evaluation.cancelled else created

    def drop(self, evaluation_id: str) -> None:
        """Another node drives it now, or it has ended."""
        self._jobs.pop(evaluation_id, None)

    def drives(self, evaluation_id: str) -> bool:
        return evaluation_id in self._jobs

    def evaluations(self) -> list[Evaluation]:
        return [job.evaluation for job in self._jobs.values()]

    def is_complete(self, evaluation_id: str) -> bool:
        """Every source is resolved (or it is cancelled) and every module has its result."""
        job = self._jobs[evaluation_id]
        resolved = job.evaluation.cancelled or all(source.is_resolved for source in job.evaluation.sources)
        return resolved and all(module.state.verdict.is_final for module in job.modules.values())

    # Placing ---------------------------------------------------------------------------------

    def place(
        self, nodes: Sequence[NodeLoad], now: float, held_back: Collection[str] = ()
    ) -> list[tuple[str, WorkOrder]]:
        """Orders for nodes with room. `nodes` have `assigned` as they said last, which orders on the way are not in.

        `held_back`: evaluations of which nothing is placed yet.
        """
        placed = self.placed_by_node()
        reserved = {module.node for _, module in self._open_modules() if module.runs_alone}
        loads = [
            replace(node, assigned=max(node.assigned, placed.get(node.address, 0)))
            for node in nodes
            if node.address not in reserved
        ]
        tasks: dict[tuple[str, str], list[Task]] = {}
        for placement in self.policy.place(self._candidates(held_back), loads):
            candidate = placement.candidate
            module = self._jobs[candidate.evaluation].modules[candidate.project, candidate.module]
            epoch, attempt = self._jobs[candidate.evaluation].evaluation.epoch, module.next_attempt
            module.next_attempt += 1
            module.node, module.placed_at = placement.address, now
            module.state = replace(module.state, verdict=Verdict.PENDING, epoch=epoch, attempt=attempt)
            task = Task(candidate.project, candidate.module, epoch, attempt)
            tasks.setdefault((placement.address, candidate.evaluation), []).append(task)
        return [
            (address, WorkOrder(self._jobs[evaluation_id].evaluation, tuple(of_order)))
            for (address, evaluation_id), of_order in tasks.items()
        ]

    def placed_by_node(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for _, module in self._open_modules():
            if module.node is not None:
                counts[module.node] = counts.get(module.node, 0) + 1
        return counts

    def placed_before(self, moment: float) -> dict[str, set[tuple[str, Task]]]:
        """Attempts placed before a moment, by node: what each should still have."""
        found: dict[str, set[tuple[str, Task]]] = {}
        for evaluation_id, module in self._open_modules():
            if module.node is not None and module.placed_at < moment:
                found.setdefault(module.node, set()).add((evaluation_id, _task(module.state)))
        return found

    def _candidates(self, held_back: Collection[str]) -> Iterator[Candidate]:
        """The evaluations take turns, so that a small one is not behind a large one; within one, most tests first.

        Before them all what must run alone, or it would never find an empty node.
        """
        alone, queues = [], []
        for evaluation_id, job in self._jobs.items():
            waiting = [m for m in job.modules.values() if m.waits and evaluation_id not in held_back]
            alone += [module for module in waiting if module.runs_alone]
            queues.append(sorted((m for m in waiting if not m.runs_alone), key=lambda module: -module.tests_found))
        in_turn = (module for module in chain.from_iterable(zip_longest(*queues)) if module is not None)
        return map(_candidate, chain(alone, in_turn))

    # What happens ----------------------------------------------------------------------------

    def unplaced(self, evaluation_id: str, tasks: Sequence[Task]) -> None:
        """An order did not arrive. Should it have after all, its report is still welcome."""
        for task in tasks:
            module = self._find(evaluation_id, task)
            if module is not None and _task(module.state) == task and module.state.verdict is Verdict.PENDING:
                module.node = None

    def found(self, node: str, held: Iterable[tuple[str, Task]], now: float) -> None:
        """A worker has these: what waits here, and was given to it by an earlier owner, is left to it."""
        for evaluation_id, task in held:
            module = self._find(evaluation_id, task)
            if module is None or not module.waits:
                continue
            if module.state.attempt and _number(task) < (module.state.epoch, module.state.attempt):
                continue  # it was given up since
            module.node, module.placed_at = node, now
            module.next_attempt = max(module.next_attempt, task.attempt + 1)
            module.state = replace(module.state, epoch=task.epoch, attempt=task.attempt)

    def lost(self, node: str, tasks: set[tuple[str, Task]] | None = None, *, blame: bool = True) -> list[ModuleRecord]:
        """A node is gone, or (`tasks`) no longer has these: they wait again. One lost too often is `crashed`.

        `blame`: it may be the module's doing; not so where a node left by itself.
        """
        changed = []
        for evaluation_id, module in self._open_modules():
            if module.node != node or (tasks is not None and (evaluation_id, _task(module.state)) not in tasks):
                continue
            if blame:
                module.lost_with.append(node)
                module.state = replace(module.state, losses=module.state.losses + 1)
            if module.state.losses > MAX_LOSSES:
                detail = (
                    f"The node that ran this module was lost {module.state.losses} times in a row,"
                    f" the last time ({node}) with nothing else to run."
                )
                changed.append(self._settle(module, ModuleResult(Verdict.CRASHED, detail=detail), node))
            else:
                changed.append(self._wait_again(module))
        return changed

    def reported(self, report: AttemptReport) -> list[ModuleRecord]:
        """An attempt began or ended. The first that ends is the result; what comes later is discarded."""
        module = self._find(report.evaluation, report.task)
        if module is None or module.state.verdict.is_final:
            return []
        newest = _task(module.state) == report.task
        if report.returned is not None:
            return [self._wait_again(module)] if newest and module.node == report.node else []
        if report.result is None:
            return self._began(module, report, newest)
        if report.retry:
            if not newest:
                return []
            module.failed_on.append(report.node)
            if len(module.failed_on) < MAX_NODE_FAILURES:
                return [self._wait_again(module)]
        module.state = replace(module.state, epoch=report.task.epoch, attempt=report.task.attempt)
        return [self._settle(module, report.result, report.node)]

    def _began(self, module: _Module, report: AttemptReport, newest: bool) -> list[ModuleRecord]:
        """Also where its order seemed not to arrive, or where an earlier owner placed it, unknown to this one."""
        task, state = report.task, module.state
        if not newest and not (module.waits and _number(task) > (state.epoch, state.attempt)):
            return []
        module.node = report.node
        module.next_attempt = max(module.next_attempt, task.attempt + 1)
        module.state = replace(state, verdict=Verdict.RUNNING, epoch=task.epoch, attempt=task.attempt, node=report.node)
        return [ModuleRecord(module.state)]

    def _wait_again(self, module: _Module) -> ModuleRecord:
        """For its next attempt, under that one's number: at its old one, `running` would win in every merge."""
        epoch = self._jobs[module.state.evaluation].evaluation.epoch
        module.node = None
        module.state = replace(module.state, verdict=Verdict.PENDING, epoch=epoch, attempt=module.next_attempt)
        return ModuleRecord(module.state)

    def _settle(self, module: _Module, result: ModuleResult, node: str) -> ModuleRecord:
        counts = result.counts
        if result.verdict is Verdict.CRASHED and not (counts.passed or counts.failed or counts.errors):
            counts = replace(counts, failed=module.tests_found)
        module.node = None
        module.state = replace(
            module.state,
            verdict=result.verdict,
            node=node,
            counts=counts,
            time=result.time,
            python=result.python,
            detail=result.detail,
        )
        return ModuleRecord(module.state, result.tests)

    def _cancel(self, job: _Job) -> list[ModuleRecord]:
        changed = []
        for module in job.modules.values():
            if not module.state.verdict.is_final:
                module.node = None
                module.state = replace(module.state, verdict=Verdict.CANCELLED)
                changed.append(ModuleRecord(module.state))
        return changed

    def _find(self, evaluation_id: str, task: Task) -> _Module | None:
        job = self._jobs.get(evaluation_id)
        return job.modules.get((task.project, task.module)) if job else None

    def _open_modules(self) -> list[tuple[str, _Module]]:
        return [
            (evaluation_id, module)
            for evaluation_id, job in self._jobs.items()
            for module in job.modules.values()
            if not module.state.verdict.is_final
        ]


def _number(task: Task) -> tuple[int, int]:
    return (task.epoch, task.attempt)


def _task(state: ModuleState) -> Task:
    return Task(state.project, state.module, state.epoch, state.attempt)


def _taken_up(state: ModuleState, tests_found: int) -> _Module:
    """A module as the store knows it. One that runs was placed by an earlier owner: the worker may still have it."""
    if state.verdict is Verdict.RUNNING:
        return _Module(state, tests_found, state.attempt + 1, node=state.node)
    return _Module(state, tests_found, max(1, state.attempt))


def _candidate(module: _Module) -> Candidate:
    state = module.state
    avoid = frozenset(module.lost_with + module.failed_on)
    return Candidate(state.evaluation, state.project, state.module, avoid, alone=module.runs_alone)
