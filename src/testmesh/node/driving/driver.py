"""The owner's side of an evaluation: turns what happens into records, which it merges, and effects, which it gives.

No thread, no clock and no connection of its own, so that whole meshes of it run in a simulation. It remembers only what
may be forgotten: after a restart, or on the node that takes over, everything begins again from the store.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from testmesh.errors import ConflictError, DiskFullError, TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation
from testmesh.node.driving.driver_events import (
    AskHeld,
    Changed,
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
)
from testmesh.node.driving.handover import Handovers
from testmesh.node.driving.holdback import HoldBack
from testmesh.node.driving.known_workers import KnownWorkers
from testmesh.node.driving.saving import Saving
from testmesh.node.driving.schedule import Schedule
from testmesh.node.driving.succession import is_next
from testmesh.node.messaging.messages import AttemptReports, Load, Returned
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes

log = logging.getLogger(__name__)
AUDIT_S = 5.0  # how often workers are asked whether they still have what they were given
_LOOK_S = 30.0  # how often all unfinished evaluations are looked at, should news of one have been lost
_CLAIM_AGAIN_S = 1.0  # after what could not be taken up
_ARCHIVE_AWAY_S = 2.0  # and an evaluation whose files nobody has is not tried again before


class Driver:
    """Not thread-safe. `live` gives the addresses of the other live nodes. Times are monotonic seconds."""

    def __init__(self, address: str, ledger: Ledger, schedule: Schedule, live: Callable[[], tuple[str, ...]]) -> None:
        self._address = address
        self._ledger = ledger
        self._schedule = schedule
        self._live = live
        self._workers = KnownWorkers()
        self._known_since: dict[str, float] = {}  # of unfinished evaluations: what their duration is measured by
        self._mine: set[str] = set()  # evaluations that this process drives by right
        self._held_back = HoldBack()
        self._handovers = Handovers()
        self._next_audit = 0.0
        self._may_claim = False
        self._is_leaving = False
        self._saving = Saving(ledger)
        self._missed_something = False
        self._next_look = 0.0
        self._unseen: dict[str, None] = {}  # evaluations that changed and were not looked at yet
        self._effects: list[Effect] = []

    def drives_any(self) -> bool:
        return bool(self._schedule.evaluations())

    def refusal(self, reports: AttemptReports) -> TestmeshError | None:
        """Why reports that were handled must be kept by their sender.

        None: results are stored, or nobody needs them. That a module began may be forgotten: its worker is asked.
        """
        for evaluation_id in {report.evaluation for report in reports.reports}:
            if self._saving.is_behind(evaluation_id):
                return DiskFullError("This node's disk is full: another goes on with the evaluation in a moment.")
            if self._schedule.drives(evaluation_id):
                continue
            known = self._ledger.store.evaluation(evaluation_id)
            if known is None or known.finished_at is None:
                return ConflictError(f"This node does not drive evaluation {evaluation_id}.")
        return None

    def next_due(self, now: float) -> float:
        """The time at which TimePassed has something to do, at the latest."""
        return min(now + 1.0, self._held_back.next_due(), self._saving.next_due())

    def handle(self, events: Sequence[Event], now: float, wall: float, own_load: Load) -> list[Effect]:
        """`wall`: Unix seconds, for people; `own_load`: this node's as a worker.

        Whatever goes wrong with one event, evaluation or step is logged, and the others go on: what it may have missed
        is looked for at the next call.
        """
        self._effects = []
        self._workers.said(self._address, own_load)
        self._saving.fails = not own_load.slots and not self._is_leaving
        self._held_back.expire(now)
        for event in events:
            self._try(partial(self._take, event, now, wall))
        if self._missed_something or now >= self._next_look:
            self._missed_something, self._next_look = False, now + _LOOK_S
            self._try(self._see_unfinished)
        for evaluation_id in tuple(self._unseen):
            self._try(partial(self._look_at, evaluation_id, now))
        if self._saving.save(math.inf if self._is_leaving else now):
            for evaluation in self._schedule.evaluations():
                self._try(partial(self._finish, evaluation, now, wall))
        if self._saving.fails or self._is_leaving:
            for evaluation in self._schedule.evaluations():
                self._try(partial(self._pass_on, evaluation, now, at_any_price=self._is_leaving))
        if self._saving.is_empty:
            self._try(partial(self._place, now))
        self._try(partial(self._audit, now))
        return self._effects

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception:
            log.exception("the driver goes on after an error")
            self._missed_something = True

    def _see_unfinished(self) -> None:
        self._see([evaluation.id for evaluation in self._ledger.store.unfinished()])

    # What happens ----------------------------------------------------------------------------

    def _take(self, event: Event, now: float, wall: float) -> None:  # noqa: PLR0912 - one line an event
        match event:
            case Received(evaluation_id):
                self._known_since[evaluation_id] = now
                self._mine.add(evaluation_id)
            case Changed(evaluation_ids, results):
                self._see(evaluation_ids)
                for state in results:
                    self._schedule.ended_elsewhere(state)
            case MayClaim():
                self._may_claim = True
                for evaluation in self._ledger.store.unfinished():
                    self._known_since.setdefault(evaluation.id, now - max(0.0, wall - evaluation.submitted_at))
                    self._see((evaluation.id,))
            case AttemptReports(node, reports, load):
                self._workers.said(node, load)
                for report in reports:
                    self._saving.add(self._schedule.reported(report, now, wall), now)
                    if report.returned is Returned.NO_ARCHIVE:
                        self._held_back.until(report.evaluation, now + _ARCHIVE_AWAY_S)
                    elif report.returned is Returned.DISK_FULL:
                        self._workers.refused(node, now)
            case NodeLost(node, blame):
                self._lost(node, now, blame)
            case NodeJoined(node):
                self._effects.append(AskHeld(node, now))
            case LoadSeen(node, load):
                self._workers.said(node, load)
            case HeldTold():
                self._told(event, now)
            case OrderFailed(node, order):
                self._workers.refused(node, now)
                self._schedule.unplaced(node, order.evaluation.id, order.tasks)
            case HandedOver():
                self._handed_over(event, now)
            case Draining():
                self._is_leaving = True
            case Stopping():
                # What runs here ends with this node, in good order: that must not count against the modules.
                self._saving.add(self._schedule.lost(self._address, blame=False), now)
                self._is_leaving = True
            case TimePassed():
                pass

    def _see(self, evaluation_ids: Sequence[str]) -> None:
        self._unseen.update(dict.fromkeys(evaluation_ids))

    def _lost(self, node: str, now: float, blame: bool) -> None:
        self._workers.lost(node)
        self._held_back.answered(node)
        self._saving.add(self._schedule.lost(node, blame=blame), now)
        self._handovers.lost(node)
        self._see_unfinished()

    def _told(self, event: HeldTold, now: float) -> None:
        """What a worker was given well before it was asked, and no longer has, is lost: it restarted meanwhile."""
        self._held_back.answered(event.node)
        if event.held is None:
            if self._workers.did_not_answer(event.node, now):
                self._saving.add(self._schedule.lost(event.node, blame=False), now)
            return
        self._workers.answered(event.node)
        self._workers.said(event.node, event.held.load)
        self._schedule.found(event.node, event.held.tasks, now)
        missing = self._schedule.placed_before(event.asked_at - AUDIT_S).get(event.node, set()) - set(event.held.tasks)
        if missing:
            log.warning(
                "%s no longer has %d modules it was given", event.node, len(missing), extra=about(node=event.node)
            )
            self._saving.add(self._schedule.lost(event.node, missing), now)

    # Taking up and letting go ----------------------------------------------------------------

    def _look_at(self, evaluation_id: str, now: float) -> None:
        """Take up, go on with, or let go of an evaluation that changed. What it cannot take up is looked at again."""
        evaluation = self._ledger.store.evaluation(evaluation_id)
        if evaluation is None or self._handovers.is_released(evaluation):
            pass
        elif evaluation.finished_at is not None:
            self._forget(evaluation_id)
            self._known_since.pop(evaluation_id, None)
        else:
            self._known_since.setdefault(evaluation_id, now)
            if evaluation.owner != self._address and evaluation_id in self._mine:
                self._forget(evaluation_id)
            if evaluation_id in self._mine:
                self._drive(evaluation, now)
            elif self._may_claim and is_next(evaluation, self._address, self._live()):
                self._claim(evaluation, now)
        del self._unseen[evaluation_id]

    def _claim(self, evaluation: Evaluation, now: float) -> None:
        """Drive it from now on, unless that cannot be stored, or another is asked to: it is looked at again soon."""
        self._next_look = min(self._next_look, now + _CLAIM_AGAIN_S)
        if self._is_leaving or self._saving.fails:
            passed_on = self._pass_on(evaluation, now, at_any_price=False)
            if passed_on or self._is_leaving:
                return
        claimed = replace(evaluation, owner=self._address, epoch=evaluation.epoch + 1)
        if not self._saving.merge(Changes((claimed,))):
            return
        self._mine.add(evaluation.id)
        # Workers may have modules of an earlier owner: they are asked before those are placed a second time.
        asked = (*self._live(), self._address)
        self._held_back.until_answered(evaluation.id, asked, now)
        self._effects += [AskHeld(node, now) for node in asked if AskHeld(node, now) not in self._effects]
        self._drive(claimed, now)

    def _drive(self, evaluation: Evaluation, now: float) -> None:
        driven = self._schedule.drives(evaluation.id)
        self._saving.add(self._schedule.update(evaluation, self._ledger.store.states(evaluation.id)), now)
        if not driven:
            present = {*self._live(), self._address}
            for node in set(self._schedule.placed_by_node()) - present:
                self._saving.add(self._schedule.lost(node), now)
        self._effects.append(ResolveSources(evaluation))

    def _forget(self, evaluation_id: str) -> None:
        self._schedule.drop(evaluation_id)
        self._mine.discard(evaluation_id)
        self._handovers.forget(evaluation_id)
        self._held_back.forget(evaluation_id)

    def _pass_on(self, evaluation: Evaluation, now: float, *, at_any_price: bool) -> bool:
        """Ask another node to drive it. False: there is none."""
        target = self._handovers.target(evaluation, self._live(), self._workers.loads, at_any_price=at_any_price)
        if target is None:
            return False
        unknown = self._saving.of(evaluation.id)
        if self._schedule.drives(evaluation.id):
            unknown += self._schedule.contested(evaluation.id)
        self._effects += self._handovers.ask(evaluation, target, unknown, now)
        return True

    def _handed_over(self, event: HandedOver, now: float) -> None:
        for evaluation in event.changes.evaluations:
            if not self._handovers.is_asking(evaluation.id):
                continue
            if not event.taken:
                self._handovers.refused(evaluation.id, event.target, now)
                continue
            log.info(
                "%s goes on with evaluation %s",
                event.target,
                evaluation.id,
                extra=about(evaluation=evaluation.id, node=event.target),
            )
            self._forget(evaluation.id)
            late = tuple(r for r in self._saving.of(evaluation.id) if r not in event.changes.modules)
            self._saving.forget(evaluation.id)
            if late:
                self._effects.append(HandOver(event.target, Changes(modules=late)))
            if not self._saving.merge(Changes((evaluation,))):
                self._handovers.release(evaluation)
                self._ledger.note_owners((evaluation,))

    # Going on --------------------------------------------------------------------------------

    def _finish(self, evaluation: Evaluation, now: float, wall: float) -> None:
        if not self._schedule.is_complete(evaluation.id):
            return
        took = now - self._known_since.get(evaluation.id, now)
        if self._saving.merge(Changes((replace(evaluation, finished_at=wall, eval_time=round(took, 3)),))):
            self._forget(evaluation.id)
            log.info("evaluation %s ended after %.2f s", evaluation.id, took, extra=about(evaluation=evaluation.id))

    def _place(self, now: float) -> None:
        nodes = self._workers.that_take_work((self._address, *self._live()), now)
        if nodes:
            orders = self._schedule.place(nodes, now, {*self._handovers.names(now), *self._held_back.names()})
            self._effects += [SendOrder(address, order) for address, order in orders]

    def _audit(self, now: float) -> None:
        if now < self._next_audit:
            return
        self._next_audit = now + AUDIT_S
        for node in set(self._schedule.placed_by_node()) - {*self._live(), self._address}:
            self._lost(node, now, blame=True)  # its death came between placing and now
        self._effects += [AskHeld(node, now) for node in self._schedule.placed_before(now - AUDIT_S)]
