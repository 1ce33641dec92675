"""The owner's side of an evaluation: one thread that turns what happens into records and orders.

Everything that changes the schedule comes through one queue, so the schedule needs no lock, and a burst of reports is
one transaction and one round of placing.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from testmesh.clock import Clock
from testmesh.errors import TestmeshError
from testmesh.load_balance.policy import NodeLoad
from testmesh.model import Evaluation
from testmesh.node.ledger import Ledger
from testmesh.node.messages import AttemptReports, Held, Load, WorkOrder
from testmesh.node.ownership import successor
from testmesh.node.replica import Changes, ModuleRecord
from testmesh.node.schedule import Schedule

log = logging.getLogger(__name__)
_AUDIT_S = 5.0  # how often workers are asked whether they still have what they were given
_MAX_BATCH = 1000


@dataclass(frozen=True, slots=True)
class _Changed:
    evaluation_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Lost:
    node: str
    blame: bool  # the modules it ran may be why


@dataclass(frozen=True, slots=True)
class _Audited:
    node: str
    held: Held
    asked_at: float


@dataclass(frozen=True, slots=True)
class _Unplaced:
    node: str
    order: WorkOrder


@dataclass(frozen=True, slots=True)
class _Joined:
    node: str


@dataclass(frozen=True, slots=True)
class _LoadSeen:
    node: str
    load: Load


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


_Event = AttemptReports | _Changed | _Lost | _Audited | _Unplaced | _Joined | _LoadSeen | _Stop


class Workers(Protocol):
    """Where modules run: here, or on a peer. Both calls raise PeerError."""

    def run(self, address: str, order: WorkOrder) -> None: ...

    def held(self, address: str) -> Held: ...

    def own_load(self) -> Load:
        """This node's."""
        ...


