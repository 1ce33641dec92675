"""What a node does for the evaluations it drives: event by event, with a store in memory and no thread."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from testmesh.errors import ConflictError, DiskFullError, InfrastructureError
from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.model import Counts, Evaluation, ModuleResult, ModuleState, Verdict
from testmesh.node.driving.driver import AUDIT_S, Driver
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
    changed,
)
from testmesh.node.driving.holdback import ANSWER_WITHIN_S
from testmesh.node.driving.schedule import Schedule
from testmesh.node.messaging.messages import AttemptReport, AttemptReports, Held, Load, Returned, Task
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation

ME = "a:1"
FREE = Load(4, 0, 0)
FULL = Load(0, 0, 0)
PASSED = ModuleResult(Verdict.PASSED, Counts(passed=3), 0.5, "3.11")
BOTH = {"p": ["t1", "t2"]}


class FullableStore(MemoryStore):
    is_full = False

    def merge(self, changes: Changes) -> Changes:
        if self.is_full and changes:
            raise DiskFullError("The node's disk is full.")
        return super().merge(changes)


class World:
    """A driver; the ledger's news comes back to it as events, as the coordinator brings them."""

    def __init__(self, *live: str) -> None:
        self.store = FullableStore()
        self.ledger = Ledger(self.store)
        self.live = live
        self.now, self.wall = 1000.0, 5000.0
        self.own_load = FREE
        self.news: list[Event] = []
        self.ledger.subscribe(lambda changes, publish: self.news.append(changed(changes, own=publish)))
        self.driver = Driver(ME, self.ledger, Schedule(LeastLoaded()), lambda: self.live)

    def handle(self, *events: Event) -> list[Effect]:
        """Until there is no news any more."""
        effects: list[Effect] = []
        waiting = list(events) or [TimePassed()]
        while waiting:
            effects += self.driver.handle(waiting, self.now, self.wall, self.own_load)
            waiting, self.news = self.news, []
        return effects

    def knows(self, found: Evaluation, *states: ModuleState) -> None:
        self.ledger.merge(Changes((found,), tuple(map(ModuleRecord, states))), publish=False)

    def driving(self, found: Evaluation) -> list[Effect]:
        """It was submitted here a moment ago."""
        events: list[Event] = [Received(found.id), *(LoadSeen(node, FREE) for node in self.live)]
        self.knows(found)
        return self.handle(*events)

    def report(self, task: Task, result: ModuleResult | None = PASSED, node: str = ME, **fields: Any) -> list[Effect]:
        reports = (AttemptReport("e1", task, node, result, **fields),)
        return self.handle(AttemptReports(node, reports, FREE))

    def stored(self, evaluation_id: str = "e1") -> Evaluation:
        found = self.store.evaluation(evaluation_id)
        assert found is not None
        return found


def orders(effects: Sequence[Effect]) -> dict[str, list[Task]]:
    """Tasks by node."""
    found: dict[str, list[Task]] = {}
    for effect in effects:
        if isinstance(effect, SendOrder):
            found.setdefault(effect.node, []).extend(effect.order.tasks)
    return found


def handovers(effects: Sequence[Effect]) -> list[HandOver]:
    return [effect for effect in effects if isinstance(effect, HandOver)]


def asked(effects: Sequence[Effect]) -> set[str]:
    return {effect.node for effect in effects if isinstance(effect, AskHeld)}


def tasks_of(effects: Sequence[Effect]) -> list[Task]:
    return [task for given in orders(effects).values() for task in given]


