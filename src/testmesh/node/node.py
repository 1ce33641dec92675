"""One node, put together and brought to life."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from testmesh.clock import Clock
from testmesh.errors import (
    TestmeshError,
)
from testmesh.load_balance.policy import Policy
from testmesh.logs import about
from testmesh.node.callbacks.callbacks import Callbacks, Courier
from testmesh.node.condition import Condition
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.cleaner import Cleaner
from testmesh.node.copying.holding import Holding
from testmesh.node.copying.replicator import Replicator
from testmesh.node.detector import Detector
from testmesh.node.document import document
from testmesh.node.driving.coordinator import Coordinator
from testmesh.node.driving.history import History
from testmesh.node.driving.outlook import Outlook
from testmesh.node.driving.schedule import Schedule
from testmesh.node.feed import Feed
from testmesh.node.intake import Intake
from testmesh.node.membership.known_peers import KnownPeers, Reunion
from testmesh.node.membership.membership import Member, Membership, MembershipConfig
from testmesh.node.membership.membership_events import Health
from testmesh.node.membership.mesh_node import MeshNode
from testmesh.node.membership.mesh_time import MeshTime
from testmesh.node.mesh_workers import MeshWorkers
from testmesh.node.messaging.messages import (
    AttemptReports,
    PingReply,
)
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.observing.metered_bench import MeteredBench
from testmesh.node.observing.metrics import Metrics
from testmesh.node.observing.overview import Overview
from testmesh.node.peer_side import PeerSide
from testmesh.node.public_side import PublicSide
from testmesh.node.reads import Reads
from testmesh.node.sources import SourceResolver
from testmesh.node.storage.evaluations_file import EvaluationsFile
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.retention import Retention
from testmesh.node.storage.store import ResultStore
from testmesh.node.working.pressure import Sensor
from testmesh.node.working.worker import Bench, Worker
from testmesh.settings import Settings
from testmesh.testing.github import RepositoryFetcher
from testmesh.testing.start_gate import StartGates

log = logging.getLogger(__name__)
_JOIN_PATIENCE_S = 3.0
_CLAIM_WITHIN_S = 10.0  # of the first comparing: what is unfinished does not wait for a long history
_DRAIN_GRACE_S = 20.0
_LAST_COPIES_S = 2.0
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
    courier: Courier
    metrics: Metrics
    isolation: dict[str, Any]  # what /health says of the box: sandbox, loopback, cause
    sensor: Sensor | None = None  # of processors and memory; None: nothing is measured
    gates: StartGates | None = None  # None: this node need not mind others of its machine
    data_lock: IO[bytes] | None = None  # open as long as the node lives
    closers: tuple[Callable[[], None], ...] = ()  # called at the stop, before the threads are waited for
    last_closers: tuple[Callable[[], None], ...] = ()  # called once no module runs any more


EnsureArchive = Callable[[str, Iterable[str]], Path]  # digest, likely holders


class Node(Generic[P]):
    """`public` is what it does for people, `peer_side` what it does for other nodes."""

    def __init__(
        self, parts: Parts, make_bench: Callable[[EnsureArchive], Bench[P]], config: MembershipConfig | None = None
    ) -> None:
        settings = parts.settings
        self._parts = parts
        self._settings = settings
        self._ledger = Ledger(parts.store, settings.advertise)
        self._condition = Condition(settings.data_dir)
        self._time = MeshTime(parts.clock)
        self._known_peers = KnownPeers(settings.data_dir / "peers.json", settings.advertise)
        me = Member(settings.advertise, secrets.token_hex(8))
        membership = Membership(me, settings.bootstrap if settings.secret else (), config or MembershipConfig())
        self._mesh = MeshNode(
            membership,
            parts.peers,
            parts.clock,
            self._member_changed,
            self._ping_answered,
            lambda: self._overview.signs.tick(),  # noqa: PLW0108 - it is not made yet
        )
        self._reunion = Reunion(self._known_peers.addresses, self._mesh.live, self._mesh.join_through)
        self._replicator = Replicator(settings.advertise, self._ledger, parts.peers)
        self._holding = Holding(
            settings,
            self._ledger,
            parts.archives,
            parts.peers,
            parts.clock,
            self._mesh.live,
            self._condition.disk_is_full,
        )
        detector = Detector()
        self._intake = Intake(
            settings,
            self._ledger,
            parts.archives,
            self._holding,
            detector,
            parts.peers,
            parts.clock,
            parts.seal_key,
            self._mesh.live,
            lambda evaluation_id: self._coordinator.received(evaluation_id),  # noqa: PLW0108 - it is not made yet
        )
        self._sources = SourceResolver(
            settings,
            self._ledger,
            parts.archives,
            self._holding.durable,
            parts.fetcher,
            detector,
            parts.seal_key,
            self._mesh.live,
        )
        self._bench = MeteredBench(make_bench(self._holding.fetcher.ensure), parts.metrics)
        self._worker = Worker(
            settings.advertise,
            parts.slots,
            self._bench,
            self._ledger,
            self._send_report,
            self._condition.disk_is_full,
            parts.sensor,
            parts.gates,
            parts.clock,
        )
        predictor = History(parts.store)
        self._outlook = Outlook(self._ledger, predictor, self._worker.load, parts.clock)
        self._reads = Reads(
            settings.advertise,
            self._ledger,
            parts.peers,
            self._mesh.live,
            self._intake.find,
            self._outlook.seconds_left,
        )
        self.feed = Feed(self._ledger, self._reads.view, self._reads.view_of, parts.clock)
        workers = MeshWorkers(settings.advertise, self._worker, parts.peers, self._condition)
        self._coordinator = Coordinator(
            settings.advertise,
            self._ledger,
            workers,
            Schedule(parts.policy, predictor),
            parts.clock,
            self._mesh.live,
            self._sources.resolve,
        )
        self._overview = Overview(
            settings,
            self._ledger,
            self._condition,
            workers.own_load,
            parts.sensor,
            parts.isolation,
            parts.clock,
            parts.peers,
            self._mesh.members,
            self._holding.copies,
            parts.metrics,
            lambda: self.feed.readers,
        )
        self._cleaner = Cleaner(settings.advertise, self._ledger, parts.archives, self._bench.forget)
        self._retention = Retention(self._ledger, settings.keep_evaluations, settings.keep_days, self._today)
        self._callbacks = Callbacks(settings.advertise, self._ledger, self._mesh.live, parts.clock, parts.courier)
        self._file = EvaluationsFile(settings.evaluations_file, self._ledger, self._documents)
        self.public = PublicSide(
            settings,
            self._ledger,
            self._condition,
            self._intake,
            self._reads,
            self.feed,
            self._overview,
            self._mesh.live,
            self._worker.load,
            parts.isolation,
        )
        self.peer_side = PeerSide(
            self._ledger,
            parts.archives,
            self._mesh,
            self._worker,
            workers,
            self._coordinator,
            self._holding.taker,
            self._overview.signs,
            str(parts.isolation["sandbox"]),
            parts.clock,
        )

    # Life ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._coordinator.start()
        self._mesh.start()
        if self._settings.secret:
            self._reunion.start()
            self._holding.copies.start()
        threading.Thread(target=self._settle_in, name="settle-in", daemon=True).start()

    def _settle_in(self) -> None:
        """Hear what happened meanwhile before going on with what was unfinished: another may have taken it over."""
        try:
            if self._settings.secret:
                self._catch_up()
        finally:
            self._coordinator.claim_open()
            self._callbacks.start()

    def _catch_up(self) -> None:
        known = self._known_peers.addresses()
        self._mesh.join_through(known)
        if known or self._settings.bootstrap:
            self._mesh.wait_joined(_JOIN_PATIENCE_S)
        patience = threading.Timer(_CLAIM_WITHIN_S, self._coordinator.claim_open)
        patience.daemon = True
        patience.start()
        try:
            for address in self._mesh.live():
                try:
                    self._replicator.compare(address)
                except TestmeshError as error:
                    log.info("could not compare records with %s: %s", address, error, extra=about(node=address))
                else:
                    return
        finally:
            patience.cancel()

    def drain(self, timeout_s: float = _DRAIN_GRACE_S) -> None:
        """Take no new work, pass on what waits and is owned, let what runs here end within `timeout_s`, and leave."""
        if self._condition.is_draining:
            return
        self._condition.is_draining = True
        log.info("draining: no new work is taken")
        clock = self._parts.clock
        deadline = clock.monotonic() + timeout_s
        self._worker.drain()
        if self._mesh.live():
            self._coordinator.drain()
            quiet = self._worker.wait_quiet(max(0.0, deadline - clock.monotonic()))
            passed_on = self._coordinator.wait_idle(max(0.1, deadline - clock.monotonic()))
            if not (quiet and passed_on):
                log.warning("leaving with work under way after %.0f s; the others begin it again", timeout_s)
            self._callbacks.stop()
            left = self._holding.copies.hand_over(max(deadline, clock.monotonic() + _LAST_COPIES_S))
            if left:
                log.warning("leaving as the last holder of %d evaluations' files: %s", len(left), ", ".join(left))
        self._mesh.leave()

    def stop(self) -> None:
        parts = self._parts
        rooms = (
            self.feed,
            self._callbacks,
            self._overview,
            self._reunion,
            self._known_peers,
            self._intake,
            self._sources,
            self._holding,
            self._reads,
            self._replicator,
            self._retention,
            self._cleaner,
            self._file,
        )
        first = (*parts.closers, self._mesh.stop, self._coordinator.stop, self._worker.stop, *parts.last_closers)
        for end in (*first, *(room.stop for room in rooms), parts.store.close):
            end()
        if self._parts.data_lock is not None:
            self._parts.data_lock.close()

    # Inside ----------------------------------------------------------------------------------

    def _send_report(self, owner: str, reports: AttemptReports) -> None:
        if owner == self._settings.advertise:
            self._coordinator.reported(reports)
        else:
            self._parts.peers.report(owner, reports)

    def _member_changed(self, before: Member | None, after: Member) -> None:
        self._overview.roll_call.changed(after)
        if before is None or (before.boot, before.health.is_live) != (after.boot, after.health.is_live):
            self._holding.copies.member_changed(after.address)
        if after.health.is_live:
            self._replicator.peer_joined(after.address)
            if before is None or not before.health.is_live or before.boot != after.boot:
                self._replicator.compare_soon(after.address)
                self._known_peers.add(after.address)
                self._coordinator.node_joined(after.address)
            if before is not None and before.boot != after.boot:
                self._coordinator.node_lost(after.address, blame=True)  # another process: what ran there is gone
        else:
            self._time.forget(after.address)
            self._outlook.node_gone(after.address)
            self._replicator.peer_gone(after.address)
            self._coordinator.node_lost(after.address, blame=after.health is Health.DEAD)
            self._callbacks.members_changed()

    def _ping_answered(self, address: str, reply: PingReply) -> None:
        self._time.heard(address, reply.wall)
        self._overview.roll_call.pinged(address, reply)
        self._outlook.load_seen(address, reply.load)
        self._coordinator.load_seen(address, reply.load)
        self._replicator.digest_seen(address, reply.digest)

    def _today(self) -> float | None:
        """Not known by who has peers and did not hear from one: its own clock may be the wrong one."""
        has_peers = bool(self._settings.secret and (self._settings.bootstrap or self._known_peers.addresses()))
        return None if has_peers and not self._time.has_peers() else self._time.now()

    def _documents(self) -> list[dict[str, Any]]:
        now = self._parts.clock.wall()
        return [document(view, now) for view in self._reads.newest_views(_SHOWN_IN_FILE)]
