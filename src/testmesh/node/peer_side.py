"""What a node does for the others: `PeerService`."""

from pathlib import Path
from typing import Any

from testmesh.clock import Clock
from testmesh.errors import ConflictError, NotFoundError
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.taking import CopyTaker
from testmesh.node.driving.coordinator import Coordinator
from testmesh.node.membership.membership_events import Member
from testmesh.node.membership.mesh_node import MeshNode
from testmesh.node.mesh_workers import MeshWorkers
from testmesh.node.messaging.messages import (
    ArchivesAsked,
    ArchivesHeld,
    AttemptReports,
    FetchOrder,
    FetchProgress,
    Held,
    IndirectReply,
    Page,
    PingReply,
    Replicate,
    Vitals,
    WorkOrder,
)
from testmesh.node.messaging.pages import page_of
from testmesh.node.observing.vital_signs import VitalSigns
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.working.worker import Worker


class PeerSide:
    """Safe from any thread. `sandbox`: this node's level."""

    def __init__(
        self,
        ledger: Ledger,
        archives: ArchiveStore,
        mesh: MeshNode,
        worker: Worker[Any],
        workers: MeshWorkers,
        coordinator: Coordinator,
        taker: CopyTaker,
        signs: VitalSigns,
        sandbox: str,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._archives = archives
        self._mesh = mesh
        self._worker = worker
        self._workers = workers
        self._coordinator = coordinator
        self._taker = taker
        self._signs = signs
        self._sandbox = sandbox

    def join(self, members: tuple[Member, ...]) -> tuple[Member, ...]:
        return self._mesh.joining(members)

    def introduced(self, updates: tuple[Member, ...]) -> None:
        self._mesh.heard(updates)

    def pinged(self, updates: tuple[Member, ...]) -> PingReply:
        sender = updates[0].address if updates else None
        heard, wall = self._mesh.heard(updates, sender), self._clock.wall()
        return PingReply(heard, self._workers.own_load(), self._ledger.store.digest(), self._sandbox, wall)

    def peers(self) -> list[str]:
        return list(self._mesh.live())

    def vitals(self, *, history: bool) -> Vitals:
        return self._signs.read(history=history)

    def ping_for(self, target: str, timeout: float) -> IndirectReply:
        return self._mesh.ping_for(target, timeout)

    def take_order(self, order: WorkOrder) -> None:
        """Raises DrainingError; ConflictError where only a part of a record came that is not here."""
        if order.whole:
            self._ledger.merge(Changes((order.evaluation,)), publish=False)
        elif self._ledger.store.evaluation(order.evaluation.id) is None:
            raise ConflictError("This node does not know the evaluation; send the order with its whole record.")
        self._worker.accept(order)

    def take_reports(self, reports: AttemptReports) -> None:
        """Raises ConflictError where another node drives one of their evaluations: the worker looks again who does.

        DiskFullError, InfrastructureError.
        """
        self._coordinator.reported(reports)

    def held_tasks(self) -> Held:
        return self._workers.own_held()

    def digests(self) -> dict[str, int]:
        return self._ledger.store.digests()

    def records(self, evaluation_id: str, start: int) -> Page:
        """Raises NotFoundError."""
        return page_of(self._ledger.store, evaluation_id, start)

    def store_copy(self, message: Replicate) -> None:
        """Raises ConflictError, DiskFullError, InfrastructureError."""
        self._taker.take(message)

    def fetch_archives(self, order: FetchOrder) -> FetchProgress:
        """Raises DiskFullError, InfrastructureError."""
        return self._taker.fetch(order)

    def held_archives(self, asked: ArchivesAsked) -> ArchivesHeld:
        return self._taker.held(asked)

    def archive(self, digest: str) -> Path:
        """Raises NotFoundError."""
        path = self._archives.path(digest)
        if path is None:
            raise NotFoundError("This node does not hold that archive.")
        return path
