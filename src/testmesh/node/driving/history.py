"""Predictions from earlier runs: the store knows them, on every node the same few moments after a result."""

from typing import Protocol

from testmesh.model import ModulePlan
from testmesh.node.driving.prediction import FromFile, Prediction, Predictor
from testmesh.node.storage.timings import Timing


class Remembers(Protocol):
    def timing(self, content: str) -> Timing | None: ...


class History:
    """`Predictor`, safe from any thread. What never ran is left to `otherwise`."""

    def __init__(self, store: Remembers, otherwise: Predictor | None = None) -> None:
        self._store = store
        self._otherwise = otherwise or FromFile()

    def predict(self, plan: ModulePlan) -> Prediction:
        timing = self._store.timing(plan.content) if plan.content else None
        if timing is None:
            return self._otherwise.predict(plan)
        return Prediction(timing.wall, timing.cpu, known=True)
