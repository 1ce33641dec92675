"""How a node speaks to another, behind a protocol that tests implement without a network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from testmesh.node.membership.membership import Member
from testmesh.node.messaging.messages import (
    ArchivesAsked,
    ArchivesHeld,
    AttemptReports,
    FetchOrder,
    FetchProgress,
    Held,
    IndirectReply,
    PingReply,
    Replicate,
    Vitals,
    WorkOrder,
)
from testmesh.node.storage.replica import Changes


class PeerClient(Protocol):
    """Every call raises PeerError where there is no usable answer: PeerRefusedError where nothing listens,
    PeerConflictError for 409, PeerUnableError for 503 and 507."""

    def ping(self, address: str, updates: tuple[Member, ...], timeout: float) -> PingReply: ...

    def ping_through(self, helper: str, target: str, timeout: float) -> IndirectReply: ...

    def join(self, address: str, members: tuple[Member, ...]) -> tuple[Member, ...]: ...

    def introduce(self, address: str, updates: tuple[Member, ...]) -> None: ...

    def replicate(self, address: str, message: Replicate, timeout: float) -> None: ...

    def run(self, address: str, order: WorkOrder) -> None: ...

    def report(self, address: str, reports: AttemptReports) -> None: ...

    def held(self, address: str) -> Held: ...

    def digests(self, address: str) -> dict[str, int]: ...

    def records(self, address: str, evaluation_id: str, timeout: float) -> Iterator[Changes]:
        """What a peer knows of an evaluation, page by page, each asked for when the one before was taken."""
        ...

    def archive(self, address: str, digest: str, destination: Path) -> None:
        """Go on at the end of what the file has already. It fails when no byte came for ten seconds."""
        ...

    def fetch_archives(self, address: str, order: FetchOrder) -> FetchProgress: ...

    def held_archives(self, address: str, asked: ArchivesAsked) -> ArchivesHeld: ...

    def peers_of(self, address: str, timeout: float) -> tuple[str, ...]: ...

    def vitals(self, address: str, history: bool, timeout: float) -> Vitals: ...
