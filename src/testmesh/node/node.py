"""One node, put together and brought to life: what `app` asks of it, for people and for other nodes."""

import logging
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from testmesh.clock import Clock
from testmesh.errors import (
    ConflictError,
    DiskFullError,
    DrainingError,
    NotFoundError,
    TestmeshError,
)
from testmesh.load_balance.policy import Policy
from testmesh.model import Options
from testmesh.node.archives import ArchiveStore
from testmesh.node.cleaner import Cleaner
from testmesh.node.coordinator import Coordinator
from testmesh.node.document import document
from testmesh.node.evaluations_file import EvaluationsFile
from testmesh.node.intake import Intake
from testmesh.node.known_peers import KnownPeers
from testmesh.node.ledger import Ledger
from testmesh.node.membership import Member, Membership, MembershipConfig
from testmesh.node.membership_events import Health
from testmesh.node.mesh_node import MeshNode
from testmesh.node.messages import AttemptReports, Held, IndirectReply, Load, Page, PingReply, Replicate, WorkOrder
from testmesh.node.pages import page_of
from testmesh.node.peers import PeerClient
from testmesh.node.reads import Reads
from testmesh.node.replica import Changes
from testmesh.node.replicator import Replicator
from testmesh.node.schedule import Schedule
from testmesh.node.service import EvaluationSummary, EvaluationView, ModuleTests, NodeTotals, Totals
from testmesh.node.sources import SourceResolver
from testmesh.node.store import ResultStore
from testmesh.node.worker import Bench, Worker
from testmesh.settings import MIB, Settings
from testmesh.testing.github import RepositoryFetcher

log = logging.getLogger(__name__)
_MIN_FREE_DISK = 64 * MIB
_JOIN_PATIENCE_S = 3.0
_DRAIN_GRACE_S = 20.0
_SHOWN_IN_FILE = 100
P = TypeVar("P")


@dataclass(frozen=True)
class Parts:
    """What a node is made of and a test may replace. `bench` is the room `testing`, built for this node."""

    settings: Settings
    store: ResultStore
    archives: ArchiveStore
    peers: PeerClient
    policy: Policy
    fetcher: RepositoryFetcher
    clock: Clock
    seal_key: str
    slots: int
    isolation: dict[str, Any]  # what /health says of the box: sandbox, loopback, cause
    data_lock: IO[bytes] | None = None  # open as long as the node lives
    closers: tuple[Callable[[], None], ...] = ()  # called at the stop, before the threads are waited for
    last_closers: tuple[Callable[[], None], ...] = ()  # called once no module runs any more


EnsureArchive = Callable[[str, Iterable[str]], Path]  # digest, likely holders