class TestDriving:
    def test_a_submission_is_placed_run_and_ended_with_its_duration_by_the_monotonic_clock(self) -> None:
        world = World()
        effects = world.driving(evaluation("e1", BOTH))
        assert any(isinstance(effect, ResolveSources) for effect in effects)
        (one, other) = tasks_of(effects)
        world.now, world.wall = world.now + 7, world.wall + 3600
        world.report(one)
        assert world.stored().finished_at is None
        world.report(other)
        assert (world.stored().finished_at, world.stored().eval_time) == (world.wall, 7.0)
        assert not world.driver.drives_any()

    def test_what_another_live_node_owns_is_left_to_it(self) -> None:
        world = World("b:1")
        world.knows(evaluation("e1", BOTH, owner="b:1", holders=("a:1", "b:1")))
        assert orders(world.handle(MayClaim())) == {}
        assert world.stored().epoch == 0

    def test_a_node_that_refuses_an_order_rests_and_others_get_it(self) -> None:
        world = World("b:1")
        effects = world.driving(evaluation("e1", BOTH))
        order = next(e.order for e in effects if isinstance(e, SendOrder) and e.node == "b:1")
        again = world.handle(OrderFailed("b:1", order))
        assert set(orders(again)) == {ME}

    def test_nodes_without_slots_get_nothing(self) -> None:
        world = World("b:1", "c:1")
        world.knows(evaluation("e1", {"p": [f"t{i}" for i in range(9)]}))
        effects = world.handle(Received("e1"), LoadSeen("b:1", FULL), LoadSeen("c:1", FREE))
        assert set(orders(effects)) == {ME, "c:1"}

    def test_what_a_worker_lost_is_placed_anew_and_what_it_got_a_moment_ago_is_not(self) -> None:
        world = World()
        (task,) = tasks_of(world.driving(evaluation("e1")))
        world.now += AUDIT_S + 1
        assert asked(world.handle()) == {ME}
        young = HeldTold(ME, Held((), FREE), world.now - AUDIT_S)
        assert orders(world.handle(young)) == {}
        effects = world.handle(HeldTold(ME, Held((), FREE), world.now))
        assert tasks_of(effects) == [replace(task, attempt=2)]

    def test_an_evaluation_whose_files_nobody_has_is_tried_again_later(self) -> None:
        world = World()
        (task,) = tasks_of(world.driving(evaluation("e1")))
        assert orders(world.report(task, None, returned=Returned.NO_ARCHIVE)) == {}
        world.now += 1
        assert orders(world.handle()) == {}
        world.now = world.driver.next_due(world.now + 60)
        assert tasks_of(world.handle()) == [replace(task, attempt=2)]
        assert world.store.states("e1")[0].losses == 0

    def test_a_result_of_another_owner_ends_what_is_under_way_here(self) -> None:
        world = World()
        (one, other) = tasks_of(world.driving(evaluation("e1", BOTH)))
        state = ModuleState("e1", "p", one.module, Verdict.FAILED, 0, 1, "z:1")
        world.ledger.merge(Changes(modules=(ModuleRecord(state),)), publish=False)
        world.handle()
        world.report(other)
        assert world.stored().finished_at is not None

    def test_its_own_records_are_no_news_and_those_of_others_are_as_far_as_they_are_results(self) -> None:
        states = [
            ModuleState("e1", "p", name, verdict) for name, verdict in (("a", Verdict.RUNNING), ("b", Verdict.PASSED))
        ]
        changes = Changes((evaluation("e2"),), tuple(map(ModuleRecord, states)))
        assert changed(changes, own=True) == Changed(("e2",))
        assert changed(changes, own=False) == Changed(("e2",), (states[1],))
        assert not changed(replace(changes, evaluations=()), own=True)

    def test_a_node_is_given_few_more_than_it_runs_however_many_it_might(self) -> None:
        world = World()
        world.own_load = Load(64, 0, 0, cores=2.0)
        assert len(tasks_of(world.driving(evaluation("e1", {"p": [f"t{i}" for i in range(30)]})))) == 4

    def test_what_a_leaving_worker_gives_back_goes_elsewhere_at_once_and_counts_for_nothing(self) -> None:
        world = World("b:1")
        world.own_load = Load(1, 1, 1)
        (task,) = tasks_of(world.driving(evaluation("e1")))
        world.live, world.own_load = (), FREE
        reports = (AttemptReport("e1", task, "b:1", returned=Returned.LEAVING),)
        effects = world.handle(AttemptReports("b:1", reports, FULL))
        assert orders(effects) == {ME: [replace(task, attempt=2)]}
        assert world.store.states("e1")[0].losses == 0


class TestWhatAReporterIsTold:
    """So that it keeps what is stored nowhere else."""

    def refusal(self, world: World, task: Task) -> type | None:
        error = world.driver.refusal(AttemptReports(ME, (AttemptReport("e1", task, ME, PASSED),), FREE))
        return None if error is None else type(error)

    def test_what_is_stored_and_what_comes_after_the_end_is_taken(self) -> None:
        world = World()
        (one, other) = tasks_of(world.driving(evaluation("e1", BOTH)))
        for task in (one, other, one):
            world.report(task)
            assert self.refusal(world, task) is None
        assert world.stored().finished_at is not None

    def test_what_another_drives_and_what_is_not_known_is_refused(self) -> None:
        world = World("b:1")
        assert self.refusal(world, Task("p", "t1", 0, 1)) is ConflictError
        world.knows(evaluation("e1", BOTH, owner="b:1"))
        assert self.refusal(world, Task("p", "t1", 0, 1)) is ConflictError

    def test_what_there_is_no_room_for_is_refused(self) -> None:
        world = World()
        (one, _) = tasks_of(world.driving(evaluation("e1", BOTH)))
        world.store.is_full, world.own_load = True, FULL
        world.report(one)
        assert self.refusal(world, one) is DiskFullError


