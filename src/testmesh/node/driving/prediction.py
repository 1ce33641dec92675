"""PURE: how long a module will most likely take, as whoever places it wants to know."""

from dataclasses import dataclass
from typing import Protocol

from testmesh.model import ModulePlan

DEFAULT_SECONDS = 1.0  # of a module that nothing is known of, besides its tests
SECONDS_PER_TEST = 0.2


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds of wall and of processor time. `known`: an earlier run of the same file tells it, not the file alone."""

    wall: float
    cpu: float
    known: bool


class Predictor(Protocol):
    def predict(self, plan: ModulePlan) -> Prediction:
        """Called for every module of an evaluation at once, on the coordinator's thread: quick, and it never raises."""
        ...


class FromFile:
    """Without any history: what the file tells, else a guess from the number of its tests."""

    def predict(self, plan: ModulePlan) -> Prediction:
        seconds = plan.estimate_s or DEFAULT_SECONDS + SECONDS_PER_TEST * plan.tests_found
        return Prediction(wall=seconds, cpu=min(seconds, DEFAULT_SECONDS), known=False)