class Node(Generic[P]):
    """`NodeService`, and what the signed paths ask. Safe from any thread."""

    def __init__(
        self, parts: Parts, make_bench: Callable[[EnsureArchive], Bench[P]], config: MembershipConfig | None = None
    ) -> None:
        settings = parts.settings
        self._parts = parts
        self._settings = settings
        self._ledger = Ledger(parts.store)
        self._draining = False
        self._stopped = threading.Event()
        self._known_peers = KnownPeers(settings.data_dir / "peers.json", settings.advertise)
        me = Member(settings.advertise, secrets.token_hex(8))
        membership = Membership(me, settings.bootstrap if settings.secret else (), config or MembershipConfig())
        self._mesh = MeshNode(membership, parts.peers, parts.clock, self._member_changed, self._ping_answered)
        self._replicator = Replicator(settings.advertise, self._ledger, parts.peers)
        self._intake = Intake(
            settings,
            self._ledger,
            parts.archives,
            self._replicator,
            parts.peers,
            parts.clock,
            parts.seal_key,
            self._mesh.live,
            self._received,
        )
        self._sources = SourceResolver(
            settings,
            self._ledger,
            parts.archives,
            self._replicator,
            parts.fetcher,
            parts.seal_key,
            self._mesh.live,
        )
        self._reads = Reads(settings.advertise, self._ledger, parts.peers, self._mesh.live, self._intake.find)
        self._bench = make_bench(self._intake.ensure_archive)
        self._worker = Worker(settings.advertise, parts.slots, self._bench, self._ledger, self._send_report)
        self._coordinator = Coordinator(
            settings.advertise,
            self._ledger,
            self,
            Schedule(parts.policy),
            parts.clock,
            self._mesh.live,
            self._sources.resolve,
        )
        self._cleaner = Cleaner(settings.advertise, self._ledger, parts.archives, self._bench.forget)
        self._file = EvaluationsFile(settings.evaluations_file, self._ledger, self._documents)

    # Life ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._coordinator.start()
        self._mesh.start()
        threading.Thread(target=self._settle_in, name="settle-in", daemon=True).start()

    def _settle_in(self) -> None:
        """Hear what happened meanwhile before going on with what was unfinished: another may have taken it over."""
        try:
            if self._settings.secret:
                self._catch_up()
        finally:
            self._coordinator.claim_open()

    def _catch_up(self) -> None:
        known = self._known_peers.addresses()
        self._mesh.join_through(known)
        if known or self._settings.bootstrap:
            self._mesh.wait_joined(_JOIN_PATIENCE_S)
        for address in self._mesh.live():
            try:
                self._replicator.compare(address)
            except TestmeshError as error:
                log.info("could not compare records with %s: %s", address, error)
            else:
                return

    def drain(self, timeout_s: float = _DRAIN_GRACE_S) -> None:
        """Take no new work, let what runs here end within `timeout_s`, and leave: the others go on with the rest."""
        if self._draining:
            return
        self._draining = True
        log.info("draining: no new work is taken")
        self._worker.drain()
        deadline = self._parts.clock.monotonic() + timeout_s
        while self._worker.held().tasks and self._mesh.live() and self._parts.clock.monotonic() < deadline:
            if self._stopped.wait(0.1):
                return
        self._mesh.leave()

    def stop(self) -> None:
        self._stopped.set()
        parts = self._parts
        rooms = (self._intake, self._sources, self._reads, self._replicator, self._cleaner, self._file)
        first = (*parts.closers, self._mesh.stop, self._coordinator.stop, self._worker.stop, *parts.last_closers)
        for end in (*first, *(room.stop for room in rooms), parts.store.close):
            end()
        if self._parts.data_lock is not None:
            self._parts.data_lock.close()

    # NodeService -----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        return self._settings.advertise

    @property
    def incoming(self) -> Path:
        return self._settings.data_dir / "incoming"

    def check_admission(self) -> None:
        if self._draining:
            raise DrainingError("This node is leaving the mesh; send the submission to another node.")
        if self._disk_is_full():
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
        return list(self._mesh.live())

    def health(self) -> tuple[bool, dict[str, Any]]:
        full = self._disk_is_full()
        status = "draining" if self._draining else "disk full" if full else "ok"
        load = self._worker.load()
        said = {"slots": load.slots, "running": load.running, "waiting": load.waiting}
        return status == "ok", {"status": status, "address": self.address, **self._parts.isolation, **said}

    # What other nodes ask --------------------------------------------------------------------

    def join(self, members: tuple[Member, ...]) -> tuple[Member, ...]:
        return self._mesh.joining(members)

    def introduced(self, updates: tuple[Member, ...]) -> None:
        self._mesh.heard(updates)

    def pinged(self, updates: tuple[Member, ...]) -> PingReply:
        sender = updates[0].address if updates else None
        heard, sandbox = self._mesh.heard(updates, sender), str(self._parts.isolation["sandbox"])
        return PingReply(heard, self._worker.load(), self._parts.store.digest(), sandbox)

    def ping_for(self, target: str, timeout: float) -> IndirectReply:
        return self._mesh.ping_for(target, timeout)

    def take_order(self, order: WorkOrder) -> None:
        """Raises DrainingError."""
        self._ledger.merge(Changes((order.evaluation,)), publish=False)
        self._worker.accept(order)

    def take_reports(self, reports: AttemptReports) -> None:
        """Raises ConflictError where another node drives one of their evaluations: the worker looks again who does."""
        for evaluation_id in {report.evaluation for report in reports.reports}:
            evaluation = self._parts.store.evaluation(evaluation_id)
            open_elsewhere = evaluation is not None and evaluation.finished_at is None
            if evaluation is None or (open_elsewhere and evaluation.owner != self.address):
                raise ConflictError(f"This node does not drive evaluation {evaluation_id}.")
        self._coordinator.reported(reports)

    def held_tasks(self) -> Held:
        return self._worker.held()

    def digests(self) -> dict[str, int]:
        return self._parts.store.digests()

    def records(self, evaluation_id: str, start: int) -> Page:
        """Raises NotFoundError."""
        return page_of(self._parts.store, evaluation_id, start)

    def store_copy(self, message: Replicate) -> None:
        """Fetch what is named, merge what came: both are on the disk when this returns."""
        if message.archives and self._disk_is_full():
            raise DiskFullError("This node's disk is full.")
        for digest in message.archives:
            self._parts.archives.fetch(digest, partial(self._parts.peers.archive, message.holder, digest))
        self._ledger.merge(message.changes, publish=False)

    def archive(self, digest: str) -> Path:
        """Raises NotFoundError."""
        path = self._parts.archives.path(digest)
        if path is None:
            raise NotFoundError("This node does not hold that archive.")
        return path

    def _received(self, evaluation_id: str) -> None:
        self._coordinator.received(evaluation_id)

    # Inside ----------------------------------------------------------------------------------

    def run(self, address: str, order: WorkOrder) -> None:
        """For the coordinator."""
        if address == self.address:
            self._worker.accept(order)
        else:
            self._parts.peers.run(address, order)

    def held(self, address: str) -> Held:
        return self._worker.held() if address == self.address else self._parts.peers.held(address)

    def own_load(self) -> Load:
        return self._worker.load()

    def _send_report(self, owner: str, reports: AttemptReports) -> None:
        if owner == self.address:
            self._coordinator.reported(reports)
        else:
            self._parts.peers.report(owner, reports)

    def _member_changed(self, before: Member | None, after: Member) -> None:
        if after.health.is_live:
            self._replicator.peer_joined(after.address)
            if before is None or not before.health.is_live or before.boot != after.boot:
                self._replicator.compare_soon(after.address)
                self._known_peers.add(after.address)
                self._coordinator.node_joined(after.address)
            if before is not None and before.boot != after.boot:
                self._coordinator.node_lost(after.address, blame=True)  # another process: what ran there is gone
        else:
            self._replicator.peer_gone(after.address)
            self._coordinator.node_lost(after.address, blame=after.health is Health.DEAD)

    def _ping_answered(self, address: str, reply: PingReply) -> None:
        self._coordinator.load_seen(address, reply.load)
        self._replicator.digest_seen(address, reply.digest)

    def _documents(self) -> list[dict[str, Any]]:
        now = self._parts.clock.wall()
        return [document(view, now) for view in self._reads.newest_views(_SHOWN_IN_FILE)]

    def _disk_is_full(self) -> bool:
        return shutil.disk_usage(self._settings.data_dir).free < _MIN_FREE_DISK
