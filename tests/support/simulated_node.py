"""A whole node in the simulated network: real membership, driver, schedule, merges and plans of copies.

What has threads, connections and disks in a real node is done here as events.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.model import Evaluation, ModulePlan
from testmesh.node.copying.copies import Copy, Keep, bundle_of, plan, questions, with_holders
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
from testmesh.node.driving.prediction import Prediction
from testmesh.node.driving.schedule import Schedule
from testmesh.node.membership.membership import Health, Member, Membership
from testmesh.node.membership.ownership import rendezvous
from testmesh.node.messaging.messages import AttemptReports, Load, WorkOrder
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from tests.support.simulated_disk import Disk, Link
from tests.support.simulated_worker import SimulatedWorker
from tests.support.simulation import Process, Simulation

CALL_S, _HAND_OVER_S = 10.0, 5.0
_STEP_S = 0.0005
_JOIN_PATIENCE_S = 3.0
_SETTLE_S, _DIFFERING_S = 1.0, 5.0
_NEXT_AFTER_S, _COPY_AGAIN_S, _COPY_TRIES = 2.0, 0.25, 20
_COPIES_SOON_S, _COPIES_PERIOD_S = 2.0, 60.0
_DRAIN_GRACE_S = 20.0
REPLICAS = 2


@dataclass(frozen=True)
class _Predicted:
    """The same for all modules."""

    seconds: float

    def predict(self, _: ModulePlan) -> Prediction:
        return Prediction(self.seconds, self.seconds, known=True)


class SimulatedNode(Process):
    """`skew`: how far its wall clock is off, in seconds.

    `straggles`: many modules run longer than predicted, and some in vain, so that they are run twice.
    """

    def __init__(
        self,
        simulation: Simulation,
        membership: Membership,
        disk: Disk,
        slots: int,
        longest: float,
        skew: float = 0.0,
        *,
        straggles: bool = True,
    ) -> None:
        super().__init__(simulation, membership)
        self.disk = disk
        self.skew = skew
        self.ledger = Ledger(disk.store)
        schedule = Schedule(LeastLoaded(), _Predicted(longest / 4 if straggles else longest))
        self.driver = Driver(self.address, self.ledger, schedule, membership.live)
        self.worker = SimulatedWorker(self, slots, longest, straggles)
        self._events: list[tuple[Event, Callable[[bool], None] | None]] = []
        self._step_is_due = False
        self._timer = 0
        self._links: dict[str, Link] = {}
        self._differing: dict[str, tuple[float, int, float]] = {}
        self._to_compare: dict[str, None] = {}
        self._is_comparing = False
        self._caught_up = self._leaving = False
        self._copies_due = self.simulation.now + _COPIES_SOON_S
        self.ledger.subscribe(self._changed)

    # Life ------------------------------------------------------------------------------------

    def settle_in(self) -> None:
        """Hear what happened meanwhile, then go on with what was unfinished."""
        self.later(0.3, self._look_after_copies)
        if not self.disk.known_peers and not self.membership.bootstrap:
            self._catch_up()
            return
        for address in sorted(self.disk.known_peers):
            self.join(address)
        self.later(_JOIN_PATIENCE_S, self._catch_up)

    def joined(self) -> None:
        self._catch_up()

    def _catch_up(self) -> None:
        if self._caught_up:
            return
        self._caught_up = True
        waiting = list(self.membership.live())

        def next_one(done: bool) -> None:
            if done or not waiting:
                self.post(MayClaim())
            else:
                self._compare(waiting.pop(0), next_one)

        next_one(False)

    def drain(self, ended: Callable[[], None]) -> None:
        """Pass on what it drives, let what runs come to its end, leave, stop; then `ended`."""
        if self._leaving:
            return
        self._leaving = True
        self.worker.drain()
        until = self.simulation.now + _DRAIN_GRACE_S
        if self.membership.live():
            self.post(Draining())

        def look() -> None:
            is_done = self.worker.is_quiet() and not self.driver.drives_any()
            if is_done or self.simulation.now >= until or not self.membership.live():
                self.simulation.leave(self)
                self.post(Stopping())
                self.later(1.0, ended)
            else:
                self.later(0.1, look)

        self.later(0.1, look)

    # Time and calls --------------------------------------------------------------------------

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.simulation.after(seconds, lambda: self.do(action))

    def seconds(self, low: float, high: float) -> float:
        return self.simulation.rng.uniform(low, high)

    def call(
        self,
        address: str,
        handle: Callable[[Any, Callable[[Any], None]], None],
        answered: Callable[[Any], None],
        failed: Callable[[], None],
        timeout: float = CALL_S,
    ) -> None:
        if address == self.address:
            self.later(_STEP_S, lambda: handle(self, answered))
        else:
            self.simulation.call_later(self, address, handle, timeout, answered, lambda _: failed())

    # The driver ------------------------------------------------------------------------------

    def post(self, event: Event, reply: Callable[[bool], None] | None = None) -> None:
        self._events.append((event, reply))
        if not self._step_is_due:
            self._step_is_due = True
            self.later(_STEP_S, self._step)

    def _step(self) -> None:
        self._step_is_due = False
        waiting, self._events = self._events, []
        now = self.simulation.now
        events = [event for event, _ in waiting] or [TimePassed()]
        effects = self.driver.handle(events, now, 1.8e9 + now + self.skew, self.worker.load())
        for event, reply in waiting:
            if reply is not None and isinstance(event, AttemptReports):
                reply(self.driver.refusal(event) is None)
        if Stopping() not in events:
            for effect in effects:
                self._effect(effect)
        self._timer += 1
        self.later(max(0.01, self.driver.next_due(now) - now), partial(self._time_passed, self._timer))

    def _time_passed(self, timer: int) -> None:
        if timer == self._timer and not self._step_is_due:
            self._step()

    def _effect(self, effect: Effect) -> None:
        match effect:
            case SendOrder(node, order):
                self.call(
                    node,
                    lambda p, reply: reply(p.take_order(order)),
                    lambda taken: None if taken else self.post(OrderFailed(node, order)),
                    lambda: self.post(OrderFailed(node, order)),
                )
            case AskHeld(node, asked_at):
                self.call(
                    node,
                    lambda p, reply: reply(p.worker.held()),
                    lambda held: self.post(HeldTold(node, held, asked_at)),
                    lambda: self.post(HeldTold(node, None, asked_at)),
                )
            case HandOver(target, changes):
                self.call(
                    target,
                    lambda p, reply: reply(p.replicate(changes)),
                    lambda _: self.post(HandedOver(target, changes, taken=True)),
                    lambda: self.post(HandedOver(target, changes, taken=False)),
                    _HAND_OVER_S,
                )
            case ResolveSources():
                pass  # all are uploads

    # What other nodes ask --------------------------------------------------------------------

    def take_order(self, order: WorkOrder) -> bool:
        if order.whole:
            self.ledger.merge(Changes((order.evaluation,)), publish=False)
        elif self.disk.store.evaluation(order.evaluation.id) is None:
            return False
        return self.worker.accept(order)

    def replicate(self, changes: Changes) -> bool:
        self.ledger.merge(changes, publish=False)
        return True

    def take_copy(self, evaluation: Evaluation, holder: str, reply: Callable[[bool], None]) -> None:
        """A promise: with its archives, or not at all."""

        def fetched(found: bool) -> None:
            known = self.disk.store.evaluation(evaluation.id)
            kept = evaluation if evaluation.finished_at is None else known
            if found and kept is not None:
                self.ledger.merge(Changes((with_holders(kept, self.address),)), publish=False)
            reply(found)

        self._fetch_from(evaluation.archives, [holder], fetched)

    def said_with_answer(self) -> tuple[Load, int]:
        return self.worker.load(), self.disk.store.digest()

    # For the worker --------------------------------------------------------------------------

    def fetch(self, evaluation: Evaluation, done: Callable[[bool], None]) -> None:
        live = self.membership.live()
        likely = [address for address in evaluation.holders if address in live]
        self._fetch_from(evaluation.archives, list(dict.fromkeys((*likely, *live))), done)

    def report(self, owner: str, reports: AttemptReports, done: Callable[[bool], None]) -> None:
        self.call(owner, lambda p, reply: p.post(reports, reply), done, lambda: done(False))

    def _fetch_from(self, archives: Iterable[str], sources: list[str], done: Callable[[bool], None]) -> None:
        wanted = set(archives) - self.disk.archives
        if not wanted or not sources:
            done(not wanted)
            return
        source, rest = sources[0], sources[1:]

        def answered(found: set[str]) -> None:
            self.disk.archives |= found
            self._fetch_from(archives, rest, done)

        self.call(
            source,
            lambda p, reply: reply(wanted & p.disk.archives),
            answered,
            lambda: self._fetch_from(archives, rest, done),
        )

    # Submitting ------------------------------------------------------------------------------

    def submit(self, evaluation: Evaluation, acknowledged: Callable[[Evaluation], None]) -> None:
        """As the intake: durable here and on another live node, then `acknowledged`; else never."""
        if self._leaving:
            return
        self.disk.archives |= set(evaluation.archives)
        own = with_holders(evaluation, self.address)
        over = False
        asked: set[str] = set()

        def promised(address: str | None) -> None:
            nonlocal over
            if not over:
                over = True
                held = with_holders(own, *([address] if address else []))
                self.post(Received(own.id))
                self.ledger.merge(Changes((held,)), publish=True)
                acknowledged(held)

        def ask(tries: int) -> None:
            live = self.membership.live()
            if over:
                return
            if not live:
                promised(None)
                return
            waiting = [address for address in rendezvous(own.id, live) if address not in asked]
            if not waiting:
                asked.clear()
                if tries:
                    self.later(_COPY_AGAIN_S, lambda: ask(tries - 1))
                return
            asked.add(waiting[0])
            answered = False

            def go_on(taken: bool) -> None:
                nonlocal answered
                if taken:
                    promised(waiting[0])
                elif not answered:
                    answered = True
                    ask(tries)

            self.call(
                waiting[0],
                lambda p, reply: p.take_copy(own, self.address, reply),
                go_on,
                lambda: go_on(False),
                30.0,
            )
            self.later(_NEXT_AFTER_S, lambda: go_on(False))

        ask(_COPY_TRIES)

    # Replication -----------------------------------------------------------------------------

    def _changed(self, changes: Changes, publish: bool) -> None:
        news = changed(changes, own=publish)
        if news:
            self.post(news)
        self.worker.changed(changes)
        if publish:
            for address, link in self._links.items():
                link.keep(changes)
                self._push(address, link)

    def _push(self, address: str, link: Link) -> None:
        if link.busy or not link.open:
            return
        changes = link.take()
        if not changes:
            return
        link.busy = True

        def sent(_: Any) -> None:
            link.busy, link.failures = False, 0
            self._push(address, link)

        def failed() -> None:
            link.failures += 1
            link.keep(changes)
            self.later(min(2.0, 0.1 * 2 ** min(link.failures, 10)), again)

        def again() -> None:
            link.busy = False
            self._push(address, link)

        self.call(address, lambda p, reply: reply(p.replicate(changes)), sent, failed)

    def member_changed(self, before: Member | None, after: Member) -> None:
        address = after.address
        self._copies_due = min(self._copies_due, self.simulation.now + _COPIES_SOON_S)
        if after.health.is_live:
            self._links.setdefault(address, Link())
            if before is None or not before.health.is_live or before.boot != after.boot:
                self._compare_soon(address)
                self.disk.known_peers.add(address)
                self.post(NodeJoined(address))
            if before is not None and before.boot != after.boot:
                self.post(NodeLost(address, blame=True))
        else:
            link = self._links.pop(address, None)
            if link:
                link.open = False
            self._differing.pop(address, None)
            self._to_compare.pop(address, None)
            self.post(NodeLost(address, blame=after.health is Health.DEAD))

    def ping_answered(self, address: str, said: tuple[Load, int]) -> None:
        load, theirs = said
        self.post(LoadSeen(address, load))
        now = self.simulation.now
        if theirs == self.disk.store.digest():
            self._differing.pop(address, None)
            return
        since, digest, stands_since = self._differing.get(address, (now, theirs, now))
        if digest != theirs:
            digest, stands_since = theirs, now
        self._differing[address] = (since, digest, stands_since)
        if now - stands_since >= _SETTLE_S or now - since >= _DIFFERING_S:
            del self._differing[address]
            self._compare_soon(address)

    def _compare_soon(self, address: str) -> None:
        self._to_compare[address] = None
        self._compare_next()

    def _compare_next(self) -> None:
        """One after the other, as the thread does it."""
        if self._to_compare and not self._is_comparing:
            self._is_comparing = True
            address = next(iter(self._to_compare))
            del self._to_compare[address]
            self._compare(address, self._compared)

    def _compared(self, _: bool) -> None:
        self._is_comparing = False
        self._compare_next()

    def _compare(self, address: str, end: Callable[[bool], None]) -> None:
        def told(theirs: dict[str, int]) -> None:
            mine = self.disk.store.digests()
            fetch([name for name, digest in theirs.items() if mine.get(name) != digest])

        def fetch(names: list[str]) -> None:
            if not names:
                end(True)
                return

            def take(changes: Changes) -> None:
                self.ledger.merge(changes, publish=False)
                fetch(names[1:])

            self.call(address, lambda p, reply: reply(p.disk.store.records(names[0])), take, lambda: end(False))

        self.call(address, lambda p, reply: reply(p.disk.store.digests()), told, lambda: end(False))

    # Copies of archives ----------------------------------------------------------------------

    def _look_after_copies(self) -> None:
        self.later(0.5, self._look_after_copies)
        if self.simulation.now < self._copies_due or self._leaving:
            return
        self._copies_due = self.simulation.now + _COPIES_PERIOD_S
        live = (self.address, *self.membership.live())
        bundles = [b for e in self.disk.store.everything().evaluations if (b := bundle_of(e)) is not None]
        if len(live) == 1 or not bundles:
            return
        said: dict[str, dict[str, bool]] = {}
        for node, archives in questions(bundles, live, {}).items():

            def take(found: set[str], node: str = node, archives: list[str] = archives) -> None:
                said[node] = {archive: archive in found for archive in archives}

            self.call(node, lambda p, reply: reply(set(p.disk.archives)), take, lambda: None, 3.0)

        def act() -> None:
            for step in plan(bundles, self.address, live, said, REPLICAS):
                evaluation = self.disk.store.evaluation(step.bundle.evaluation)
                if evaluation is not None:
                    self._do(step, evaluation)

        self.later(3.1, act)

    def _do(self, step: Keep | Copy, evaluation: Evaluation) -> None:
        def hold(address: str, found: bool) -> None:
            newest = self.disk.store.evaluation(evaluation.id) or evaluation
            if found:
                self.ledger.merge(Changes((with_holders(newest, address),)), publish=True)
                self._copies_due = min(self._copies_due, self.simulation.now + _COPIES_SOON_S)

        if isinstance(step, Keep):
            self._fetch_from(evaluation.archives, list(step.sources), lambda found: hold(self.address, found))
            return
        for target in step.targets[: step.wanted]:
            self.call(
                target,
                lambda p, reply: p.take_copy(evaluation, self.address, reply),
                partial(hold, target),
                lambda: None,
            )