class TestThatAModuleBegan:
    """Need not be stored at once: it waits a moment for a result, and is told to no one who asks for durability."""

    def begun(self, *live: str, epoch: int = 0) -> tuple[World, Task]:
        world = World(*live)
        (one, _) = tasks_of(world.driving(evaluation("e1", BOTH, epoch=epoch)))
        world.report(one, None)
        return world, one

    def verdict(self, world: World, module: str = "t1") -> Verdict:
        return {state.module: state.verdict for state in world.store.states("e1")}.get(module, Verdict.PENDING)

    def test_is_stored_a_moment_later(self) -> None:
        world, _ = self.begun()
        assert self.verdict(world) is Verdict.PENDING
        due = world.driver.next_due(world.now)
        assert world.now < due <= world.now + 0.1
        world.now = due
        world.handle()
        assert self.verdict(world) is Verdict.RUNNING
        assert world.driver.next_due(world.now) == world.now + 1.0

    def test_is_stored_with_the_next_result(self) -> None:
        world, one = self.begun()
        (other,) = {Task("p", name, 0, 1) for name in BOTH["p"]} - {one}
        world.report(other)
        assert (self.verdict(world, one.module), self.verdict(world, other.module)) == (Verdict.RUNNING, Verdict.PASSED)

    def test_is_never_stored_where_it_ended_meanwhile(self) -> None:
        world, one = self.begun()
        merged: list[ModuleRecord] = []
        world.ledger.subscribe(lambda changes, _: merged.extend(changes.modules))
        world.report(one)
        world.now += 1.0
        world.handle()
        assert [record.state.verdict for record in merged] == [Verdict.PASSED]

    def test_is_stored_at_once_after_an_owner_was_lost(self) -> None:
        """The module may be why, and its losses are counted by what is stored."""
        assert self.verdict(self.begun(epoch=1)[0]) is Verdict.RUNNING

    def test_is_stored_at_once_where_this_node_leaves(self) -> None:
        world, one = self.begun()
        world.handle(Draining())
        assert self.verdict(world, one.module) is Verdict.RUNNING

    def test_is_handed_over_with_its_evaluation(self) -> None:
        world, _ = self.begun("b:1")
        world.store.is_full, world.own_load = True, FULL
        (handover,) = handovers(world.handle())
        assert [record.state.verdict for record in handover.changes.modules] == [Verdict.RUNNING]

    def test_keeps_its_reporter_waiting_only_where_it_could_not_be_stored_in_time(self) -> None:
        world, one = self.begun("b:1")
        told = AttemptReports(ME, (AttemptReport("e1", one, ME),), FREE)
        assert world.driver.refusal(told) is None
        world.store.is_full, world.own_load = True, FULL
        world.now += 1.0
        world.handle()
        assert isinstance(world.driver.refusal(told), DiskFullError)