class Coordinator:
    """`live` gives the addresses of the other live nodes; `resolve` begins to fetch an evaluation's open sources."""

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        workers: Workers,
        schedule: Schedule,
        clock: Clock,
        live: Callable[[], tuple[str, ...]],
        resolve: Callable[[Evaluation], None],
    ) -> None:
        self._address = address
        self._ledger = ledger
        self._workers = workers
        self._schedule = schedule
        self._clock = clock
        self._live = live
        self._resolve = resolve
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._loads: dict[str, Load] = {}
        self._resting: dict[str, float] = {}  # nodes that refused an order, until when
        self._received_at: dict[str, float] = {}  # monotonic, of what was submitted here
        self._next_audit = 0.0
        self._may_claim = False
        self._unsaved: list[ModuleRecord] = []  # where the disk is full they wait for the next round
        self._unseen: dict[str, None] = {}  # evaluations that changed and were not looked at yet
        self._senders = ThreadPoolExecutor(8, thread_name_prefix="orders")
        self._thread = threading.Thread(target=self._run, name="coordinator", daemon=True)
        ledger.subscribe(lambda changes, _: self._events.put(_Changed(changes.evaluation_ids())))

    # From other threads ----------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def received(self, evaluation_id: str) -> None:
        """A submission begins here: its duration is measured on this node's monotonic clock."""
        self._received_at[evaluation_id] = self._clock.monotonic()

    def claim_open(self) -> None:
        """From now on unfinished evaluations whose owner is gone, or was this node before a restart, are taken up."""
        self._may_claim = True
        self._events.put(_Changed(tuple(e.id for e in self._ledger.store.unfinished())))

    def reported(self, reports: AttemptReports) -> None:
        self._events.put(reports)

    def node_lost(self, address: str, *, blame: bool) -> None:
        """`blame`: it was not in good order, so what it ran may be the cause."""
        self._events.put(_Lost(address, blame))

    def node_joined(self, address: str) -> None:
        """Ask at once how busy it is: it gets work as soon as it has answered."""
        self._events.put(_Joined(address))

    def load_seen(self, address: str, load: Load) -> None:
        self._events.put(_LoadSeen(address, load))

    def stop(self) -> None:
        self._events.put(_Stop())
        if self._thread.is_alive():
            self._thread.join()
        self._senders.shutdown(wait=False, cancel_futures=True)

    # The thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            events = self._next_events()
            if any(isinstance(event, _Stop) for event in events):
                self._give_back()
                return
            try:
                self._handle(events)
            except Exception:
                log.exception("the coordinator could not handle %d events; it goes on with the next", len(events))

    def _give_back(self) -> None:
        """What runs here ends with this node, in good order: that must not count against the modules."""
        try:
            left = self._schedule.lost(self._address, blame=False)
            self._ledger.merge(Changes(modules=(*self._unsaved, *left)), publish=True)
        except TestmeshError as error:
            log.warning("the stop of %s could not be stored: %s", self._address, error)

    def _next_events(self) -> list[_Event]:
        try:
            events = [self._events.get(timeout=1.0)]
        except queue.Empty:
            return []
        while len(events) < _MAX_BATCH:
            try:
                events.append(self._events.get_nowait())
            except queue.Empty:
                break
        return events

    def _handle(self, events: list[_Event]) -> None:
        records, touched = self._unsaved, self._unseen  # with what an earlier round could not store
        for event in events:
            match event:
                case _Changed(evaluation_ids):
                    touched.update(dict.fromkeys(evaluation_ids))
                case AttemptReports(node, reports, load):
                    self._loads[node] = load
                    records += [record for report in reports for record in self._schedule.reported(report)]
                case _Lost(node, blame):
                    self._loads.pop(node, None)
                    records += self._schedule.lost(node, blame=blame)
                    touched.update(dict.fromkeys(e.id for e in self._ledger.store.unfinished()))
                case _Audited():
                    records += self._audited(event)
                case _Unplaced(node, order):
                    self._resting[node] = self._clock.monotonic() + 1.0
                    self._schedule.unplaced(order.evaluation.id, order.tasks)
                case _Joined(node):
                    self._senders.submit(self._ask, node, self._clock.monotonic())
                case _LoadSeen(node, load):
                    self._loads[node] = load
        for evaluation_id in tuple(touched):
            records += self._look_at(evaluation_id)
            del touched[evaluation_id]
        self._ledger.merge(Changes(modules=tuple(records)), publish=True)
        records.clear()
        self._finish()
        self._place()
        self._audit()

    def _look_at(self, evaluation_id: str) -> list[ModuleRecord]:
        """Take up, go on with, or let go of an evaluation that changed."""
        evaluation = self._ledger.store.evaluation(evaluation_id)
        if evaluation is None:
            return []
        if evaluation.finished_at is not None:
            self._schedule.drop(evaluation_id)
            return []
        driven = self._schedule.drives(evaluation_id)
        if evaluation.owner != self._address:
            self._schedule.drop(evaluation_id)
            if not self._may_claim or evaluation.owner in self._live():
                return []
            if successor(evaluation, (*self._live(), self._address)) != self._address:
                return []
            log.warning("taking over evaluation %s from %s, which is gone", evaluation_id, evaluation.owner)
            evaluation = self._claim(evaluation)
        elif not driven and evaluation_id not in self._received_at:
            if not self._may_claim:
                return []
            log.info("going on with evaluation %s after a restart", evaluation_id)
            evaluation = self._claim(evaluation)
        records = self._schedule.update(evaluation, self._ledger.store.states(evaluation_id))
        if not driven:
            present = {*self._live(), self._address}
            for node in set(self._schedule.placed_by_node()) - present:
                records += self._schedule.lost(node)
        self._resolve(evaluation)
        return records

    def _claim(self, evaluation: Evaluation) -> Evaluation:
        claimed = replace(evaluation, owner=self._address, epoch=evaluation.epoch + 1)
        self._received_at[evaluation.id] = self._clock.monotonic() - max(
            0.0, self._clock.wall() - evaluation.submitted_at
        )
        self._ledger.merge(Changes((claimed,)), publish=True)
        return claimed

    def _finish(self) -> None:
        for evaluation in self._schedule.evaluations():
            if self._schedule.is_complete(evaluation.id):
                took = self._clock.monotonic() - self._received_at.get(evaluation.id, self._clock.monotonic())
                ended = replace(evaluation, finished_at=self._clock.wall(), eval_time=round(took, 3))
                self._ledger.merge(Changes((ended,)), publish=True)
                self._schedule.drop(evaluation.id)
                self._received_at.pop(evaluation.id, None)
                log.info("evaluation %s ended after %.2f s", evaluation.id, took)

    def _place(self) -> None:
        now = self._clock.monotonic()
        self._loads[self._address] = self._workers.own_load()
        nodes = [
            NodeLoad(address, load.slots, load.running + load.waiting)
            for address in (self._address, *self._live())
            if (load := self._loads.get(address)) is not None and self._resting.get(address, 0.0) <= now
        ]
        for address, order in self._schedule.place(nodes, now) if nodes else []:
            self._senders.submit(self._send, address, order)

    def _send(self, address: str, order: WorkOrder) -> None:
        try:
            self._workers.run(address, order)
        except TestmeshError as error:
            log.warning("%s did not take %d modules: %s", address, len(order.tasks), error)
            self._events.put(_Unplaced(address, order))

    def _audit(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_audit:
            return
        self._next_audit = now + _AUDIT_S
        for node in set(self._schedule.placed_by_node()) - {*self._live(), self._address}:
            self._events.put(_Lost(node, blame=True))  # its death came between placing and now
        for node in self._schedule.placed_before(now - _AUDIT_S):
            self._senders.submit(self._ask, node, now)

    def _ask(self, node: str, asked_at: float) -> None:
        try:
            self._events.put(_Audited(node, self._workers.held(node), asked_at))
        except TestmeshError as error:
            log.info("could not ask %s what it runs: %s", node, error)

    def _audited(self, event: _Audited) -> list[ModuleRecord]:
        """What a worker was given well before it was asked, and no longer has, is lost: it restarted meanwhile."""
        self._loads[event.node] = event.held.load
        missing = self._schedule.placed_before(event.asked_at - _AUDIT_S).get(event.node, set()) - set(event.held.tasks)
        if missing:
            log.warning("%s no longer has %d modules it was given", event.node, len(missing))
        return self._schedule.lost(event.node, missing) if missing else []
