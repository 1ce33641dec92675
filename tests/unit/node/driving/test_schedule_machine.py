"""Any mixture of lost, doubled and reordered messages, dying nodes and dying owners: every module has one result.

Nodes are often free while something runs long, so that much is given to two of them.
"""

import math
from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.load_balance.policy import NodeLoad, Policy
from testmesh.load_balance.round_robin import RoundRobin
from testmesh.model import Counts, Evaluation, ModulePlan, ModuleResult, Verdict
from testmesh.node.driving.prediction import Prediction
from testmesh.node.driving.schedule import Schedule
from testmesh.node.messaging.messages import AttemptReport, Task, WorkOrder
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation

NODES = ["a:1", "b:1", "c:1"]
Attempt = tuple[str, Task]  # evaluation id, task
Place = tuple[str, str, str]


@dataclass
class Worker:
    alive: bool = True
    held: dict[Attempt, list[AttemptReport]] = field(default_factory=dict)  # with the reports nobody took yet


class OneSecond:
    def predict(self, _: ModulePlan) -> Prediction:
        return Prediction(1.0, 1.0, known=True)


class Grading(RuleBasedStateMachine):
    """One owner at a time, its workers, and the messages between them. The store outlives every owner."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.workers = {address: Worker() for address in NODES}
        self.orders: list[tuple[str, WorkOrder]] = []  # on the way to a worker
        self.reports: list[AttemptReport] = []  # on the way to the owner
        self.ran: dict[tuple[Place, int, int], list[Counts]] = {}  # what each attempt found
        self.results: dict[Place, ModuleRecord] = {}
        self.epoch = 0
        self.runs = 0
        self.now = 0.0

    @initialize(
        policy=st.sampled_from([LeastLoaded, RoundRobin]), sizes=st.lists(st.integers(0, 3), min_size=1, max_size=2)
    )
    def submit(self, policy: type[Policy], sizes: list[int]) -> None:
        self.policy = policy
        self.evaluations: list[Evaluation] = [
            evaluation(f"e{i}", {"p": [f"t{m}" for m in range(size)]}) for i, size in enumerate(sizes)
        ]
        self.begin()

    def begin(self) -> None:
        self.schedule = Schedule(self.policy(), OneSecond())
        for found in self.evaluations:
            self.merge(self.schedule.update(replace(found, epoch=self.epoch), self.store.states(found.id)))
        for node in set(self.schedule.placed_by_node()) - set(self.alive()):
            self.merge(self.schedule.lost(node))

    def alive(self) -> list[str]:
        return [address for address, worker in self.workers.items() if worker.alive]

    def merge(self, records: list[ModuleRecord]) -> None:
        for record in self.store.merge(Changes(modules=tuple(records))).modules:
            if record.state.verdict.is_final:
                assert record.state.key not in self.results, "a result is replaced"
                self.results[record.state.key] = record

    # The owner -------------------------------------------------------------------------------

    @rule(after=st.sampled_from([0.0, 3.0, 9.0]), cores=st.sampled_from([1.0, 4.0, 9.0]))
    def place(self, after: float, cores: float) -> None:
        self.now += after
        loads = [NodeLoad(a, 4, len(self.workers[a].held), cores) for a in self.alive()]
        self.orders += self.schedule.place(loads, self.now)

    @precondition(lambda self: self.reports)
    @rule(data=st.data())
    def a_report_arrives(self, data: st.DataObject) -> None:
        """Any of them, and it may arrive again; the worker keeps it until it is taken."""
        report = data.draw(st.sampled_from(self.reports))
        self.merge(self.schedule.reported(report, self.now, wall=0.0))
        if data.draw(st.booleans()):
            self.reports.remove(report)
            worker = self.workers[report.node]
            if report.result is not None:
                worker.held.pop((report.evaluation, report.task), None)

    @rule(node=st.sampled_from(NODES))
    def look_after(self, node: str) -> None:
        """What a worker should have by now and has not. Orders on the way are younger than that."""
        if self.workers[node].alive:
            on_the_way = {(o.evaluation.id, task) for address, o in self.orders if address == node for task in o.tasks}
            missing = (
                self.schedule.placed_before(self.now + 1).get(node, set()) - set(self.workers[node].held) - on_the_way
            )
            self.merge(self.schedule.lost(node, missing))

    @rule(node=st.sampled_from(NODES))
    def ask(self, node: str) -> None:
        """What a worker says it has: an owner may have taken over, or thought that an order did not arrive."""
        if self.workers[node].alive:
            self.schedule.found(node, tuple(self.workers[node].held), self.now)

    @rule()
    def the_owner_dies_and_another_takes_over(self) -> None:
        self.epoch += 1
        self.begin()

    # The workers -----------------------------------------------------------------------------

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), arrives=st.booleans(), answered=st.booleans())
    def an_order_arrives_or_not(self, data: st.DataObject, arrives: bool, answered: bool) -> None:
        address, order = self.orders.pop(data.draw(st.integers(0, len(self.orders) - 1)))
        worker = self.workers[address]
        arrives = arrives and worker.alive
        if arrives:
            for task in order.tasks:
                worker.held.setdefault((order.evaluation.id, task), [])
        if not (arrives and answered):
            self.schedule.unplaced(address, order.evaluation.id, order.tasks)

    @rule(node=st.sampled_from(NODES), data=st.data())
    def a_module_begins(self, node: str, data: st.DataObject) -> None:
        waiting = [attempt for attempt, reports in self.workers[node].held.items() if not reports]
        if waiting:
            evaluation_id, task = data.draw(st.sampled_from(waiting))
            began = AttemptReport(evaluation_id, task, node)
            if data.draw(st.booleans()):
                self.merge(self.schedule.reported(began, self.now, wall=0.0))
            else:
                self.reports.append(began)

    @rule()
    def all_begins_and_takes_long(self) -> None:
        """So that what is free is given a second attempt."""
        for node in self.alive():
            for (evaluation_id, task), reports in self.workers[node].held.items():
                if not reports:
                    began = AttemptReport(evaluation_id, task, node)
                    self.merge(self.schedule.reported(began, self.now, wall=0.0))
        self.place(9.0, 9.0)

    @rule(node=st.sampled_from(NODES), data=st.data(), how=st.sampled_from(["well", "well", "node failed", "starved"]))
    def a_module_runs(self, node: str, data: st.DataObject, how: str) -> None:
        waiting = [attempt for attempt, reports in self.workers[node].held.items() if not reports]
        if not waiting:
            return
        evaluation_id, task = data.draw(st.sampled_from(waiting))
        self.runs += 1
        counts = Counts(passed=self.runs)  # no two runs find the same
        began = AttemptReport(evaluation_id, task, node)
        if how == "node failed":
            ended = AttemptReport(evaluation_id, task, node, ModuleResult(Verdict.INFRA_FAILED), retry=True)
        elif how == "starved" and not task.alone:
            ended = AttemptReport(evaluation_id, task, node, ModuleResult(Verdict.TIMEOUT), starved=True)
        else:
            ended = AttemptReport(evaluation_id, task, node, ModuleResult(Verdict.PASSED, counts))
            place = (evaluation_id, task.project, task.module)
            self.ran.setdefault((place, task.epoch, task.attempt), []).append(counts)
        self.workers[node].held[evaluation_id, task] = [began, ended]
        self.reports += [began, ended]

    @rule(node=st.sampled_from(NODES))
    def a_worker_hears_what_has_a_result(self, node: str) -> None:
        """And ends what it has of it, but for what has ended."""
        held = self.workers[node].held
        for evaluation_id, task in [attempt for attempt, reports in held.items() if not reports]:
            if (evaluation_id, task.project, task.module) in self.results:
                del held[evaluation_id, task]

    @rule(node=st.sampled_from(NODES), notice=st.booleans())
    def a_worker_restarts(self, node: str, notice: bool) -> None:
        """With all that it held; where nobody notices, only looking after it tells."""
        self.stop(node)
        self.workers[node].alive = True
        if notice:
            self.merge(self.schedule.lost(node))

    @precondition(lambda self: len(self.alive()) > 1)
    @rule(node=st.sampled_from(NODES))
    def a_worker_dies(self, node: str) -> None:
        if self.workers[node].alive:
            self.stop(node)
            self.merge(self.schedule.lost(node))

    def stop(self, node: str) -> None:
        self.workers[node] = Worker(alive=False)
        self.reports = [report for report in self.reports if report.node != node]

    @rule(node=st.sampled_from(NODES))
    def a_worker_comes_back(self, node: str) -> None:
        self.workers[node].alive = True

    # What holds ------------------------------------------------------------------------------

    @invariant()
    def results_are_what_a_valid_attempt_found(self) -> None:
        for place, record in self.results.items():
            state = record.state
            match state.verdict:
                case Verdict.PASSED:
                    assert state.counts in self.ran[place, state.epoch, state.attempt]
                case Verdict.CRASHED:
                    assert state.losses == 4
                case verdict:
                    assert verdict is Verdict.INFRA_FAILED

    @invariant()
    def no_module_has_more_than_two_attempts(self) -> None:
        if hasattr(self, "schedule"):
            placed = [attempt for at_one in self.schedule.placed_before(math.inf).values() for attempt in at_one]
            counts = Counter((evaluation_id, task.project, task.module) for evaluation_id, task in placed)
            assert all(count <= 2 for count in counts.values())
            assert sum(self.schedule.placed_by_node().values()) == len(placed)
            assert not counts.keys() & self.results.keys(), "nothing of what has a result is waited for"

    def teardown(self) -> None:
        """When nothing goes wrong any more, everything ends."""
        if not hasattr(self, "schedule"):
            return
        self.workers["a:1"].alive = True
        for _ in range(60):
            if all(self.schedule.is_complete(found.id) for found in self.evaluations):
                break
            for node in NODES:
                if self.workers[node].alive:
                    self.look_after(node)
            self.place(1.0, 1.0)
            for address, order in self.orders:
                if self.workers[address].alive:
                    for task in order.tasks:
                        self.workers[address].held.setdefault((order.evaluation.id, task), [])
                else:
                    self.schedule.unplaced(address, order.evaluation.id, order.tasks)
            self.orders = []
            for node in self.alive():
                for (evaluation_id, task), reports in list(self.workers[node].held.items()):
                    if not reports:
                        place = (evaluation_id, task.project, task.module)
                        self.runs += 1
                        counts = Counts(passed=self.runs)
                        self.ran.setdefault((place, task.epoch, task.attempt), []).append(counts)
                        result = ModuleResult(Verdict.PASSED, counts)
                        self.reports.append(AttemptReport(evaluation_id, task, node, result))
            for report in self.reports:
                self.merge(self.schedule.reported(report, self.now, wall=0.0))
                self.workers[report.node].held.pop((report.evaluation, report.task), None)
            self.reports = []
        else:
            raise AssertionError("it never ends")
        self.results_are_what_a_valid_attempt_found()
        for found in self.evaluations:
            states = self.store.states(found.id)
            assert [state.module for state in states] == [plan.path for p in found.projects for plan in p.modules]
            assert all(state.verdict.is_final for state in states)
            assert {state.key for state in states} <= set(self.results)


Grading.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestGrading = Grading.TestCase
