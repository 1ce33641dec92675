"""What an owner decides, case by case."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.load_balance.policy import NodeLoad
from testmesh.model import Counts, Evaluation, ModulePlan, ModuleResult, ModuleState, Source, SourceKind, Verdict
from testmesh.node.messages import AttemptReport, Task, WorkOrder
from testmesh.node.replica import Changes, ModuleRecord
from testmesh.node.schedule import MAX_LOSSES, MAX_NODE_FAILURES, Schedule
from testmesh.node.store import MemoryStore
from tests.support.records import evaluation

A, B, C, D = (NodeLoad(f"{name}:1", 4, 0) for name in "abcd")
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
    def test_modules_without_a_state_get_a_pending_one(self) -> None:
        schedule = Schedule(LeastLoaded())
        created = schedule.update(evaluation("e1", {"p": ["t1", "t2"], "q": ["t1"]}, epoch=2), [])
        assert [record.state for record in created] == [
            ModuleState("e1", "p", "t1", epoch=2),
            ModuleState("e1", "p", "t2", epoch=2),
            ModuleState("e1", "q", "t1", epoch=2),
        ]
        assert schedule.update(evaluation("e1", {"p": ["t1", "t2"], "q": ["t1"]}, epoch=2), []) == []

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

        created = schedule.update(evaluation("e1", {"r": ["t"]}), [])

        assert only(created).project == "r"
        assert not schedule.is_complete("e1")

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
        assert schedule.reported(ended(task)) == []
        assert schedule.lost("a:1") == []
        schedule.unplaced("e1", [task])
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
        ((_, order),) = schedule.place([replace(A, assigned=A.room - 1)], 0)
        assert len(order.tasks) == 1

    def test_evaluations_take_turns(self) -> None:
        large, small = evaluation("large", {"p": [f"t{i}" for i in range(50)]}), evaluation("small", {"p": ["a", "b"]})
        counts: Counter[str] = Counter()
        for _, order in driving(large, small).place([replace(A, slots=4)], 0):
            counts[order.evaluation.id] += len(order.tasks)
        assert counts == {"large": 4, "small": 2}

    def test_within_one_the_modules_with_most_tests_go_first(self) -> None:
        plans = tuple(ModulePlan(f"t{n}", n) for n in (1, 9, 5))
        base = evaluation()
        source = replace(base.sources[0], projects=(replace(base.sources[0].projects[0], modules=plans),))
        ((_, order),) = driving(replace(base, sources=(source,))).place([NodeLoad("a:1", 1, 0)], 0)
        assert [task.module for task in order.tasks] == ["t9", "t5"]

    def test_an_order_that_did_not_arrive_is_placed_anew_under_another_number(self) -> None:
        schedule = one()
        _, first = placed(schedule, A)
        schedule.unplaced("e1", [first])
        assert schedule.placed_by_node() == {}
        assert placed(schedule, B) == ("b:1", replace(first, attempt=2))

    def test_an_order_that_arrived_after_all_is_not_placed_anew(self) -> None:
        """Its answer was lost: the worker says that it began, before or after the owner gave it up."""
        for late in (True, False):
            schedule = one()
            _, task = placed(schedule, A)
            if late:
                schedule.unplaced("e1", [task])
            schedule.reported(began(task))
            schedule.unplaced("e1", [task])
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

        running = only(schedule.reported(began(task)))
        assert (running.verdict, running.node, running.attempt) == (Verdict.RUNNING, "a:1", 1)

        (record,) = schedule.reported(ended(task, FAILED))
        assert record.state == ModuleState(
            "e1", "p", "test_1.py", Verdict.FAILED, 0, 1, "a:1", FAILED.counts, 0.7, "3.11"
        )
        assert schedule.is_complete("e1")
        assert schedule.placed_by_node() == {}

    def test_the_first_end_stands_whatever_comes_later(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        schedule.reported(ended(task, PASSED))
        for late in (ended(task, FAILED), began(task), failed(task), ended(replace(task, attempt=2), FAILED)):
            assert schedule.reported(late) == []
        assert schedule.lost("a:1") == []

    def test_the_end_may_come_before_the_beginning(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        assert only(schedule.reported(ended(task))).verdict is Verdict.PASSED
        assert schedule.reported(began(task)) == []

    def test_an_attempt_that_was_given_up_may_still_be_the_first_to_end(self) -> None:
        schedule = one()
        _, first = placed(schedule, A)
        schedule.lost("a:1")
        placed(schedule, B)

        state = only(schedule.reported(ended(first)))

        assert (state.verdict, state.attempt, state.node) == (Verdict.PASSED, first.attempt, "a:1")
        assert schedule.placed_by_node() == {}

    def test_the_beginning_of_an_attempt_that_was_given_up_says_nothing(self) -> None:
        schedule = one()
        _, first = placed(schedule, A)
        schedule.lost("a:1")
        assert schedule.reported(began(first)) == []
        _, second = placed(schedule, B)
        assert schedule.reported(began(first)) == []
        assert schedule.placed_by_node() == {"b:1": 1}
        assert only(schedule.reported(began(second, "b:1"))).node == "b:1"

    @pytest.mark.parametrize(
        "task", [Task("p", "other.py", 0, 1), Task("other", "test_1.py", 0, 1)], ids=["module", "project"]
    )
    def test_reports_of_what_is_unknown_are_discarded(self, task: Task) -> None:
        schedule = one()
        assert schedule.reported(ended(task)) == schedule.reported(began(task)) == []
        assert schedule.reported(replace(ended(task), evaluation="other")) == []


class TestFailingNodes:
    def test_a_module_that_failed_by_the_nodes_fault_is_tried_elsewhere(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        schedule.reported(began(task))

        waiting = only(schedule.reported(failed(task)))

        assert (waiting.verdict, waiting.losses) == (Verdict.PENDING, 0)
        assert placed(schedule, A, replace(B, assigned=3))[0] == "b:1"

    def test_after_three_nodes_it_is_infra_failed_with_what_the_last_one_said(self) -> None:
        schedule = one()
        nodes = []
        for _ in range(MAX_NODE_FAILURES):
            address, task = placed(schedule, A, B, C, D)
            nodes.append(address)
            state = only(schedule.reported(failed(task, address)))
        assert (state.verdict, state.detail) == (Verdict.INFRA_FAILED, "the disk is full")
        assert len(set(nodes)) == MAX_NODE_FAILURES
        assert schedule.is_complete("e1")

    def test_a_report_that_comes_twice_counts_once(self) -> None:
        schedule = one()
        _, task = placed(schedule, A)
        for _ in range(5):
            schedule.reported(failed(task))
            schedule.reported(began(task))
        assert placed(schedule, A, B) == ("b:1", replace(task, attempt=2))

    def test_the_fault_of_an_older_attempt_does_not_matter(self) -> None:
        schedule = one()
        _, first = placed(schedule, A)
        schedule.lost("a:1")
        placed(schedule, B)
        assert schedule.reported(failed(first)) == []
        assert schedule.placed_by_node() == {"b:1": 1}

    def test_a_final_infra_failed_is_not_tried_again(self) -> None:
        """E.g. a requirement that the service's policy refuses."""
        schedule = one()
        _, task = placed(schedule, A)
        assert only(schedule.reported(ended(task, INFRA))).verdict is Verdict.INFRA_FAILED


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
        store.merge(Changes(modules=tuple(schedule.reported(began(task)))))
        store.merge(Changes(modules=tuple(schedule.lost("a:1"))))
        (state,) = store.states("e1")
        assert (state.verdict, state.attempt, state.losses) == (Verdict.PENDING, 2, 1)

        _, task = placed(schedule, B)
        store.merge(Changes(modules=tuple(schedule.reported(began(task, "b:1")))))
        store.merge(Changes(modules=tuple(schedule.reported(failed(task, "b:1")))))
        (state,) = store.states("e1")
        assert (state.verdict, state.attempt, state.losses) == (Verdict.PENDING, 3, 1)

    def lose(self, schedule: Schedule, times: int) -> ModuleState | None:
        state = None
        for _ in range(times):
            address, task = placed(schedule, A, B, C, D)
            schedule.reported(began(task, address))
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
        assert only(schedule.reported(ended(task, node=address))).verdict is Verdict.PASSED

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
                store.merge(Changes(modules=tuple(owner.reported(began(task, address)))))
            ((verdict,), epoch) = [state.verdict for state in store.states("e1")], epoch + 1
        assert verdict is Verdict.CRASHED


