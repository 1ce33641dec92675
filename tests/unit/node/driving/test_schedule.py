"""What an owner decides, case by case."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.load_balance.policy import NodeLoad
from testmesh.model import Counts, Evaluation, ModulePlan, ModuleResult, ModuleState, Source, SourceKind, Verdict
from testmesh.node.driving.jobs import MAX_LOSSES
from testmesh.node.driving.prediction import Prediction
from testmesh.node.driving.schedule import MAX_NODE_FAILURES, Schedule
from testmesh.node.messaging.messages import AttemptReport, Task, WorkOrder
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation

A, B, C, D = (NodeLoad(f"{name}:1", 4, 0, cores=2.0) for name in "abcd")
PASSED = ModuleResult(Verdict.PASSED, Counts(passed=3), 0.5, "3.11")
FAILED = ModuleResult(Verdict.FAILED, Counts(passed=1, failed=2), 0.7, "3.11")
INFRA = ModuleResult(Verdict.INFRA_FAILED, detail="the disk is full")


def driving(*evaluations: Evaluation, states: tuple[ModuleState, ...] = ()) -> Schedule:
    schedule = Schedule(LeastLoaded())
    for found in evaluations:
        schedule.update(found, [state for state in states if state.evaluation == found.id])
    return schedule


def one(states: tuple[ModuleState, ...] = (), **fields: Any) -> Schedule:
    """A schedule with one module, e1/p/test_1.py."""
    return driving(evaluation("e1", **fields), states=states)


def placed(schedule: Schedule, *nodes: NodeLoad, now: float = 0.0) -> tuple[str, Task]:
    """Place the one module that waits; where, and under what name."""
    ((address, order),) = schedule.place(nodes, now)
    (task,) = order.tasks
    return address, task


def planned(evaluation_id: str, plans: list[ModulePlan], **fields: Any) -> Evaluation:
    """One project with these modules."""
    base = evaluation(evaluation_id)
    project = replace(base.sources[0].projects[0], modules=tuple(plans), **fields)
    return replace(base, sources=(replace(base.sources[0], projects=(project,)),))


@dataclass(frozen=True)
class Seconds:
    """Predicts, as from history."""

    of: Callable[[ModulePlan], float]

    def predict(self, plan: ModulePlan) -> Prediction:
        return Prediction(self.of(plan), self.of(plan), known=True)


def tell(schedule: Schedule, report: AttemptReport, now: float = 0.0) -> list[ModuleRecord]:
    return schedule.reported(report, now, wall=0.0)


def began(task: Task, node: str = "a:1") -> AttemptReport:
    return AttemptReport("e1", task, node)


def ended(task: Task, result: ModuleResult = PASSED, node: str = "a:1") -> AttemptReport:
    return AttemptReport("e1", task, node, result)


def failed(task: Task, node: str = "a:1") -> AttemptReport:
    return AttemptReport("e1", task, node, INFRA, retry=True)


def only(records: list[ModuleRecord]) -> ModuleState:
    (record,) = records
    return record.state


class TestTakingUp:
    def test_modules_without_a_record_are_placed_and_get_none_before_they_begin(self) -> None:
        schedule = Schedule(LeastLoaded())
        taken = evaluation("e1", {"p": ["t1", "t2"], "q": ["t1"]}, epoch=2)
        assert schedule.update(taken, []) == []
        assert schedule.update(taken, []) == []
        ((_, order),) = schedule.place([A], 0)
        assert set(order.tasks) == {Task("p", "t1", 2, 1), Task("p", "t2", 2, 1), Task("q", "t1", 2, 1)}

    def test_results_that_are_there_are_not_run_again(self) -> None:
        done = ModuleState("e1", "p", "test_1.py", Verdict.FAILED, attempt=1)
        schedule = one((done,))
        assert schedule.place([A], 0) == []
        assert schedule.is_complete("e1")

    def test_a_result_of_an_earlier_owner_that_arrives_later_is_not_run_again_either(self) -> None:
        schedule = one()
        placed(schedule, A)
        schedule.update(evaluation(), [ModuleState("e1", "p", "test_1.py", Verdict.FAILED, attempt=1)])
        assert schedule.is_complete("e1")
        assert schedule.placed_by_node() == {}

    def test_sources_that_are_resolved_later_add_their_modules(self) -> None:
        open_ = Source(SourceKind.REPOSITORY, "r")
        schedule = driving(evaluation(sources=(open_,)))
        assert not schedule.is_complete("e1")

        schedule.update(evaluation("e1", {"r": ["t"]}), [])

        assert not schedule.is_complete("e1")
        ((_, order),) = schedule.place([A], 0)
        assert order.tasks == (Task("r", "t", 0, 1),)

    def test_modules_of_a_source_that_was_replaced_are_forgotten(self) -> None:
        schedule = driving(evaluation("e1", {"late": ["t"]}))
        schedule.update(evaluation("e1", {"early": ["t"]}), [])
        ((_, order),) = schedule.place([A], 0)
        assert order.tasks == (Task("early", "t", 0, 1),)

    def test_an_evaluation_without_modules_is_complete_once_its_sources_are_resolved(self) -> None:
        source = Source(SourceKind.REPOSITORY, "r", error="not found")
        assert driving(evaluation(sources=(source,))).is_complete("e1")
        assert not driving(evaluation(sources=(source, Source(SourceKind.REPOSITORY, "s")))).is_complete("e1")

    def test_what_is_dropped_is_driven_no_more(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        assert schedule.drives("e1")
        assert schedule.evaluations() == [evaluation()]

        schedule.drop("e1")

        assert not schedule.drives("e1")
        assert schedule.evaluations() == []
        assert tell(schedule, ended(task)) == []
        assert schedule.lost("a:1") == []
        schedule.unplaced("a:1", "e1", [task])
        schedule.drop("e1")


class TestPlacing:
    def test_an_order_has_the_tasks_of_one_evaluation_for_one_node(self) -> None:
        schedule = driving(evaluation("e1", {"p": ["t1", "t2"]}), evaluation("e2", {"p": ["t1"]}))
        orders = schedule.place([A], 0)
        assert {(address, order.evaluation.id): len(order.tasks) for address, order in orders} == {
            ("a:1", "e1"): 2,
            ("a:1", "e2"): 1,
        }
        assert {task.attempt for _, order in orders for task in order.tasks} == {1}

    def test_what_is_placed_is_not_placed_again(self) -> None:
        schedule = one()
        placed(schedule, A)
        assert schedule.place([A, B], 0) == []

    def test_orders_on_the_way_count_against_a_nodes_room(self) -> None:
        schedule = driving(evaluation("e1", {"p": [f"t{i}" for i in range(20)]}))
        ((_, order),) = schedule.place([A], 0)
        assert len(order.tasks) == A.room
        assert schedule.place([A], 0) == []  # though the node still says that it has nothing

    def test_what_others_placed_counts_too(self) -> None:
        schedule = driving(evaluation("e1", {"p": [f"t{i}" for i in range(20)]}))
        ((_, order),) = schedule.place([replace(A, assigned=A.slots + A.ahead - 1)], 0)
        assert len(order.tasks) == 1

    def test_what_begins_makes_room_for_the_next(self) -> None:
        schedule = driving(evaluation("e1", {"p": [f"t{i}" for i in range(20)]}))
        ((_, order),) = schedule.place([A], 0)
        tell(schedule, began(order.tasks[0]))
        ((_, order),) = schedule.place([replace(A, assigned=4)], 0)
        assert len(order.tasks) == 1

    def test_the_first_order_to_a_node_has_the_whole_record_and_the_next_what_its_tasks_need(self) -> None:
        found = evaluation("e1", {"p": ["t1", "t2"], "q": ["t1"]})
        schedule = driving(found)
        one_core = replace(A, slots=1, cores=1.0)
        ((_, first),) = schedule.place([one_core], 0)
        assert (first.evaluation, first.whole) == (found, True)
        tell(schedule, ended(first.tasks[0]))
        ((_, second),) = schedule.place([one_core], 0)
        (task,) = second.tasks
        (project,) = second.evaluation.projects
        assert not second.whole
        assert (project.name, [plan.path for plan in project.modules]) == (task.project, [task.module])
        assert replace(second.evaluation, sources=found.sources) == found
        schedule.unplaced("a:1", "e1", second.tasks)
        ((_, again),) = schedule.place([one_core], 0)
        assert again.whole, "it may not have the record after all"
        schedule.lost("a:1", blame=False)
        ((_, again),) = schedule.place([one_core], 0)
        assert again.whole, "it may come back with another disk"

    def test_evaluations_take_turns(self) -> None:
        large, small = evaluation("large", {"p": [f"t{i}" for i in range(50)]}), evaluation("small", {"p": ["a", "b"]})
        assert self.given(driving(large, small).place([A], 0)) == {"large": 2, "small": 2}

    def test_one_that_comes_later_is_not_behind_what_has_long_been_waiting(self) -> None:
        schedule = driving(evaluation("large", {"p": [f"t{i}" for i in range(50)]}))
        for _, order in [*schedule.place([A, B], 0)]:
            for task in order.tasks:
                tell(schedule, AttemptReport("large", task, "a:1", PASSED))
        schedule.update(evaluation("small", {"p": ["a", "b"]}), [])
        assert self.given(schedule.place([A], 0)) == {"large": 2, "small": 2}, "nor is the large one behind it"

    def given(self, orders: list[tuple[str, WorkOrder]]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for _, order in orders:
            counts[order.evaluation.id] += len(order.tasks)
        return counts

    def test_a_turn_is_as_long_as_the_work_that_is_placed_in_it(self) -> None:
        long, short = (
            planned("long", [ModulePlan(f"t{i}") for i in range(9)]),
            evaluation("short", {"p": list("abcdef")}),
        )
        schedule = Schedule(LeastLoaded(), Seconds(lambda plan: 2.0 if plan.path.startswith("t") else 0.5))
        schedule.update(long, [])
        schedule.update(short, [])
        assert self.given(schedule.place([replace(A, slots=9, cores=3.0)], 0)) == {"long": 2, "short": 4}

    def test_within_one_the_longest_goes_first(self) -> None:
        schedule = Schedule(LeastLoaded(), Seconds(lambda plan: plan.estimate_s))
        schedule.update(planned("e1", [ModulePlan(f"t{n}", 9 - n, estimate_s=n) for n in (1, 9, 5)]), [])
        ((_, order),) = schedule.place([NodeLoad("a:1", 2, 0)], 0)
        assert [task.module for task in order.tasks] == ["t9", "t5"]

    def test_without_any_prediction_the_module_with_most_tests_goes_first(self) -> None:
        found = planned("e1", [ModulePlan(f"t{n}", n) for n in (1, 9, 5)])
        ((_, order),) = driving(found).place([NodeLoad("a:1", 2, 0)], 0)
        assert [task.module for task in order.tasks] == ["t9", "t5"]

    def test_an_order_that_did_not_arrive_is_placed_anew_under_another_number(self) -> None:
        schedule = one()
        _, first = placed(schedule, A)
        schedule.unplaced("a:1", "e1", [first])
        assert schedule.placed_by_node() == {}
        assert placed(schedule, B) == ("b:1", replace(first, attempt=2))

    def test_an_order_that_arrived_after_all_is_not_placed_anew(self) -> None:
        """Its answer was lost: the worker says that it began, before or after the owner gave it up."""
        for late in (True, False):
            schedule = one()
            _, task = placed(schedule, A)
            if late:
                schedule.unplaced("a:1", "e1", [task])
            tell(schedule, began(task))
            schedule.unplaced("a:1", "e1", [task])
            assert schedule.place([A, B], 0) == []
            assert schedule.placed_by_node() == {"a:1": 1}

    def test_what_each_node_should_have_by_now(self) -> None:
        schedule = driving(evaluation("e1", {"p": ["t1"]}), evaluation("e2", {"p": ["t1"]}))
        schedule.place([replace(A, slots=1, assigned=1)], now=10.0)
        schedule.place([B], now=20.0)
        assert schedule.placed_before(10.0) == {}
        assert schedule.placed_before(15.0) == {"a:1": {("e1", Task("p", "t1", 0, 1))}}
        assert set(schedule.placed_before(25.0)) == {"a:1", "b:1"}


class TestReports:
    def test_a_module_runs_and_ends(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)

        running = only(tell(schedule, began(task)))
        assert (running.verdict, running.node, running.attempt) == (Verdict.RUNNING, "a:1", 1)

        (record,) = tell(schedule, ended(task, FAILED))
        assert record.state == ModuleState(
            "e1", "p", "test_1.py", Verdict.FAILED, 0, 1, "a:1", FAILED.counts, 0.7, "3.11"
        )
        assert schedule.is_complete("e1")
        assert schedule.placed_by_node() == {}

    def test_the_first_end_stands_whatever_comes_later(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        tell(schedule, ended(task, PASSED))
        for late in (ended(task, FAILED), began(task), failed(task), ended(replace(task, attempt=2), FAILED)):
            assert tell(schedule, late) == []
        assert schedule.lost("a:1") == []

    def test_the_end_may_come_before_the_beginning(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        assert only(tell(schedule, ended(task))).verdict is Verdict.PASSED
        assert tell(schedule, began(task)) == []

    def test_an_attempt_that_was_given_up_may_still_be_the_first_to_end(self) -> None:
        schedule = one()
        _, first = placed(schedule, A)
        schedule.lost("a:1")
        placed(schedule, B)

        state = only(tell(schedule, ended(first)))

        assert (state.verdict, state.attempt, state.node) == (Verdict.PASSED, first.attempt, "a:1")
        assert schedule.placed_by_node() == {}

    def test_the_beginning_of_an_attempt_that_was_given_up_says_nothing(self) -> None:
        schedule = one()
        _, first = placed(schedule, A)
        schedule.lost("a:1")
        assert tell(schedule, began(first)) == []
        _, second = placed(schedule, B)
        assert tell(schedule, began(first)) == []
        assert schedule.placed_by_node() == {"b:1": 1}
        assert only(tell(schedule, began(second, "b:1"))).node == "b:1"

    @pytest.mark.parametrize(
        "task", [Task("p", "other.py", 0, 1), Task("other", "test_1.py", 0, 1)], ids=["module", "project"]
    )
    def test_reports_of_what_is_unknown_are_discarded(self, task: Task) -> None:
        schedule = one()
        assert tell(schedule, ended(task)) == tell(schedule, began(task)) == []
        assert tell(schedule, replace(ended(task), evaluation="other")) == []


class TestFailingNodes:
    def test_a_module_that_failed_by_the_nodes_fault_is_tried_elsewhere(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        tell(schedule, began(task))

        waiting = only(tell(schedule, failed(task)))

        assert (waiting.verdict, waiting.losses) == (Verdict.PENDING, 0)
        assert placed(schedule, A, replace(B, assigned=3))[0] == "b:1"

    def test_after_three_nodes_it_is_infra_failed_with_what_the_last_one_said(self) -> None:
        schedule = one()
        nodes = []
        for _ in range(MAX_NODE_FAILURES):
            address, task = placed(schedule, A, B, C, D)
            nodes.append(address)
            state = only(tell(schedule, failed(task, address)))
        assert (state.verdict, state.detail) == (Verdict.INFRA_FAILED, "the disk is full")
        assert len(set(nodes)) == MAX_NODE_FAILURES
        assert schedule.is_complete("e1")

    def test_a_report_that_comes_twice_counts_once(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        for _ in range(5):
            tell(schedule, failed(task))
            tell(schedule, began(task))
        assert placed(schedule, A, B) == ("b:1", replace(task, attempt=2))

    def test_the_fault_of_an_older_attempt_does_not_matter(self) -> None:
        schedule = one()
        _, first = placed(schedule, A)
        schedule.lost("a:1")
        placed(schedule, B)
        assert tell(schedule, failed(first)) == []
        assert schedule.placed_by_node() == {"b:1": 1}

    def test_a_final_infra_failed_is_not_tried_again(self) -> None:
        """E.g. a requirement that the service's policy refuses."""
        schedule = one()
        _, task = placed(schedule, A)
        assert only(tell(schedule, ended(task, INFRA))).verdict is Verdict.INFRA_FAILED


