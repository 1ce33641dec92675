"""All by which a node holds archives, and sees that others do, put together."""

from collections.abc import Callable

from testmesh.clock import Clock
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.claims import Claims
from testmesh.node.copying.copier import Copier
from testmesh.node.copying.durable import DurableCopies
from testmesh.node.copying.fetching import ArchiveFetcher
from testmesh.node.copying.taking import CopyTaker
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.ledger import Ledger
from testmesh.settings import Settings


class Holding:
    """`live` gives the other live nodes; `is_full` whether this node's disk has no room for more."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        archives: ArchiveStore,
        peers: PeerClient,
        clock: Clock,
        live: Callable[[], tuple[str, ...]],
        is_full: Callable[[], bool],
    ) -> None:
        address = settings.advertise
        self.claims = Claims()
        self.fetcher = ArchiveFetcher(archives, peers, live)
        self.durable = DurableCopies(address, peers, clock)
        self.taker = CopyTaker(address, ledger, archives, self.fetcher, self.claims, is_full)
        self.copies = Copier(
            address, ledger, self.fetcher, self.durable, peers, clock, live, self.taker.held, settings.replicas
        )

    def stop(self) -> None:
        self.durable.stop()
        self.fetcher.stop()
        self.copies.stop()
