"""The driver's thread goes on, and tells who waits what became of it."""

from collections.abc import Iterator

import pytest

from testmesh.clock import SystemClock
from testmesh.errors import ConflictError, InfrastructureError
from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.model import Counts, Evaluation, ModuleResult, Verdict
from testmesh.node.driving.coordinator import Coordinator
from testmesh.node.driving.schedule import Schedule
from testmesh.node.messaging.messages import AttemptReport, AttemptReports, Held, Load, Task, WorkOrder
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation
from tests.support.waiting import until

ME = "a:1"
FREE = Load(4, 0, 0)
PASSED = ModuleResult(Verdict.PASSED, Counts(passed=1))


class Workers:
    """This node alone."""

    def __init__(self) -> None:
        self.orders: list[WorkOrder] = []
        self.errors: list[Exception] = []  # of the next orders

    def run(self, address: str, order: WorkOrder) -> None:
        if self.errors:
            raise self.errors.pop()
        self.orders.append(order)

    def held(self, address: str) -> Held:
        return Held((), FREE)

    def hand_over(self, address: str, changes: Changes) -> None:
        raise AssertionError("there is nobody")

    def own_load(self) -> Load:
        return FREE


class Setup:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.ledger = Ledger(self.store)
        self.workers = Workers()
        self.resolved: list[Evaluation] = []
        schedule = Schedule(LeastLoaded())
        self.coordinator = Coordinator(
            ME, self.ledger, self.workers, schedule, SystemClock(), lambda: (), self.resolved.append
        )
        self.coordinator.start()

    def submitted(self, found: Evaluation) -> Task:
        """Gives the task of its one module."""
        self.coordinator.received(found.id)
        self.ledger.merge(Changes((found,)), publish=True)
        until(lambda: self.workers.orders)
        return self.workers.orders[-1].tasks[0]


@pytest.fixture
def setup() -> Iterator[Setup]:
    found = Setup()
    yield found
    found.coordinator.stop()


def ended(task: Task, of: str = "e1") -> AttemptReports:
    return AttemptReports(ME, (AttemptReport(of, task, ME, PASSED),), FREE)


def test_a_report_is_durable_when_it_is_taken(setup: Setup) -> None:
    task = setup.submitted(evaluation("e1"))
    setup.coordinator.reported(ended(task))
    assert [state.verdict for state in setup.store.states("e1")] == [Verdict.PASSED]
    assert setup.coordinator.wait_idle(30)


def test_what_another_node_drives_is_refused(setup: Setup) -> None:
    with pytest.raises(ConflictError):
        setup.coordinator.reported(ended(Task("p", "test_1.py", 0, 1), of="unknown"))


def test_a_store_that_fails_for_a_moment_does_not_end_the_thread(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    task = setup.submitted(evaluation("e1"))

    def fails(_: str) -> None:
        raise InfrastructureError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(setup.store, "evaluation", fails)
        with pytest.raises(InfrastructureError):
            setup.coordinator.reported(ended(task))
    setup.coordinator.reported(ended(task))
    until(lambda: (found := setup.store.evaluation("e1")) is not None and found.finished_at is not None)


@pytest.mark.parametrize("error", [InfrastructureError("full"), ValueError("a bug")])
def test_an_order_that_fails_for_whatever_reason_is_placed_again(setup: Setup, error: Exception) -> None:
    setup.workers.errors = [error]
    assert setup.submitted(evaluation("e1")).attempt == 2


def test_after_the_stop_reports_are_refused_at_once(setup: Setup) -> None:
    task = setup.submitted(evaluation("e1"))
    setup.coordinator.stop()
    with pytest.raises(ConflictError):
        setup.coordinator.reported(ended(task))