class TestLostNodes:
    def test_what_ran_there_waits_again_and_goes_elsewhere(self) -> None:
        schedule = driving(evaluation("e1", {"p": ["t1", "t2", "t3"]}))
        schedule.place([A, B], 0)
        lost = schedule.lost("a:1")
        assert {record.state.verdict for record in lost} == {Verdict.PENDING}
        assert {record.state.losses for record in lost} == {1}
        assert schedule.placed_by_node() == {"b:1": 1}
        orders = dict(schedule.place([A, B], 0))
        assert set(orders) == {"b:1"}

    def test_only_what_a_restarted_worker_forgot_waits_again(self) -> None:
        schedule = driving(evaluation("e1", {"p": ["t1", "t2"]}))
        ((_, order),) = schedule.place([A], 0)
        assert len(schedule.lost("a:1", {("e1", order.tasks[0])})) == 1
        assert schedule.placed_by_node() == {"a:1": 1}
        assert schedule.lost("a:1", {("e1", order.tasks[0]), ("e2", order.tasks[1])}) == []

    def test_the_merged_record_shows_that_it_waits(self) -> None:
        """`pending` under the lost attempt's number would lose against its `running` in every store."""
        schedule, store = one(), MemoryStore()
        _, task = placed(schedule, A)
        store.merge(Changes(modules=tuple(tell(schedule, began(task)))))
        store.merge(Changes(modules=tuple(schedule.lost("a:1"))))
        (state,) = store.states("e1")
        assert (state.verdict, state.attempt, state.losses) == (Verdict.PENDING, 2, 1)

        _, task = placed(schedule, B)
        store.merge(Changes(modules=tuple(tell(schedule, began(task, "b:1")))))
        store.merge(Changes(modules=tuple(tell(schedule, failed(task, "b:1")))))
        (state,) = store.states("e1")
        assert (state.verdict, state.attempt, state.losses) == (Verdict.PENDING, 3, 1)

    def lose(self, schedule: Schedule, times: int) -> ModuleState | None:
        state = None
        for _ in range(times):
            address, task = placed(schedule, A, B, C, D)
            tell(schedule, began(task, address))
            state = only(schedule.lost(address))
        return state

    def test_after_three_losses_it_runs_alone(self) -> None:
        schedule = driving(evaluation("e1"), evaluation("e2", {"p": []}))
        self.lose(schedule, MAX_LOSSES)
        schedule.update(evaluation("e2", {"p": [f"t{i}" for i in range(30)]}), [])

        orders = schedule.place([A, B, C, D], 0)

        (alone,) = [address for address, order in orders if order.evaluation.id == "e1"]
        assert [order.evaluation.id for address, order in orders if address == alone] == ["e1"]
        assert len(orders) == 4
        assert all(address != alone for address, _ in schedule.place([A, B, C, D], 0)), "nothing joins it later"

    def test_lost_once_more_it_is_crashed_and_all_its_tests_failed(self) -> None:
        schedule = one()
        state = self.lose(schedule, MAX_LOSSES + 1)
        assert state is not None
        assert (state.verdict, state.counts, state.losses) == (Verdict.CRASHED, Counts(failed=1), MAX_LOSSES + 1)
        assert "lost 4 times" in state.detail
        assert schedule.is_complete("e1")

    def test_that_alone_it_ends_is_its_result(self) -> None:
        schedule = one()
        self.lose(schedule, MAX_LOSSES)
        address, task = placed(schedule, A)
        assert only(tell(schedule, ended(task, node=address))).verdict is Verdict.PASSED

    def test_a_node_that_leaves_by_itself_is_nobodys_fault(self) -> None:
        schedule = one()
        for _ in range(10):
            address, _ = placed(schedule, A)
            assert only(schedule.lost(address, blame=False)).losses == 0

    def test_a_change_of_owners_does_not_start_counting_anew(self) -> None:
        """A module that kills its owner every time must not go on for ever."""
        store, epoch, verdict = MemoryStore(), 0, Verdict.PENDING
        while not verdict.is_final:
            assert epoch <= MAX_LOSSES + 1
            owner = Schedule(LeastLoaded())
            store.merge(Changes(modules=tuple(owner.update(evaluation(epoch=epoch), store.states("e1")))))
            store.merge(Changes(modules=tuple(owner.lost("a:1"))))
            if not owner.is_complete("e1"):
                address, task = placed(owner, A)
                store.merge(Changes(modules=tuple(tell(owner, began(task, address)))))
            ((verdict,), epoch) = [state.verdict for state in store.states("e1")], epoch + 1
        assert verdict is Verdict.CRASHED


