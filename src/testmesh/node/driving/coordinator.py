"""The driver's thread: one queue of what happens, so that the driver needs no lock, and senders for what it wants done.

A burst of reports is one transaction and one round of placing.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from testmesh.clock import Clock
from testmesh.errors import ConflictError, InfrastructureError, TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation
from testmesh.node.driving.driver import Driver
from testmesh.node.driving.driver_events import (
    AskHeld,
    Draining,
    Effect,
    Event,
    HandedOver,
    HandOver,
    HeldTold,
    LoadSeen,
    MayClaim,
    NodeJoined,
    NodeLost,
    OrderFailed,
    Received,
    ResolveSources,
    SendOrder,
    Stopping,
    TimePassed,
    changed,
)
from testmesh.node.driving.schedule import Schedule
from testmesh.node.messaging.calls import Calls
from testmesh.node.messaging.messages import AttemptReports, Held, Load, WorkOrder
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes

log = logging.getLogger(__name__)
_MAX_BATCH = 1000
_STORED_WITHIN_S = 8.0  # less than a worker waits for the answer


@dataclass(frozen=True, slots=True)
class _Reported:
    """Reports whose sender waits until they are stored."""

    reports: AttemptReports
    taken: "Future[None]"


class Workers(Protocol):
    """Where modules run: here, or on a peer. All but `own_load` raise TestmeshError."""

    def run(self, address: str, order: WorkOrder) -> None: ...

    def held(self, address: str) -> Held: ...

    def hand_over(self, address: str, changes: Changes) -> None:
        """Have a peer store these."""
        ...

    def own_load(self) -> Load:
        """This node's."""
        ...