class TestTakeover:
    RUNNING = ModuleState("e1", "p", "test_1.py", Verdict.RUNNING, 0, 2, "a:1")

    def test_what_runs_on_a_live_node_is_waited_for(self) -> None:
        schedule = one((self.RUNNING,), epoch=1)
        assert schedule.place([A, B], 0) == []
        assert schedule.placed_by_node() == {"a:1": 1}
        assert schedule.placed_before(0.1) == {"a:1": {("e1", Task("p", "test_1.py", 0, 2))}}

        state = only(schedule.reported(ended(Task("p", "test_1.py", 0, 2))))
        assert (state.verdict, state.epoch, state.attempt) == (Verdict.PASSED, 0, 2)

    def test_what_ran_on_the_dead_one_goes_elsewhere_in_the_new_epoch(self) -> None:
        schedule = one((self.RUNNING,), epoch=1)
        assert only(schedule.lost("a:1")).losses == 1
        assert placed(schedule, A, B) == ("b:1", Task("p", "test_1.py", 1, 3))

    def test_a_result_of_an_attempt_that_the_new_owner_never_heard_of_is_taken(self) -> None:
        schedule = one(epoch=1)
        task = Task("p", "test_1.py", 0, 1)
        state = only(schedule.reported(ended(task)))
        assert (state.verdict, state.epoch, state.attempt) == (Verdict.PASSED, 0, 1)

    def test_one_that_begins_meanwhile_is_not_placed_as_well(self) -> None:
        schedule = one((replace(self.RUNNING, verdict=Verdict.PENDING, attempt=0),), epoch=1)
        task = Task("p", "test_1.py", 0, 1)
        assert only(schedule.reported(began(task))).verdict is Verdict.RUNNING
        assert schedule.place([A, B], 0) == []

    def test_one_that_begins_after_it_was_placed_anew_is_left_to_its_end(self) -> None:
        schedule = one((replace(self.RUNNING, verdict=Verdict.PENDING, attempt=0),), epoch=1)
        placed(schedule, B)
        assert schedule.reported(began(Task("p", "test_1.py", 0, 1))) == []
        assert schedule.placed_by_node() == {"b:1": 1}

    def test_numbers_of_attempts_are_never_used_twice(self) -> None:
        first, second = one(epoch=0), one((replace(self.RUNNING, verdict=Verdict.PENDING),), epoch=1)
        assert placed(first, A)[1] != placed(second, A)[1]


class TestCancelling:
    def test_what_has_not_ended_is_cancelled_and_what_has_stays(self) -> None:
        schedule = driving(evaluation("e1", {"p": ["t1", "t2", "t3"]}))
        ((_, order),) = schedule.place([A], 0)
        done, running, _ = order.tasks
        schedule.reported(ended(done))
        schedule.reported(began(running))

        cancelled = schedule.update(evaluation("e1", {"p": ["t1", "t2", "t3"]}, cancelled=True), [])

        assert {r.state.module: r.state.verdict for r in cancelled} == dict.fromkeys(
            {"t1", "t2", "t3"} - {done.module}, Verdict.CANCELLED
        )
        assert schedule.is_complete("e1")
        assert schedule.reported(ended(running)) == []
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