class TestTakingOver:
    def dead_owners(self, *states: ModuleState, holders: tuple[str, ...] = ("a:1", "z:1")) -> World:
        world = World("b:1")
        world.handle(MayClaim(), LoadSeen("b:1", FREE))
        world.live = ("b:1", "z:1")
        world.knows(evaluation("e1", BOTH, owner="z:1", holders=holders), *states)
        world.handle()
        world.live = ("b:1",)
        return world

    def test_the_successor_claims_and_asks_what_runs_before_it_places_anything(self) -> None:
        world = self.dead_owners()
        effects = world.handle(NodeLost("z:1", blame=True))
        assert (world.stored().owner, world.stored().epoch) == (ME, 1)
        assert asked(effects) == {ME, "b:1"}
        assert orders(effects) == {}
        held = Held((("e1", Task("p", "t1", 0, 1)),), Load(4, 0, 1))
        assert orders(world.handle(HeldTold("b:1", held, world.now))) == {}
        effects = world.handle(HeldTold(ME, Held((), FREE), world.now))
        assert [task.module for task in tasks_of(effects)] == ["t2"]
        world.report(Task("p", "t1", 0, 1), node="b:1")
        (state,) = world.store.states("e1")
        assert (state.verdict, state.epoch, state.attempt, state.node) == (Verdict.PASSED, 0, 1, "b:1")

    def test_a_worker_that_does_not_answer_is_not_waited_for_long(self) -> None:
        world = self.dead_owners()
        world.handle(NodeLost("z:1", blame=True), HeldTold(ME, Held((), FREE), world.now))
        assert world.driver.next_due(world.now) == world.now + ANSWER_WITHIN_S
        world.now += ANSWER_WITHIN_S
        assert len(tasks_of(world.handle())) == 2

    def test_one_that_says_no_or_is_gone_is_not_waited_for(self) -> None:
        for said in (HeldTold("b:1", None, 1000.0), NodeLost("b:1", blame=True)):
            world = self.dead_owners()
            world.handle(NodeLost("z:1", blame=True))
            effects = world.handle(HeldTold(ME, Held((), FREE), world.now), said)
            assert len(tasks_of(effects)) == 2

    def test_without_a_live_holder_it_waits_and_goes_on_when_one_is_back(self) -> None:
        world = self.dead_owners(holders=("y:1", "z:1"))
        world.handle(NodeLost("z:1", blame=True))
        assert (world.stored().owner, world.stored().epoch) == ("z:1", 0)
        world.knows(replace(world.stored(), holders=("a:1", "y:1", "z:1")))
        world.handle()
        assert (world.stored().owner, world.stored().epoch) == (ME, 1)

    def test_nothing_is_claimed_before_it_was_heard_what_happened_meanwhile(self) -> None:
        world = World()
        world.knows(evaluation("e1", BOTH, holders=("a:1",)))
        assert orders(world.handle()) == {}
        assert world.stored().epoch == 0
        effects = world.handle(MayClaim())
        assert world.stored().epoch == 1
        assert asked(effects) == {ME}
        assert len(tasks_of(world.handle(HeldTold(ME, Held((), FREE), world.now)))) == 2

    def test_who_was_succeeded_lets_go(self) -> None:
        world = World("b:1")
        world.driving(evaluation("e1", BOTH))
        world.knows(replace(world.stored(), owner="b:1", epoch=1))
        assert orders(world.handle()) == {}
        assert not world.driver.drives_any()


class TestHandingOver:
    def test_a_leaving_node_asks_the_successor_to_go_on_and_places_nothing_more(self) -> None:
        world = World("b:1", "c:1")
        world.driving(evaluation("e1", {"p": [f"t{i}" for i in range(30)]}, holders=("a:1", "c:1")))
        effects = world.handle(Draining())
        ((target, changes),) = [(effect.target, effect.changes) for effect in handovers(effects)]
        assert target == "c:1"
        assert [(e.owner, e.epoch) for e in changes.evaluations] == [("c:1", 1)]
        assert orders(world.handle(LoadSeen("b:1", FREE))) == {}
        assert handovers(world.handle()) == []
        world.handle(HandedOver(target, changes, taken=True))
        assert (world.stored().owner, world.stored().epoch) == ("c:1", 1)
        assert not world.driver.drives_any()

    def test_a_result_that_another_attempt_may_still_contest_goes_along(self) -> None:
        """Its record may be on the way still when the successor hears of the other attempt's end."""
        world = World("b:1")
        (one,) = orders(world.driving(evaluation("e1", BOTH)))[ME]
        world.report(one, None)
        world.handle(HeldTold("b:1", Held((("e1", replace(one, attempt=2)),), FREE), world.now))
        world.report(replace(one, attempt=2), node="b:1")
        (asking,) = handovers(world.handle(Draining()))
        assert [(r.state.module, r.state.attempt) for r in asking.changes.modules] == [(one.module, 2)]

    def test_one_that_does_not_take_it_is_asked_again_a_moment_later(self) -> None:
        world = World("b:1")
        world.driving(evaluation("e1", BOTH))
        (asking,) = handovers(world.handle(Draining()))
        assert handovers(world.handle(HandedOver("b:1", asking.changes, taken=False))) == []
        world.now += 1
        assert len(handovers(world.handle())) == 1

    def test_after_one_that_refused_another_is_asked(self) -> None:
        world = World("b:1", "c:1")
        world.driving(evaluation("e1", BOTH))
        (first,) = handovers(world.handle(Draining()))
        world.handle(HandedOver(first.target, first.changes, taken=False))
        world.now += 1
        (second,) = handovers(world.handle())
        assert {first.target, second.target} == {"b:1", "c:1"}

    def test_nodes_that_take_no_work_are_asked_last(self) -> None:
        world = World("b:1", "c:1")
        world.driving(evaluation("e1", BOTH, holders=("a:1", "b:1", "c:1")))
        world.handle(LoadSeen("b:1", FULL))
        (asking,) = handovers(world.handle(Draining()))
        assert asking.target == "c:1"

    def test_one_that_dies_before_it_answered_is_not_waited_for(self) -> None:
        world = World("b:1", "c:1")
        world.driving(evaluation("e1", BOTH))
        (asking,) = handovers(world.handle(Draining()))
        world.live = tuple({"b:1", "c:1"} - {asking.target})
        (again,) = handovers(world.handle(NodeLost(asking.target, blame=True)))
        assert again.target == world.live[0]

    def test_where_all_leave_nothing_is_passed_round(self) -> None:
        world = World("b:1")
        world.handle(MayClaim(), Draining(), LoadSeen("b:1", FULL))
        world.knows(evaluation("e1", BOTH, owner=ME, epoch=1, holders=("a:1", "b:1")))
        assert handovers(world.handle()) == []
        assert world.stored().epoch == 1

    def test_with_nobody_else_a_leaving_node_goes_on(self) -> None:
        world = World()
        world.driving(evaluation("e1", BOTH))
        assert handovers(world.handle(Draining())) == []
        assert world.driver.drives_any()

    def test_a_leaving_successor_passes_on_what_it_would_take_over(self) -> None:
        world = World("b:1", "z:1")
        world.handle(MayClaim(), Draining())
        world.knows(evaluation("e1", BOTH, owner="z:1", holders=("a:1", "z:1")))
        world.live = ("b:1",)
        (asking,) = handovers(world.handle(NodeLost("z:1", blame=True)))
        assert asking.target == "b:1"
        world.handle(HandedOver("b:1", asking.changes, taken=True))
        assert world.stored().owner == "b:1"

    def test_a_stop_gives_up_what_runs_here_without_blame(self) -> None:
        world = World()
        (task,) = tasks_of(world.driving(evaluation("e1")))
        world.report(task, None)
        world.handle(Stopping())
        (state,) = world.store.states("e1")
        assert (state.verdict, state.losses) == (Verdict.PENDING, 0)