class Coordinator:
    """Safe from any thread. `live`: addresses of the other live nodes; `resolve` begins to fetch open sources."""

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
        self._driver = Driver(address, ledger, schedule, live)
        self._workers = workers
        self._clock = clock
        self._resolve = resolve
        self._events: queue.SimpleQueue[Event | _Reported] = queue.SimpleQueue()
        self._stopped = False
        self._calls = Calls("orders")
        self._thread = threading.Thread(target=self._run, name="coordinator", daemon=True)
        self._idle = threading.Event()
        ledger.subscribe(self._merged)

    def _merged(self, changes: Changes, publish: bool) -> None:
        news = changed(changes, own=publish)
        if news:
            self._events.put(news)

    def start(self) -> None:
        self._thread.start()

    def received(self, evaluation_id: str) -> None:
        """A submission begins here."""
        self._events.put(Received(evaluation_id))

    def claim_open(self) -> None:
        """From now on unfinished evaluations whose owner is gone, or was this node before a restart, are taken up."""
        self._events.put(MayClaim())

    def reported(self, reports: AttemptReports) -> None:
        """The results among them are durable when this returns: the worker need not keep them any more.

        That a module began is durable, and told to the peers, a moment later.

        Raises:
            ConflictError: this node does not drive one of their evaluations. DiskFullError, InfrastructureError.
        """
        taken: Future[None] = Future()
        self._events.put(_Reported(reports, taken))
        if self._stopped:
            self._refuse_rest()
        try:
            taken.result(_STORED_WITHIN_S)
        except TimeoutError:
            raise InfrastructureError("The reports could not be stored in time; send them again.") from None

    def node_lost(self, address: str, *, blame: bool) -> None:
        """`blame`: it was not in good order, so what it ran may be the cause."""
        self._calls.drop(address)
        self._events.put(NodeLost(address, blame))

    def node_joined(self, address: str) -> None:
        self._events.put(NodeJoined(address))

    def load_seen(self, address: str, load: Load) -> None:
        self._events.put(LoadSeen(address, load))

    def drain(self) -> None:
        """Others are to go on with what this node drives."""
        self._events.put(Draining())

    def wait_idle(self, timeout: float) -> bool:
        """Whether, within `timeout`, this node drives nothing."""
        return self._idle.wait(timeout)

    def stop(self) -> None:
        self._events.put(Stopping())
        if self._thread.is_alive():
            self._thread.join()
        self._calls.stop()

    # The thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped:
            waiting = self._next_events()
            events = [item.reports if isinstance(item, _Reported) else item for item in waiting]
            self._stopped = any(isinstance(event, Stopping) for event in events)
            try:
                self._turn(waiting, events)
            except Exception:
                log.exception("the coordinator could not handle %d events; it goes on with the next", len(events))
        self._refuse_rest()

    def _turn(self, waiting: Sequence[Event | _Reported], events: Sequence[Event]) -> None:
        now, wall = self._clock.monotonic(), self._clock.wall()
        effects = self._driver.handle(events, now, wall, self._workers.own_load())
        for item in waiting:
            if isinstance(item, _Reported):
                try:
                    _answer(item.taken, self._driver.refusal(item.reports))
                except Exception as error:  # noqa: BLE001 - the sender keeps them and logs it
                    _answer(item.taken, error)
        (self._idle.clear if self._driver.drives_any() else self._idle.set)()
        for effect in effects if not self._stopped else ():
            try:
                self._execute(effect)
            except Exception:
                log.exception("%s could not be done", type(effect).__name__)

    def _refuse_rest(self) -> None:
        """What came too late to be handled."""
        while True:
            try:
                item = self._events.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, _Reported):
                _answer(item.taken, ConflictError("This node stops; another drives its evaluations."))

    def _next_events(self) -> list[Event | _Reported]:
        now = self._clock.monotonic()
        try:
            events = [self._events.get(timeout=max(0.01, self._driver.next_due(now) - now))]
        except queue.Empty:
            return [TimePassed()]
        while len(events) < _MAX_BATCH:
            try:
                events.append(self._events.get_nowait())
            except queue.Empty:
                break
        return events

    def _execute(self, effect: Effect) -> None:
        match effect:
            case SendOrder(node, order):
                self._calls.submit(node, partial(self._send, node, order))
            case AskHeld(node, asked_at):
                self._calls.submit(node, partial(self._ask, node, asked_at))
            case ResolveSources(evaluation):
                self._resolve(evaluation)
            case HandOver(target, changes):
                self._calls.submit(target, partial(self._hand_over, target, changes))

    # In the callers' threads: whatever goes wrong, the driver is told ------------------------

    def _send(self, node: str, order: WorkOrder) -> None:
        try:
            self._workers.run(node, order)
        except Exception as error:
            log.warning(
                "%s did not take %d modules: %s",
                node,
                len(order.tasks),
                error,
                exc_info=_unforeseen(error),
                extra=about(evaluation=order.evaluation.id, node=node),
            )
            self._events.put(OrderFailed(node, order))

    def _ask(self, node: str, asked_at: float) -> None:
        try:
            self._events.put(HeldTold(node, self._workers.held(node), asked_at))
        except Exception as error:
            log.info(
                "could not ask %s what it runs: %s", node, error, exc_info=_unforeseen(error), extra=about(node=node)
            )
            self._events.put(HeldTold(node, None, asked_at))

    def _hand_over(self, target: str, changes: Changes) -> None:
        try:
            self._workers.hand_over(target, changes)
        except Exception as error:
            log.warning(
                "%s did not take evaluations over: %s",
                target,
                error,
                exc_info=_unforeseen(error),
                extra=about(node=target),
            )
            self._events.put(HandedOver(target, changes, taken=False))
        else:
            self._events.put(HandedOver(target, changes, taken=True))


def _unforeseen(error: Exception) -> Exception | None:
    """What needs a traceback."""
    return None if isinstance(error, TestmeshError) else error


def _answer(taken: "Future[None]", error: Exception | None) -> None:
    if error is None:
        taken.set_result(None)
    else:
        taken.set_exception(error)
