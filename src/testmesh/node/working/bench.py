"""The worker's bench: the room `testing`, with the archives fetched from the mesh."""

from collections.abc import Callable, Iterable
from pathlib import Path

from testmesh.errors import InfrastructureError
from testmesh.model import Evaluation, ModulePlan, ModuleResult, Project, Source
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.single_flight import SingleFlight
from testmesh.testing.workshop import PreparedProject, Workshop


class MeshBench:
    """Safe from any thread. An archive is fetched once, however many projects of it are prepared at the same time."""

    def __init__(self, workshop: Workshop, ensure_archive: Callable[[str, Iterable[str]], Path]) -> None:
        self._workshop = workshop
        self._ensure_archive = ensure_archive
        self._flights: SingleFlight[Path] = SingleFlight()

    def prepare(
        self, evaluation: Evaluation, source: Source, project: Project, cancellation: Cancellation
    ) -> PreparedProject:
        if source.archive is None:
            raise InfrastructureError(f"The sources of {project.name} are not stored yet.")
        archive = self._fetch(source.archive, evaluation)
        tests = self._fetch(evaluation.tests_archive, evaluation) if evaluation.tests_archive else None
        return self._workshop.prepare(evaluation.id, archive, tests, project, evaluation.options, cancellation)

    def run(
        self, prepared: PreparedProject, module: ModulePlan, cancellation: Cancellation, begun: Callable[[], None]
    ) -> ModuleResult:
        return self._workshop.run(prepared, module, cancellation, begun)

    def environment_failed(self, module: ModulePlan, detail: str) -> ModuleResult:
        return self._workshop.environment_failed(module, detail)

    def forget(self, evaluation_id: str) -> None:
        self._workshop.forget(evaluation_id)

    def _fetch(self, digest: str, evaluation: Evaluation) -> Path:
        holders = (*evaluation.holders, evaluation.owner)
        return self._flights.run(digest, lambda: self._ensure_archive(digest, holders))