class TestFullDisk:
    def full(self) -> tuple[World, HandOver]:
        """A module ended, and that cannot be stored."""
        world = World("b:1")
        (one, _) = sorted(tasks_of(world.driving(evaluation("e1", BOTH))), key=lambda task: task.module)
        world.store.is_full, world.own_load = True, FULL
        (asking,) = handovers(world.report(one))
        return world, asking

    def test_what_it_drives_goes_to_another_with_what_it_could_not_store(self) -> None:
        world, asking = self.full()
        assert asking.target == "b:1"
        assert [record.state.verdict for record in asking.changes.modules] == [Verdict.PASSED]
        world.handle(HandedOver("b:1", asking.changes, taken=True))
        assert not world.driver.drives_any()
        assert handovers(world.handle(Changed(("e1",)))) == []

    def test_what_ended_while_it_was_handed_over_goes_after_it(self) -> None:
        world, asking = self.full()
        world.report(Task("p", "t2", 0, 1))
        (after,) = handovers(world.handle(HandedOver("b:1", asking.changes, taken=True)))
        assert [record.state.module for record in after.changes.modules] == ["t2"]

    def test_where_the_other_dies_it_is_this_nodes_again(self) -> None:
        world, asking = self.full()
        world.handle(HandedOver("b:1", asking.changes, taken=True))
        world.live = ("c:1",)
        world.handle(MayClaim())
        (again,) = handovers(world.handle(NodeLost("b:1", blame=True)))
        assert again.target == "c:1"

    def test_where_nobody_took_it_before_there_was_room_again_it_is_placed_here(self) -> None:
        world, asking = self.full()
        world.store.is_full, world.own_load = False, FREE
        world.handle(HandedOver("b:1", asking.changes, taken=False))
        world.now += 2
        assert world.driver.drives_any()
        world.handle()
        assert {state.module: state.verdict for state in world.store.states("e1")} == {"t1": Verdict.PASSED}
        world.report(Task("p", "t2", 0, 1))
        assert world.stored().finished_at is not None

    def test_what_was_held_back_does_not_make_it_busy(self) -> None:
        world = World()
        (task,) = tasks_of(world.driving(evaluation("e1")))
        world.own_load = FULL
        world.report(task, None, returned=Returned.NO_ARCHIVE)
        world.now += 60
        world.handle()
        assert world.driver.next_due(world.now) == world.now + 1.0

    def test_where_all_disks_are_full_nothing_is_passed_round(self) -> None:
        world = World("b:1")
        world.driving(evaluation("e1", BOTH))
        world.own_load = FULL
        assert handovers(world.handle(LoadSeen("b:1", FULL))) == []
        assert len(handovers(world.handle(LoadSeen("b:1", FREE)))) == 1

    def test_a_worker_whose_disk_is_full_rests(self) -> None:
        world = World()
        (task,) = tasks_of(world.driving(evaluation("e1")))
        assert orders(world.report(task, None, returned=Returned.DISK_FULL)) == {}
        world.now += 1
        assert tasks_of(world.handle()) == [replace(task, attempt=2)]

    def test_alone_it_waits_and_goes_on_once_there_is_room(self) -> None:
        world = World()
        (one, other) = tasks_of(world.driving(evaluation("e1", BOTH)))
        world.store.is_full, world.own_load = True, FULL
        assert world.report(one) == []
        world.store.is_full, world.own_load = False, FREE
        world.report(other)
        assert world.stored().finished_at is not None
        assert {state.verdict for state in world.store.states("e1")} == {Verdict.PASSED}

    def test_a_submission_after_it_is_driven_again(self) -> None:
        world, asking = self.full()
        world.handle(HandedOver("b:1", asking.changes, taken=True))
        world.store.is_full, world.own_load = False, FREE
        assert len(tasks_of(world.driving(evaluation("e2", BOTH)))) == 2


