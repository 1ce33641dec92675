"""A bench whose results are counted."""

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Generic, TypeVar

from testmesh.model import Evaluation, ModulePlan, ModuleResult, Project, Source
from testmesh.node.observing.metrics import Metrics
from testmesh.node.working.worker import Bench
from testmesh.testing.cancellation import Cancellation

P = TypeVar("P")


class MeteredBench(Generic[P]):
    """Like the bench inside. What was cancelled is not counted: nobody asked for it any more."""

    def __init__(self, inside: Bench[P], metrics: Metrics) -> None:
        self._inside = inside
        self._metrics = metrics

    def prepare(self, evaluation: Evaluation, source: Source, project: Project, cancellation: Cancellation) -> P:
        return self._inside.prepare(evaluation, source, project, cancellation)

    def run(
        self, prepared: P, module: ModulePlan, cancellation: Cancellation, begun: Callable[[], None]
    ) -> ModuleResult:
        try:
            result = self._inside.run(prepared, module, cancellation, begun)
        except CancelledError:
            raise
        except Exception:
            self._metrics.module_failed()
            raise
        if not cancellation.is_set:
            self._metrics.module_ended(result)
        return result

    def environment_failed(self, module: ModulePlan, detail: str) -> ModuleResult:
        result = self._inside.environment_failed(module, detail)
        self._metrics.module_ended(result)
        return result

    def forget(self, evaluation_id: str) -> None:
        self._inside.forget(evaluation_id)
