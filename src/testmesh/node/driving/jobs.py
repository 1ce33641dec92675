"""PURE: the evaluations that a node drives, module by module."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from testmesh.load_balance.policy import Candidate
from testmesh.model import Evaluation, ModulePlan, ModuleState, Project
from testmesh.node.driving.equipment import Needs
from testmesh.node.driving.placed import Attempt, Number
from testmesh.node.driving.prediction import Prediction
from testmesh.node.messaging.messages import Task
from testmesh.node.storage.replica import ModuleRecord

MAX_LOSSES = 3  # attempts lost with their nodes, before the module runs once alone
_LEAST_WORK_S = 0.05  # to start whatever there is

ModuleKey = tuple[str, str]  # project, path


@dataclass(eq=False, slots=True)
class Module:
    state: ModuleState  # as it was recorded last
    project: Project
    plan: ModulePlan
    prediction: Prediction
    needs: Needs
    position: int
    next_attempt: int
    floor: Number  # attempts with lower numbers were given up
    source: int = 0  # of its evaluation's
    attempts: list[Attempt] = field(default_factory=list)  # that are not over; two at most
    is_waiting: bool = False  # in line to be placed
    turn_at: float | None = None  # where it runs alone: since when it is its turn
    lost_with: list[str] = field(default_factory=list)
    failed_on: list[str] = field(default_factory=list)

    @property
    def runs_alone(self) -> bool:
        return self.state.losses >= MAX_LOSSES or self.state.starved > 0

    @property
    def is_over(self) -> bool:
        return self.state.verdict.is_final

    @property
    def number(self) -> Number:
        return (self.state.epoch, self.state.attempt)

    @property
    def work(self) -> float:
        """Processor seconds."""
        return max(self.prediction.cpu, _LEAST_WORK_S)

    @property
    def need(self) -> str:
        """What is shared with most others of what it needs: its environment, where that is known."""
        return self.needs[0][0]

    def attempt(self, task: Task) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.task == task), None)

    def candidate(self, backlog: float = 0.0, waited: float = 0.0) -> Candidate:
        """Not on the nodes where its attempts are."""
        avoid = frozenset((*self.lost_with, *self.failed_on, *(attempt.node for attempt in self.attempts)))
        evaluation, project, path = self.state.key
        return Candidate(evaluation, project, path, avoid, self.runs_alone, self.work, self.needs, backlog, waited)


@dataclass(eq=False, slots=True)
class Job:
    evaluation: Evaluation
    modules: dict[ModuleKey, Module] = field(default_factory=dict)
    open: int = 0  # modules without a result
    taken_up: int = 0  # modules, since it is driven here
    told: set[str] = field(default_factory=set)  # nodes that were given its whole record
    contested: list[ModuleRecord] = field(default_factory=list)  # results that came while another attempt still ran

    @property
    def is_complete(self) -> bool:
        """Every source is resolved (or it is cancelled) and every module has its result."""
        if self.open:
            return False
        return self.evaluation.cancelled or all(source.is_resolved for source in self.evaluation.sources)

    def part_of(self, tasks: Sequence[Task]) -> Evaluation:
        """The record with these tasks' modules alone: all that a worker needs to run them."""
        wanted: dict[int, dict[str, list[Module]]] = {}
        for task in tasks:
            module = self.modules[task.project, task.module]
            wanted.setdefault(module.source, {}).setdefault(task.project, []).append(module)
        sources = []
        for number, by_name in sorted(wanted.items()):
            projects = (replace(of[0].project, modules=tuple(m.plan for m in of)) for of in by_name.values())
            sources.append(replace(self.evaluation.sources[number], projects=tuple(projects)))
        return replace(self.evaluation, sources=tuple(sources))