class TestFaults:
    """Of the store, or of a record: what else is to be done goes on."""

    def test_a_store_that_fails_when_a_node_is_lost_only_delays_the_taking_over(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World("z:1")
        world.handle(MayClaim())
        world.knows(evaluation("e1", BOTH, owner="z:1", holders=("a:1", "z:1")))
        world.handle()
        world.live = ()
        with monkeypatch.context() as broken:
            broken.setattr(world.store, "unfinished", fails)
            world.handle(NodeLost("z:1", blame=True))
        assert world.stored().owner == "z:1"
        world.handle()
        assert world.stored().owner == ME

    def test_an_event_that_cannot_be_handled_does_not_keep_the_next_from_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World()
        (one, other) = tasks_of(world.driving(evaluation("e1", BOTH)))
        ended = [AttemptReports(ME, (AttemptReport("e1", task, ME, PASSED),), FREE) for task in (one, other)]
        with monkeypatch.context() as broken:
            broken.setattr(world.store, "unfinished", fails)
            world.handle(NodeLost("b:1", blame=True), *ended)
        assert world.stored().finished_at is not None

    def test_a_record_that_no_store_takes_keeps_the_others_from_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World()
        (one, other) = tasks_of(world.driving(evaluation("e1", BOTH)))
        merge = world.store.merge

        def picky(changes: Changes) -> Changes:
            if any(record.state.module == one.module for record in changes.modules):
                raise OverflowError("Python int too large to convert to SQLite INTEGER")
            return merge(changes)

        monkeypatch.setattr(world.store, "merge", picky)
        reports = tuple(AttemptReport("e1", task, ME, PASSED) for task in (one, other))
        world.handle(AttemptReports(ME, reports, FREE))
        verdicts = {state.module: state.verdict for state in world.store.states("e1")}
        assert verdicts[other.module] is Verdict.PASSED
        assert len(tasks_of(world.driving(evaluation("e2", BOTH)))) == 2

    def test_all_that_is_unfinished_is_looked_at_now_and_then(self) -> None:
        world = World()
        world.handle(MayClaim())
        world.live = ("z:1",)
        world.knows(evaluation("e1", BOTH, owner="z:1", holders=("a:1", "z:1")))
        world.handle()
        world.live = ()
        world.now += 29
        world.handle()
        assert world.stored().owner == "z:1"
        world.now += 2
        world.handle()
        assert world.stored().owner == ME


def fails(*_: object) -> None:
    raise InfrastructureError("disk I/O error")


def test_a_node_that_joins_is_asked_what_it_has() -> None:
    world = World("b:1")
    assert asked(world.handle(NodeJoined("b:1"))) == {"b:1"}


def test_without_anything_held_back_time_passes_in_seconds() -> None:
    world = World()
    assert world.driver.next_due(5.0) == 6.0
    assert not math.isinf(world.driver.next_due(world.now))
