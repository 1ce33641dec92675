"""What a node does for people: `NodeService`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from testmesh.errors import ConflictError, DiskFullError, DrainingError
from testmesh.model import Options
from testmesh.node.condition import Condition
from testmesh.node.feed import Feed
from testmesh.node.intake import Intake
from testmesh.node.messaging.messages import Load
from testmesh.node.observing.overview import Overview
from testmesh.node.reads import Reads
from testmesh.node.service import (
    EvaluationSummary,
    EvaluationView,
    EventStream,
    ModuleTests,
    NodeTotals,
    NodeVitals,
    Totals,
)
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.settings import Settings


class PublicSide:
    """Safe from any thread. `live` gives the other live nodes, `isolation` what /health says of the box."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        condition: Condition,
        intake: Intake,
        reads: Reads,
        feed: Feed,
        overview: Overview,
        live: Callable[[], tuple[str, ...]],
        load: Callable[[], Load],
        isolation: Mapping[str, Any],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._condition = condition
        self._intake = intake
        self._reads = reads
        self._feed = feed
        self._overview = overview
        self._live = live
        self._load = load
        self._isolation = isolation

    @property
    def address(self) -> str:
        return self._settings.advertise

    @property
    def incoming(self) -> Path:
        return self._settings.data_dir / "incoming"

    def check_admission(self) -> None:
        if self._condition.is_draining:
            raise DrainingError("This node is leaving the mesh; send the submission to another node.")
        if self._condition.disk_is_full():
            raise DiskFullError("This node's disk is full; try another node or free some room.")
        self._intake.check_queue()

    def submit_upload(
        self, upload: Path, name: str, tests: Path | None, options: Options, key: str | None, body_digest: str
    ) -> str:
        return self._intake.receive_upload(upload, name, tests, options, key, body_digest)

    def submit_repositories(
        self, urls: Sequence[str], token: str | None, options: Options, key: str | None, body_digest: str
    ) -> str:
        return self._intake.receive_repositories(urls, token, options, key, body_digest)

    def evaluation(self, evaluation_id: str) -> EvaluationView:
        return self._reads.view(evaluation_id)

    def evaluations(self, limit: int, after: str | None) -> list[EvaluationSummary]:
        return self._reads.summaries(limit, after)

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> Iterable[ModuleTests]:
        return self._reads.tests(evaluation_id, project, module)

    def tests_by_module(self, evaluation_id: str) -> Iterable[ModuleTests]:
        return self._reads.tests_by_module(evaluation_id)

    def watch(self, evaluation_id: str, last_event_id: str | None) -> EventStream | None:
        return self._feed.watch(evaluation_id, last_event_id)

    def cancel(self, evaluation_id: str) -> None:
        evaluation = self._reads.known(evaluation_id)
        if evaluation.cancelled or evaluation.finished_at is not None:
            raise ConflictError(f"Evaluation {evaluation_id} has ended already; its results stay.")
        self._ledger.merge(Changes((replace(evaluation, cancelled=True),)), publish=True)

    def rerun(self, evaluation_id: str, project: str | None, key: str | None) -> str:
        self.check_admission()
        return self._intake.receive_again(self._reads.known(evaluation_id), project, key)

    def totals(self) -> tuple[Totals, tuple[NodeTotals, ...]]:
        return self._reads.totals()

    def network(self) -> dict[str, list[str]]:
        return self._reads.network()

    def peers(self) -> list[str]:
        return list(self._live())

    def nodes(self, *, history: bool) -> tuple[NodeVitals, ...]:
        return self._overview.roll_call.nodes(history=history)

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return self._overview.metrics.render(accept)

    def health(self) -> tuple[bool, dict[str, Any]]:
        status = self._condition.status
        load = self._load()
        said = {"slots": load.slots, "running": load.running, "waiting": load.waiting}
        return status == "ok", {"status": status, "address": self.address, **self._isolation, **said}
