"""PURE: an owner's book: its modules, their attempts, the line of those that wait, and what each node has of theirs.

Whatever is written in it, its parts stay in step, so that none must be counted anew.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from testmesh.load_balance.policy import Candidate, NodeLoad
from testmesh.model import Evaluation, ModulePlan, ModuleState, Project, Verdict
from testmesh.node.driving.equipment import Equipment, needs_of
from testmesh.node.driving.jobs import Job, Module
from testmesh.node.driving.placed import Attempt, Placed
from testmesh.node.driving.prediction import Predictor
from testmesh.node.driving.turns import Turns
from testmesh.node.messaging.messages import Task


@dataclass(slots=True)
class Book:
    predictor: Predictor
    jobs: dict[str, Job] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)
    _placed: Placed = field(default_factory=Placed)
    _equipment: Equipment = field(default_factory=Equipment)

    # Evaluations -----------------------------------------------------------------------------

    def take_up(self, evaluation: Evaluation, states: Sequence[ModuleState]) -> None:
        """An evaluation, or what became known of one."""
        known = {(state.project, state.module): state for state in states}
        job = self.jobs.setdefault(evaluation.id, Job(evaluation))
        job.evaluation, earlier, job.modules = evaluation, job.modules, {}
        for number, source in enumerate(evaluation.sources):
            for project in source.projects:
                for plan in project.modules:
                    key = (project.name, plan.path)
                    module, state = earlier.pop(key, None), known.get(key)
                    if module is None:
                        module = self._taken_up(job, state, project, plan)
                    elif state is not None and state.verdict.is_final and not module.is_over:
                        self.end(module, state)  # it ended under another owner
                    module.source, module.project = number, project
                    job.modules[key] = module
        for module in earlier.values():
            self._let_go(module)

    def _taken_up(self, job: Job, known: ModuleState | None, project: Project, plan: ModulePlan) -> Module:
        """A module as the store knows it. Of one that runs, the worker may still have the attempt."""
        evaluation = job.evaluation
        state = known or ModuleState(evaluation.id, project.name, plan.path, epoch=evaluation.epoch)
        prediction, needs = self.predictor.predict(plan), needs_of(evaluation.id, project)
        number = (state.epoch, state.attempt)
        floor = number if state.attempt else (0, 0)  # before its first attempt none can have been given up
        module = Module(state, project, plan, prediction, needs, job.taken_up, max(1, state.attempt), floor)
        job.taken_up += 1
        if state.node:
            self._equipment.bring(state.node, needs)
        if module.is_over:
            return module
        job.open += 1
        if state.verdict is Verdict.RUNNING:
            module.next_attempt = state.attempt + 1
            task = Task(state.project, state.module, *number, alone=module.runs_alone)
            self._record(module, Attempt(evaluation.id, task, state.node, module.work, 0.0, math.inf, module.need))
        else:
            self.turns.add(module)
        return module

    def drop(self, evaluation_id: str) -> None:
        job = self.jobs.pop(evaluation_id, None)
        if job is not None:
            for module in job.modules.values():
                for attempt in module.attempts:
                    self._placed.remove(attempt)
            self.turns.drop(evaluation_id)
            self._equipment.forget({module.needs[-1][0] for module in job.modules.values()})

    # Modules ---------------------------------------------------------------------------------

    def find(self, evaluation_id: str, task: Task) -> Module | None:
        job = self.jobs.get(evaluation_id)
        return job.modules.get((task.project, task.module)) if job else None

    def module_of(self, this: Candidate) -> Module:
        return self.jobs[this.evaluation].modules[this.project, this.module]

    def job_of(self, module: Module) -> Job:
        return self.jobs[module.state.evaluation]

    def end(self, module: Module, state: ModuleState) -> None:
        """It has its result."""
        self._let_go(module)
        module.attempts, module.state = [], state

    def _let_go(self, module: Module) -> None:
        for attempt in module.attempts:
            self._placed.remove(attempt)
        if module.is_waiting:
            self.turns.remove(module)
        self.jobs[module.state.evaluation].open -= not module.is_over

    # Attempts --------------------------------------------------------------------------------

    def add(self, module: Module, task: Task, node: str, now: float) -> Attempt:
        """Where the module waits, it does no more."""
        if module.is_waiting:
            self.turns.take(module)
        module.next_attempt = max(module.next_attempt, task.attempt + 1)
        return self._record(module, Attempt(module.state.evaluation, task, node, module.work, now, need=module.need))

    def _record(self, module: Module, attempt: Attempt) -> Attempt:
        module.attempts.append(attempt)
        self._placed.add(attempt)
        self._equipment.bring(attempt.node, module.needs)
        return attempt

    def begin(self, attempt: Attempt, now: float) -> None:
        self._placed.begin(attempt, now)

    def remove(self, module: Module, attempt: Attempt) -> None:
        """The attempt is over. Without another one, the module is to be given back to the line, or ended."""
        module.attempts.remove(attempt)
        self._placed.remove(attempt)

    def attempts(self) -> Iterator[tuple[Module, Attempt]]:
        for attempt in self._placed:
            yield self.jobs[attempt.evaluation].modules[attempt.task.project, attempt.task.module], attempt

    def attempts_at(self, node: str) -> list[tuple[Module, Attempt]]:
        found = self._placed.at(node)
        return [(self.jobs[a.evaluation].modules[a.task.project, a.task.module], a) for a in found]

    # Nodes -----------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Attempts by node."""
        return self._placed.counts()

    def seen(self, nodes: Iterable[NodeLoad], now: float) -> list[NodeLoad]:
        """The nodes that may be given something, with all that is known of them here."""
        return [
            self._placed.seen(node, now, self._equipment.at(node.address))
            for node in nodes
            if not self._placed.is_reserved(node.address)
        ]

    def lost(self, node: str) -> None:
        """It has nothing of what it had. Its attempts are the caller's to give up."""
        self._equipment.lost(node)
        for job in self.jobs.values():
            job.told.discard(node)
