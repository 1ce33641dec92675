"""An attempt as a worker holds it."""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from testmesh.model import ModulePlan, ModuleState, Verdict
from testmesh.node.messaging.messages import Task
from testmesh.testing.cancellation import Cancellation

P = TypeVar("P")


@dataclass(eq=False, slots=True)
class Attempt:
    evaluation: str
    task: Task
    plan: ModulePlan
    number: int  # its place in the order of all that was given to this worker
    cancellation: Cancellation = field(default_factory=Cancellation)
    running: bool = False
    ended: bool = False  # its report is on its way

    @property
    def module_key(self) -> tuple[str, str, str]:
        return (self.evaluation, self.task.project, self.task.module)

    @property
    def ids(self) -> dict[str, Any]:
        """For the log."""
        task = self.task
        return {
            "evaluation": self.evaluation,
            "project": task.project,
            "module": task.module,
            "attempt": task.attempt,
        }

    @property
    def gives_way(self) -> bool:
        """Cancelled before it ran."""
        return self.cancellation.is_set and not self.running and not self.ended

    def is_pointless(self, state: ModuleState | None) -> bool:
        """Whether its module has a result by now, or a later attempt of it runs while this one does not."""
        if state is None:
            return False
        mine = (self.task.epoch, self.task.attempt)
        later_runs = state.verdict is Verdict.RUNNING and mine < (state.epoch, state.attempt) and not self.running
        return state.verdict.is_final or later_runs

    def is_given_up_for(self, evaluation_id: str, task: Task) -> bool:
        """Whether it is an earlier attempt of the same module that has not begun to run: the owner gave it up."""
        mine = self.task
        return (
            self.module_key == (evaluation_id, task.project, task.module)
            and (mine.epoch, mine.attempt) < (task.epoch, task.attempt)
            and not self.running
        )


@dataclass(frozen=True, slots=True)
class Ready(Generic[P]):
    """An attempt whose project is prepared."""

    attempt: Attempt
    prepared: P

    @property
    def alone(self) -> bool:
        return self.attempt.task.alone

    @property
    def is_wanted(self) -> bool:
        return not self.attempt.cancellation.is_set