class TestStarvedTimeouts:
    TIMEOUT = ModuleResult(Verdict.TIMEOUT, Counts(failed=1), 120.0)

    def starved(self, task: Task, node: str = "a:1") -> AttemptReport:
        return AttemptReport("e1", task, node, self.TIMEOUT, starved=True)

    def test_it_runs_once_more_alone_and_what_comes_of_that_stands(self) -> None:
        for result in (PASSED, self.TIMEOUT):
            schedule = one()
            address, task = placed(schedule, A, B)
            assert not task.alone
            state = only(tell(schedule, self.starved(task, address)))
            assert (state.verdict, state.starved, state.losses) == (Verdict.PENDING, 1, 0)
            address, again = placed(schedule, A, B)
            assert again.alone
            assert (again.attempt, again.module) == (2, task.module)
            report = AttemptReport("e1", again, address, result, starved=result is self.TIMEOUT)
            assert only(tell(schedule, report)).verdict is result.verdict
            assert schedule.is_complete("e1")

    def test_nothing_joins_it(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        tell(schedule, self.starved(task))
        placed(schedule, A)
        schedule.update(evaluation("e2", {"p": ["t1", "t2"]}), [])
        assert {address for address, _ in schedule.place([A, B], 0)} == {"b:1"}

    def test_a_report_that_comes_twice_does_not_stand_for_the_second_run(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        tell(schedule, self.starved(task))
        assert tell(schedule, self.starved(task)) == []
        _, again = placed(schedule, A)
        assert tell(schedule, self.starved(task)) == []
        assert only(tell(schedule, ended(again))).verdict is Verdict.PASSED

    def test_one_while_the_processor_was_not_short_stands(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        assert only(tell(schedule, ended(task, self.TIMEOUT))).verdict is Verdict.TIMEOUT

    def test_a_successor_knows_it(self) -> None:
        store, first = MemoryStore(), one()
        _, task = placed(first, A)
        store.merge(Changes(modules=tuple(tell(first, began(task)))))
        store.merge(Changes(modules=tuple(tell(first, self.starved(task)))))
        second = one(store.states("e1"), epoch=1)
        assert placed(second, A)[1].alone

    def test_it_comes_after_all_others_of_its_evaluation(self) -> None:
        """Or a node would be emptied for it in the middle of the work."""
        schedule = driving(evaluation("e1", {"p": [f"t{i}" for i in range(8)]}))
        ((_, order),) = schedule.place([A], 0)
        tell(schedule, self.starved(order.tasks[0]))
        ((_, order),) = schedule.place([replace(A, assigned=3)], 0)
        assert [task.alone for task in order.tasks] == [False]

    def test_after_a_while_it_is_placed_beside_what_another_owner_never_stops_placing(self) -> None:
        schedule = one((ModuleState("e1", "p", "test_1.py", starved=1),))
        nodes = [replace(A, assigned=3), replace(B, assigned=1)]
        assert [schedule.place(nodes, now) for now in (10.0, 14.0)] == [[], []]
        address, task = placed(schedule, *nodes, now=16.0)
        assert (address, task.alone) == ("b:1", True)


class TestSecondAttempts:
    """Node a has two processors, and so has b."""

    def late(self) -> tuple[Schedule, Task, Task]:
        """A module runs at a for long, and was given to b as well."""
        schedule = Schedule(LeastLoaded(), Seconds(lambda _: 1.0))
        schedule.update(evaluation(), [])
        _, first = placed(schedule, A)
        tell(schedule, began(first))
        assert schedule.place([A, B], 1.9) == []
        address, second = placed(schedule, A, B, now=2.1)
        assert (address, second) == ("b:1", replace(first, attempt=2))
        return schedule, first, second

    def test_a_module_has_no_third_one(self) -> None:
        schedule, _, _ = self.late()
        assert schedule.place([A, B, C], 100) == []

    @pytest.mark.parametrize("winner", [0, 1])
    def test_the_first_result_stands_and_the_other_is_discarded(self, winner: int) -> None:
        schedule, *tasks = self.late()
        nodes = ["a:1", "b:1"]
        state = only(tell(schedule, ended(tasks[winner], PASSED, nodes[winner])))
        assert (state.verdict, state.attempt, state.node) == (Verdict.PASSED, winner + 1, nodes[winner])
        assert tell(schedule, ended(tasks[1 - winner], FAILED, nodes[1 - winner])) == []
        assert schedule.placed_by_node() == {}
        assert [record.state for record in schedule.contested("e1")] == [state]

    def test_the_record_goes_on_to_show_the_first(self) -> None:
        schedule, _, second = self.late()
        assert tell(schedule, began(second, "b:1")) == []

    def test_an_attempt_that_is_lost_is_no_loss_while_the_other_lives(self) -> None:
        schedule, first, second = self.late()
        assert schedule.lost("b:1") == [], "the record shows the other one"
        assert schedule.place([A, B], 2.2) == [], "not where it was lost"
        address, third = placed(schedule, A, C, now=2.2)
        assert (address, third.attempt) == ("c:1", 3)
        state = only(schedule.lost("a:1"))
        assert (state.verdict, state.node, state.attempt, state.losses) == (Verdict.PENDING, "c:1", 3, 0)
        assert only(tell(schedule, began(third, "c:1"))).node == "c:1"
        state = only(schedule.lost("c:1"))
        assert (state.verdict, state.attempt, state.losses) == (Verdict.PENDING, 4, 1)
        assert only(tell(schedule, ended(second, node="b:1"))).attempt == 2, "a result is welcome all the same"
        assert tell(schedule, ended(first)) == []

    def test_nor_is_it_crashed_then_however_often_it_was_lost(self) -> None:
        running = ModuleState("e1", "p", "test_1.py", Verdict.RUNNING, 0, 4, "a:1", losses=MAX_LOSSES)
        schedule = one((running,), epoch=1)
        schedule.found("b:1", [("e1", Task("p", "test_1.py", 0, 5))], 5.0)
        assert only(schedule.lost("a:1")).verdict is Verdict.RUNNING
        assert only(schedule.lost("b:1")).verdict is Verdict.CRASHED

    def test_every_record_on_the_way_wins_over_the_one_before_it_in_a_store(self) -> None:
        store = MemoryStore()
        schedule, _, second = self.late()
        for records in (
            [ModuleRecord(ModuleState("e1", "p", "test_1.py", Verdict.RUNNING, 0, 1, "a:1"))],
            tell(schedule, began(second, "b:1")),
            schedule.lost("a:1"),
        ):
            store.merge(Changes(modules=tuple(records)))
        (state,) = store.states("e1")
        assert (state.verdict, state.node, state.attempt) == (Verdict.RUNNING, "b:1", 2)
        store.merge(Changes(modules=tuple(schedule.lost("b:1"))))
        (state,) = store.states("e1")
        assert (state.verdict, state.attempt, state.losses) == (Verdict.PENDING, 3, 1)

    def test_a_fault_of_one_node_leaves_it_to_the_other(self) -> None:
        schedule, first, second = self.late()
        assert tell(schedule, failed(second, "b:1")) == []
        assert only(tell(schedule, failed(first))).verdict is Verdict.PENDING
        assert placed(schedule, A, B, C)[0] == "c:1"

    def test_one_that_was_not_begun_at_a_busy_node_begins_at_a_free_one(self) -> None:
        schedule = Schedule(LeastLoaded(), Seconds(lambda _: 1.0))
        schedule.update(evaluation("e1", {"p": ["t1", "t2"]}), [])
        half = NodeLoad("a:1", 8, 0, cores=0.5)
        ((_, order),) = schedule.place([half], 0)
        runs, waits = order.tasks
        tell(schedule, began(runs))
        free = replace(half, address="b:1")
        assert schedule.place([half, free], 0.1) == [], "its order may be on the way"
        ((address, order),) = schedule.place([half, free], 1.0)
        assert (address, order.tasks) == ("b:1", (replace(waits, attempt=2),))
        state = only(tell(schedule, began(order.tasks[0], "b:1")))
        assert (state.node, state.attempt) == ("b:1", 2)
        assert schedule.placed_by_node() == {"a:1": 1, "b:1": 1}, "it gives way where it waits"
        tell(schedule, began(waits))
        assert schedule.placed_by_node() == {"a:1": 2, "b:1": 1}, "unless that was too late"

    def test_one_that_waits_for_what_hangs_is_begun_elsewhere(self) -> None:
        schedule = driving(planned("e1", [ModulePlan("t1")], environment="x"))
        _, first = placed(schedule, A)
        assert schedule.place([A, B], 6.0) == []
        assert placed(schedule, A, B, now=12.0) == ("b:1", replace(first, attempt=2))

    def test_nothing_is_placed_twice_while_anything_waits_or_of_what_is_held_back(self) -> None:
        schedule = Schedule(LeastLoaded(), Seconds(lambda _: 1.0))
        schedule.update(evaluation(), [])
        _, task = placed(schedule, A)
        tell(schedule, began(task))
        assert schedule.place([A, B], 60, held_back={"e1"}) == []
        schedule.update(evaluation("e2", {"p": [f"t{i}" for i in range(30)]}), [])
        orders = schedule.place([B], 60)
        assert {order.evaluation.id for _, order in orders} == {"e2"}

    def test_what_runs_alone_is_not_placed_twice(self) -> None:
        schedule = Schedule(LeastLoaded(), Seconds(lambda _: 1.0))
        schedule.update(evaluation(), [ModuleState("e1", "p", "test_1.py", starved=1)])
        _, task = placed(schedule, A)
        tell(schedule, began(task))
        assert schedule.place([B], 600) == []

    def test_a_successor_hears_of_the_second_from_its_worker(self) -> None:
        _, first, second = self.late()
        running = ModuleState("e1", "p", "test_1.py", Verdict.RUNNING, 0, 1, "a:1")
        schedule = one((running,), epoch=1)
        schedule.found("b:1", [("e1", second)], 5.0)
        assert schedule.placed_by_node() == {"a:1": 1, "b:1": 1}
        assert schedule.place([A, B, C], 100) == []
        state = only(schedule.lost("a:1"))
        assert (state.verdict, state.node, state.attempt, state.losses) == (Verdict.RUNNING, "b:1", 2, 0)
        assert only(tell(schedule, ended(second, node="b:1"))).attempt == 2
        assert tell(schedule, ended(first)) == []

    def test_or_not_at_all_then_its_result_is_welcome_while_there_is_none(self) -> None:
        _, first, second = self.late()
        running = ModuleState("e1", "p", "test_1.py", Verdict.RUNNING, 0, 1, "a:1")
        schedule = one((running,), epoch=1)
        assert only(tell(schedule, ended(second, node="b:1"))).attempt == 2
        assert tell(schedule, ended(first)) == []

    def test_where_two_owners_let_both_end_the_stores_agree_when_they_meet(self) -> None:
        """Each has the result of another attempt: the lowest stands, whichever comes first."""
        records = []
        for winner in (0, 1):
            schedule, *tasks = self.late()
            records += tell(schedule, ended(tasks[winner], (PASSED, FAILED)[winner], ("a:1", "b:1")[winner]))
        for in_order in (records, records[::-1]):
            store = MemoryStore()
            for record in in_order:
                store.merge(Changes(modules=(record,)))
            assert [state.attempt for state in store.states("e1")] == [1]


class TestLocality:
    def test_a_project_goes_where_its_environment_is_and_another_elsewhere(self) -> None:
        schedule = Schedule(LeastLoaded(), Seconds(lambda _: 0.2))
        where = {}
        for name, environment in (("e1", "x"), ("e2", "y"), ("e3", "x"), ("e4", "y")):
            schedule.update(planned(name, [ModulePlan("t")], environment=environment), [])
            ((where[name], _),) = schedule.place([A, B], 0)
        assert where == {"e1": "a:1", "e2": "b:1", "e3": "a:1", "e4": "b:1"}

    def test_much_of_it_is_worth_another_environment(self) -> None:
        schedule = Schedule(LeastLoaded(), Seconds(lambda _: 1.0))
        schedule.update(planned("e1", [ModulePlan(f"t{n}") for n in range(30)], environment="x"), [])
        assert {address for address, _ in schedule.place([A, B], 0)} == {"a:1", "b:1"}

    def test_a_successor_knows_from_the_records_who_has_what(self) -> None:
        done = ModuleState("e1", "p", "t1", Verdict.PASSED, 0, 1, "b:1")
        schedule = Schedule(LeastLoaded(), Seconds(lambda _: 0.2))
        schedule.update(planned("e1", [ModulePlan("t1"), ModulePlan("t2")], environment="x"), [done])
        assert placed(schedule, A, B)[0] == "b:1"

    def test_an_environment_that_takes_long_keeps_no_other_project_waiting(self) -> None:
        plans = [ModulePlan(f"t{n}") for n in range(40)]
        schedule = driving(planned("slow", plans, environment="x"))
        schedule.place([A, B], 0)
        schedule.update(planned("quick", plans[:8], environment="y"), [])
        orders = schedule.place([A, B], 2.0)
        assert {(address, order.evaluation.id) for address, order in orders} == {("a:1", "quick"), ("b:1", "quick")}

    def test_a_node_that_was_lost_may_come_back_with_nothing(self) -> None:
        schedule = Schedule(LeastLoaded(), Seconds(lambda _: 0.2))
        schedule.update(planned("e1", [ModulePlan("t1"), ModulePlan("t2")], environment="x"), [])
        schedule.place([NodeLoad("b:1", 1, 0)], 0)
        schedule.lost("b:1", blame=False)
        assert schedule.place([A, B], 0)[0][0] == "a:1"


class TestTakeover:
    RUNNING = ModuleState("e1", "p", "test_1.py", Verdict.RUNNING, 0, 2, "a:1")

    def test_what_runs_on_a_live_node_is_waited_for(self) -> None:
        schedule = one((self.RUNNING,), epoch=1)
        assert schedule.place([A, B], 0) == []
        assert schedule.placed_by_node() == {"a:1": 1}
        assert schedule.placed_before(0.1) == {"a:1": {("e1", Task("p", "test_1.py", 0, 2))}}

        state = only(tell(schedule, ended(Task("p", "test_1.py", 0, 2))))
        assert (state.verdict, state.epoch, state.attempt) == (Verdict.PASSED, 0, 2)

    def test_what_ran_on_the_dead_one_goes_elsewhere_in_the_new_epoch(self) -> None:
        schedule = one((self.RUNNING,), epoch=1)
        assert only(schedule.lost("a:1")).losses == 1
        assert placed(schedule, A, B) == ("b:1", Task("p", "test_1.py", 1, 3))

    def test_a_result_of_an_attempt_that_the_new_owner_never_heard_of_is_taken(self) -> None:
        schedule = one(epoch=1)
        task = Task("p", "test_1.py", 0, 1)
        state = only(tell(schedule, ended(task)))
        assert (state.verdict, state.epoch, state.attempt) == (Verdict.PASSED, 0, 1)

    def test_one_that_begins_meanwhile_is_not_placed_as_well(self) -> None:
        schedule = one((replace(self.RUNNING, verdict=Verdict.PENDING, attempt=0),), epoch=1)
        task = Task("p", "test_1.py", 0, 1)
        assert only(tell(schedule, began(task))).verdict is Verdict.RUNNING
        assert schedule.place([A, B], 0) == []

    def test_one_that_begins_after_it_was_placed_anew_is_left_to_its_end(self) -> None:
        schedule = one((replace(self.RUNNING, verdict=Verdict.PENDING, attempt=0),), epoch=1)
        placed(schedule, B)
        assert only(tell(schedule, began(Task("p", "test_1.py", 0, 1)))).node == "a:1"
        assert schedule.placed_by_node() == {"a:1": 1, "b:1": 1}
        assert tell(schedule, began(Task("p", "test_1.py", 1, 1), "b:1")) == []
        assert schedule.lost("a:1")[0].state.node == "b:1", "it is not lost: the other one runs"
        assert schedule.place([A, B], 0) == []

    def test_numbers_of_attempts_are_never_used_twice(self) -> None:
        first, second = one(epoch=0), one((replace(self.RUNNING, verdict=Verdict.PENDING),), epoch=1)
        assert placed(first, A)[1] != placed(second, A)[1]


class TestCancelling:
    def test_what_has_not_ended_is_cancelled_and_what_has_stays(self) -> None:
        schedule = driving(evaluation("e1", {"p": ["t1", "t2", "t3"]}))
        ((_, order),) = schedule.place([A], 0)
        done, running, _ = order.tasks
        tell(schedule, ended(done))
        tell(schedule, began(running))

        cancelled = schedule.update(evaluation("e1", {"p": ["t1", "t2", "t3"]}, cancelled=True), [])

        assert {r.state.module: r.state.verdict for r in cancelled} == dict.fromkeys(
            {"t1", "t2", "t3"} - {done.module}, Verdict.CANCELLED
        )
        assert schedule.is_complete("e1")
        assert tell(schedule, ended(running)) == []
        assert schedule.place([A], 0) == []
        assert schedule.update(evaluation("e1", {"p": ["t1", "t2", "t3"]}, cancelled=True), []) == []

    def test_one_that_was_cancelled_before_it_was_taken_up(self) -> None:
        schedule = Schedule(LeastLoaded())
        records = schedule.update(evaluation(cancelled=True), [])
        assert only(records).verdict is Verdict.CANCELLED
        assert schedule.is_complete("e1")

    def test_with_its_sources_still_open(self) -> None:
        assert driving(evaluation(sources=(Source(SourceKind.REPOSITORY, "r"),), cancelled=True)).is_complete("e1")


def test_an_order_carries_the_newest_record_of_its_evaluation() -> None:
    schedule = one()
    newest = evaluation(holders=("a:1", "b:1"))
    schedule.update(newest, [])
    assert schedule.place([A], 0) == [("a:1", WorkOrder(newest, (Task("p", "test_1.py", 0, 1),)))]
