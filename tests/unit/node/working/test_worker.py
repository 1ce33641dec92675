"""Orders are taken up once, run, and told of; a bench stands in for the room `testing`."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from testmesh.clock import FakeClock
from testmesh.errors import ArchiveAwayError, DrainingError, EnvironmentFailedError, InfrastructureError, PeerError
from testmesh.model import Counts, Evaluation, ModulePlan, ModuleResult, ModuleState, Project, Source, Verdict
from testmesh.node.messaging.messages import AttemptReport, AttemptReports, Returned, Task, WorkOrder
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from testmesh.node.working.admission import Processors, Sample
from testmesh.node.working.pressure import BlindSensor, FakeSensor, Sensor
from testmesh.node.working.worker import Worker
from testmesh.testing.cancellation import Cancellation
from tests.support.records import evaluation
from tests.support.waiting import until

ME = "me:1"
PASSED = ModuleResult(Verdict.PASSED, Counts(1))


class FakeBench:
    """`runs` of a module end when `finish` has its name, or when they are cancelled."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.prepared: list[str] = []
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.errors: dict[str, Exception] = {}  # by project or module
        self.slow: dict[str, threading.Event] = {}  # by project or module: ends when set
        self.results: dict[str, ModuleResult] = {}  # by module; others pass

    def forget(self, evaluation_id: str) -> None:
        self.forgotten.append(evaluation_id)

    def prepare(self, evaluation: Evaluation, source: Source, project: Project, cancellation: Cancellation) -> str:
        self.prepared.append(project.name)
        if project.name in self.slow:
            self.slow[project.name].wait(30)
        if project.name in self.errors:
            raise self.errors[project.name]
        return project.name

    def run(
        self, prepared: str, module: ModulePlan, cancellation: Cancellation, begun: Callable[[], None]
    ) -> ModuleResult:
        self.started.append(module.path)
        begun()
        if module.path in self.slow:
            finished = self.slow[module.path]
            with cancellation.telling(finished.set):
                finished.wait(30)
            if cancellation.is_set:
                self.cancelled.append(module.path)
        if module.path in self.errors:
            raise self.errors[module.path]
        return self.results.get(module.path, PASSED)

    def environment_failed(self, module: ModulePlan, detail: str) -> ModuleResult:
        if module.path in self.errors:
            raise self.errors[module.path]
        return ModuleResult(Verdict.ENV_FAILED, Counts(failed=module.tests_found), detail=detail)


class Setup:
    def __init__(self, slots: int = 2, sensor: Sensor | None = None) -> None:
        self.ledger = Ledger(MemoryStore())
        self.clock = FakeClock()
        self.bench = FakeBench()
        self.told: list[AttemptReport] = []
        self.owner_is_away = False
        self.disk_is_full = False
        self.worker = Worker(
            ME,
            slots,
            self.bench,
            self.ledger,
            self.report,
            lambda: self.disk_is_full,
            sensor or BlindSensor(2.0),
            clock=self.clock,
        )

    def report(self, owner: str, reports: AttemptReports) -> None:
        if self.owner_is_away:
            raise PeerError("away")
        self.told += reports.reports

    def order(self, found: Evaluation, *tasks: Task) -> WorkOrder:
        """As a node takes one: it knows the evaluation before."""
        self.ledger.merge(Changes((found,)), publish=False)
        return WorkOrder(found, tasks or tuple(Task(p.name, m.path, 0, 1) for p in found.projects for m in p.modules))

    def ended(self) -> dict[str, Verdict]:
        return {r.task.module: r.result.verdict for r in self.told if r.result}

    def idle(self) -> bool:
        load = self.worker.load()
        return not self.worker.held().tasks and (load.running, load.waiting) == (0, 0)


@pytest.fixture
def setup() -> Iterator[Setup]:
    found = Setup()
    yield found
    for event in found.bench.slow.values():
        event.set()
    found.worker.stop()


def test_every_module_of_an_order_is_begun_and_ends(setup: Setup) -> None:
    order = setup.order(evaluation("e1", {"p": ["t1", "t2"], "q": ["t3"]}))
    setup.worker.accept(order)
    until(setup.idle)
    assert setup.ended() == dict.fromkeys(("t1", "t2", "t3"), Verdict.PASSED)
    for task in order.tasks:
        passed = replace(PASSED, began_at=setup.clock.wall())
        assert [r.result for r in setup.told if r.task == task] == [None, passed]
    assert sorted(setup.bench.prepared) == ["p", "q"], "once for all its modules"


def test_what_is_held_already_is_not_run_twice(setup: Setup) -> None:
    setup.bench.slow["t1"] = threading.Event()
    order = setup.order(evaluation("e1", {"p": ["t1"]}))
    for _ in range(3):
        setup.worker.accept(order)
    until(lambda: setup.bench.started == ["t1"])
    setup.bench.slow["t1"].set()
    until(setup.idle)
    assert setup.bench.started == ["t1"]
    assert len(setup.told) == 2


def test_what_has_ended_is_held_until_an_owner_has_its_report(setup: Setup) -> None:
    setup.owner_is_away = True
    order = setup.order(evaluation("e1", {"p": ["t1"]}))
    setup.worker.accept(order)
    until(lambda: setup.bench.started and setup.worker.load().running == 0)
    assert setup.worker.held().tasks == (("e1", order.tasks[0]),)
    setup.worker.accept(order)

    setup.owner_is_away = False
    until(setup.idle)
    assert setup.bench.started == ["t1"]


def test_no_more_than_the_slots_run_at_once(setup: Setup) -> None:
    names = [f"t{i}" for i in range(5)]
    setup.bench.slow = {name: threading.Event() for name in names}
    setup.worker.accept(setup.order(evaluation("e1", {"p": names})))
    until(lambda: setup.worker.load().running == 2)
    assert setup.worker.load().waiting == 3
    for event in setup.bench.slow.values():
        event.set()
    until(setup.idle)
    assert sorted(setup.bench.started) == names


def test_a_slow_preparation_holds_up_its_own_project_only(setup: Setup) -> None:
    setup.bench.slow["slow"] = threading.Event()
    setup.worker.accept(setup.order(evaluation("e1", {"slow": ["t1"], "quick": ["t2"]})))
    setup.worker.accept(setup.order(evaluation("e2", {"another": ["t3"]})))
    until(lambda: setup.ended() == {"t2": Verdict.PASSED, "t3": Verdict.PASSED})
    setup.bench.slow["slow"].set()
    until(setup.idle)
    assert setup.ended()["t1"] is Verdict.PASSED


class TestFaults:
    def told(self, setup: Setup, **errors: Exception) -> dict[str, tuple[Verdict, bool, str]]:
        setup.bench.errors = errors
        setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1", "t2"]})))
        until(setup.idle)
        return {r.task.module: (r.result.verdict, r.retry, r.result.detail) for r in setup.told if r.result}

    def test_requirements_that_cannot_be_installed_are_the_projects_result(self, setup: Setup) -> None:
        found = self.told(setup, p=EnvironmentFailedError("no such version"))
        assert found == dict.fromkeys(("t1", "t2"), (Verdict.ENV_FAILED, False, "no such version"))
        assert setup.bench.started == []

    def test_a_node_that_cannot_prepare_hands_all_back(self, setup: Setup) -> None:
        found = self.told(setup, p=InfrastructureError("the index is away"))
        assert found == dict.fromkeys(("t1", "t2"), (Verdict.INFRA_FAILED, True, "the index is away"))

    def test_an_unforeseen_error_hands_all_back_and_hides_its_words(self, setup: Setup) -> None:
        found = self.told(setup, p=ValueError("internals"))
        assert {(verdict, retry) for verdict, retry, _ in found.values()} == {(Verdict.INFRA_FAILED, True)}
        assert "internals" not in str(found)

    @pytest.mark.parametrize("error", [InfrastructureError("no box"), ValueError("internals")])
    def test_a_node_that_cannot_run_one_module_hands_that_one_back(self, setup: Setup, error: Exception) -> None:
        found = self.told(setup, t1=error)
        assert found["t1"][:2] == (Verdict.INFRA_FAILED, True)
        assert found["t2"][:2] == (Verdict.PASSED, False)

    def test_a_result_that_cannot_be_made_hands_its_module_back(self, setup: Setup) -> None:
        found = self.told(setup, p=EnvironmentFailedError("no such version"), t1=ValueError("unforeseen"))
        assert found["t1"][:2] == (Verdict.INFRA_FAILED, True)
        assert found["t2"][:2] == (Verdict.ENV_FAILED, False)


class TestCancelling:
    ENDS: tuple[Callable[[Evaluation], Evaluation], ...] = (
        lambda e: replace(e, cancelled=True),
        lambda e: replace(e, finished_at=1.0, eval_time=1.0),
    )

    @pytest.mark.parametrize("end", ENDS, ids=["cancelled", "finished"])
    def test_when_an_evaluation_ends_what_runs_and_waits_is_given_up(
        self, setup: Setup, end: Callable[[Evaluation], Evaluation]
    ) -> None:
        names = [f"t{i}" for i in range(4)]
        setup.bench.slow = {name: threading.Event() for name in names}
        found = evaluation("e1", {"p": names})
        setup.worker.accept(setup.order(found))
        until(lambda: setup.worker.load().running == 2)

        setup.ledger.merge(Changes((end(found),)), publish=False)

        until(setup.idle)
        assert len(setup.bench.started) == len(setup.bench.cancelled) == 2
        assert setup.ended() == {}

    def test_another_evaluation_goes_on(self, setup: Setup) -> None:
        setup.bench.slow = {"t1": threading.Event(), "t2": threading.Event()}
        first, second = evaluation("e1", {"p": ["t1"]}), evaluation("e2", {"p": ["t2"]})
        setup.worker.accept(setup.order(first))
        setup.worker.accept(setup.order(second))
        until(lambda: setup.worker.load().running == 2)
        setup.ledger.merge(Changes((replace(first, cancelled=True),)), publish=False)
        until(lambda: setup.worker.load().running == 1)
        setup.bench.slow["t2"].set()
        until(setup.idle)
        assert setup.ended() == {"t2": Verdict.PASSED}

    def test_an_order_that_comes_when_all_is_over_is_not_run(self, setup: Setup) -> None:
        found = evaluation("e1", {"p": ["t1"]})
        order = setup.order(found)
        setup.ledger.merge(Changes((replace(found, cancelled=True),)), publish=False)
        setup.worker.accept(order)
        until(setup.idle)
        assert (setup.bench.started, setup.told) == ([], [])

    def test_what_waits_for_its_preparation_is_not_prepared_any_more(self, setup: Setup) -> None:
        blocking = evaluation("e1", {f"slow{i}": [f"t{i}"] for i in range(20)})
        setup.bench.slow = {project.name: threading.Event() for project in blocking.projects}
        setup.worker.accept(setup.order(blocking))
        found = evaluation("e2", {"late": ["t"]})
        setup.worker.accept(setup.order(found))
        setup.ledger.merge(Changes((replace(found, cancelled=True),)), publish=False)
        for event in setup.bench.slow.values():
            event.set()
        until(setup.idle)
        assert "late" not in setup.bench.prepared

    def test_an_older_attempt_that_has_not_begun_gives_way_to_a_newer_one(self, setup: Setup) -> None:
        setup.bench.slow = {name: threading.Event() for name in ("busy1", "busy2")}
        found = evaluation("e1", {"p": ["busy1", "busy2", "t"]})
        setup.worker.accept(setup.order(found))
        until(lambda: setup.worker.load().running == 2)

        newer = Task("p", "t", 0, 2)
        setup.worker.accept(setup.order(found, newer))
        for event in setup.bench.slow.values():
            event.set()

        until(setup.idle)
        assert setup.bench.started.count("t") == 1
        assert {r.task for r in setup.told if r.task.module == "t"} == {newer}

    def test_an_older_attempt_that_runs_goes_on(self, setup: Setup) -> None:
        setup.bench.slow = {"t": threading.Event()}
        found = evaluation("e1", {"p": ["t"]})
        setup.worker.accept(setup.order(found))
        until(lambda: setup.worker.load().running == 1)
        setup.worker.accept(setup.order(found, Task("p", "t", 0, 2)))
        setup.bench.slow["t"].set()
        until(setup.idle)
        assert setup.bench.cancelled == []
        assert {r.task.attempt for r in setup.told if r.result} == {1, 2}


def test_where_no_live_node_has_the_files_the_modules_are_given_back(setup: Setup) -> None:
    setup.bench.errors = {"p": ArchiveAwayError("No live node has the files.")}
    setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1", "t2"]})))
    until(setup.idle)
    assert [(r.task.module, r.returned, r.retry) for r in setup.told] == [
        ("t1", Returned.NO_ARCHIVE, False),
        ("t2", Returned.NO_ARCHIVE, False),
    ]


def test_what_fails_while_the_disk_is_full_is_given_back() -> None:
    setup = Setup()
    try:
        setup.disk_is_full = True
        setup.bench.errors = {"t1": InfrastructureError("no room")}
        setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1"]})))
        until(setup.idle)
        assert [r.returned for r in setup.told if r.is_over] == [Returned.DISK_FULL]
    finally:
        setup.worker.stop()


class TestLeaving:
    def test_a_draining_node_takes_no_orders_ends_what_runs_and_gives_back_the_rest(self, setup: Setup) -> None:
        setup.bench.slow = {"t1": threading.Event(), "t2": threading.Event()}
        setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1", "t2", "t3"]})))
        until(lambda: setup.worker.load().running == 2)
        setup.worker.drain()
        order = setup.order(evaluation("e2", {"p": ["t4"]}))
        with pytest.raises(DrainingError):
            setup.worker.accept(order)
        assert setup.worker.load().slots == 0
        assert not setup.worker.wait_quiet(0)
        for finished in setup.bench.slow.values():
            finished.set()
        assert setup.worker.wait_quiet(30)
        assert setup.ended() == {"t1": Verdict.PASSED, "t2": Verdict.PASSED}
        assert [r.task.module for r in setup.told if r.returned is Returned.LEAVING] == ["t3"]

    def test_what_is_given_back_while_it_is_prepared_is_told_of_once(self, setup: Setup) -> None:
        setup.bench.slow = {"p": threading.Event()}
        setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1"]})))
        until(lambda: setup.bench.prepared)
        setup.worker.drain()
        setup.bench.slow["p"].set()
        assert setup.worker.wait_quiet(30)
        assert [(r.returned, r.result) for r in setup.told] == [(Returned.LEAVING, None)]
        assert setup.bench.started == []

    def test_stopping_ends_what_runs_and_tells_nobody_a_result(self) -> None:
        setup = Setup()
        setup.bench.slow = {f"t{i}": threading.Event() for i in range(5)}
        setup.worker.accept(setup.order(evaluation("e1", {"p": list(setup.bench.slow)})))
        until(lambda: setup.worker.load().running == 2)
        setup.worker.stop()
        assert sorted(setup.bench.cancelled) == sorted(setup.bench.started)
        assert setup.ended() == {}


class TestSettledByAnotherAttempt:
    """Two attempts of a straggler run at a time; what the other one found counts."""

    def settled(self, setup: Setup, module: str, attempt: int) -> None:
        state = ModuleState("e1", "p", module, Verdict.PASSED, attempt=attempt, node="other:1")
        setup.ledger.merge(Changes(modules=(ModuleRecord(state),)), publish=False)

    def test_what_runs_is_ended_and_nothing_told(self, setup: Setup) -> None:
        setup.bench.slow = {"t1": threading.Event(), "t2": threading.Event()}
        setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1", "t2"]})))
        until(lambda: setup.worker.load().running == 2)
        self.settled(setup, "t1", attempt=2)
        until(lambda: setup.bench.cancelled == ["t1"])
        setup.bench.slow["t2"].set()
        until(setup.idle)
        assert setup.ended() == {"t2": Verdict.PASSED}

    def test_what_waits_is_not_begun(self, setup: Setup) -> None:
        names = ["t1", "t2", "t3"]
        setup.bench.slow = {name: threading.Event() for name in names}
        setup.worker.accept(setup.order(evaluation("e1", {"p": names})))
        until(lambda: setup.worker.load().running == 2)
        (waiting,) = set(names) - set(setup.bench.started)
        self.settled(setup, waiting, attempt=2)
        until(lambda: setup.worker.load().waiting == 0)
        for finished in setup.bench.slow.values():
            finished.set()
        until(setup.idle)
        assert waiting not in setup.bench.started

    def test_an_order_that_comes_afterwards_is_not_run(self, setup: Setup) -> None:
        setup.bench.slow = {"p": threading.Event()}
        order = setup.order(evaluation("e1", {"p": ["t1", "t2"]}), Task("p", "t1", 0, 2), Task("p", "t2", 0, 1))
        self.settled(setup, "t1", attempt=1)
        setup.worker.accept(order)
        setup.bench.slow["p"].set()
        until(setup.idle)
        assert setup.bench.started == ["t2"]
        assert setup.ended() == {"t2": Verdict.PASSED}

    def test_what_runs_still_and_is_not_final_goes_on(self, setup: Setup) -> None:
        setup.bench.slow = {"t1": threading.Event()}
        setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1"]})))
        until(lambda: setup.worker.load().running == 1)
        state = ModuleState("e1", "p", "t1", Verdict.RUNNING, attempt=2, node="other:1")
        setup.ledger.merge(Changes(modules=(ModuleRecord(state),)), publish=False)
        setup.bench.slow["t1"].set()
        until(setup.idle)
        assert setup.ended() == {"t1": Verdict.PASSED}

    def test_what_waits_gives_way_to_a_later_attempt_that_runs(self, setup: Setup) -> None:
        names = ["t1", "t2", "t3"]
        setup.bench.slow = {name: threading.Event() for name in names}
        setup.worker.accept(setup.order(evaluation("e1", {"p": names})))
        until(lambda: setup.worker.load().running == 2)
        (waiting,) = set(names) - set(setup.bench.started)
        state = ModuleState("e1", "p", waiting, Verdict.RUNNING, attempt=2, node="other:1")
        setup.ledger.merge(Changes(modules=(ModuleRecord(state),)), publish=False)
        until(lambda: setup.worker.load().waiting == 0)
        for finished in setup.bench.slow.values():
            finished.set()
        until(setup.idle)
        assert waiting not in setup.bench.started

    def test_a_report_that_waits_for_its_owner_stays(self, setup: Setup) -> None:
        setup.owner_is_away = True
        setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1"]})))
        until(lambda: setup.bench.started and setup.worker.load().running == 0)
        self.settled(setup, "t1", attempt=2)
        assert len(setup.worker.held().tasks) == 1
        setup.owner_is_away = False
        until(setup.idle)
        assert setup.ended() == {"t1": Verdict.PASSED}


class TestOrder:
    def test_modules_run_in_the_order_they_were_given_whatever_project_they_are_of(self) -> None:
        setup = Setup(slots=1)
        try:
            setup.bench.slow = {"first": threading.Event()}
            found = evaluation("e1", {"p": ["first", "t3", "t1"], "q": ["t2", "t4"]})
            named = [("p", "first"), ("q", "t4"), ("p", "t3"), ("q", "t2"), ("p", "t1")]
            setup.worker.accept(setup.order(found, *(Task(project, module, 0, 1) for project, module in named)))
            until(lambda: setup.bench.started == ["first"] and sorted(setup.bench.prepared) == ["p", "q"])
            setup.bench.slow["first"].set()
            until(setup.idle)
            assert setup.bench.started == [module for _, module in named]
        finally:
            setup.worker.stop()

    def test_evaluations_take_turns(self) -> None:
        setup = Setup(slots=1)
        try:
            setup.bench.slow = {"first": threading.Event()}
            setup.worker.accept(setup.order(evaluation("e1", {"p": ["first", "a1", "a2", "a3"]})))
            setup.worker.accept(setup.order(evaluation("e2", {"q": ["b1", "b2"]})))
            until(lambda: setup.bench.started == ["first"] and sorted(setup.bench.prepared) == ["p", "q"])
            setup.bench.slow["first"].set()
            until(setup.idle)
            assert setup.bench.started == ["first", "b1", "a1", "b2", "a2", "a3"]
        finally:
            setup.worker.stop()

    def test_what_must_run_alone_has_nothing_beside_it(self) -> None:
        setup = Setup(slots=10)
        try:
            names = ["before", "alone", "after"]
            setup.bench.slow = {name: threading.Event() for name in names}
            tasks = [Task("p", name, 0, 1, alone=name == "alone") for name in names]
            setup.worker.accept(setup.order(evaluation("e1", {"p": names}), *tasks))
            until(lambda: setup.bench.started == ["before"])
            for started, name in enumerate(names, 1):
                until(lambda started=started: len(setup.bench.started) == started)  # type: ignore[misc]
                assert setup.worker.load().running == 1
                setup.bench.slow[name].set()
            until(setup.idle)
            assert setup.bench.started == names
        finally:
            setup.worker.stop()


class TestPressure:
    def test_on_an_idle_machine_far_more_run_than_it_has_processors(self) -> None:
        setup = Setup(slots=50, sensor=FakeSensor(cores=1.0))
        try:
            names = [f"t{number}" for number in range(12)]
            setup.bench.slow = {name: threading.Event() for name in names}
            setup.worker.accept(setup.order(evaluation("e1", {"p": names})))
            until(lambda: setup.worker.load().running == 12)
            assert setup.worker.load().cores == 1.0
            for finished in setup.bench.slow.values():
                finished.set()
            until(setup.idle)
        finally:
            setup.worker.stop()

    def test_on_a_busy_one_the_rest_starts_when_that_is_over(self) -> None:
        sensor = FakeSensor(cores=1.0)
        sensor.keep_busy(3.0)
        sensor.own = 1
        setup = Setup(slots=50, sensor=sensor)
        try:
            setup.bench.slow = {name: threading.Event() for name in ("t1", "t2", "t3")}
            setup.worker.accept(setup.order(evaluation("e1", {"p": ["t1", "t2", "t3"]})))
            until(lambda: setup.worker.load().running == 1)
            seen = sensor.reads
            until(lambda: sensor.reads > seen + 3)
            assert setup.worker.load().running == 1, "it was measured again and again meanwhile"
            sensor.keep_busy(0.0)
            until(lambda: setup.worker.load().running == 3)
            for finished in setup.bench.slow.values():
                finished.set()
            until(setup.idle)
        finally:
            setup.worker.stop()

    def test_a_sensor_that_fails_does_not_stop_the_work(self) -> None:
        class Broken(FakeSensor):
            def read(self) -> Sample:
                raise OSError("no such file")

        setup = Setup(slots=3, sensor=Broken(cores=4.0))
        try:
            names = [f"t{number}" for number in range(6)]
            setup.worker.accept(setup.order(evaluation("e1", {"p": names})))
            until(setup.idle)
            assert sorted(setup.bench.started) == names
        finally:
            setup.worker.stop()


class TestStarved:
    """A module over its time, on a machine whose processor was short all along."""

    class Short(FakeSensor):
        def read(self) -> Sample:
            now = time.monotonic()
            return Sample(now, (Processors(self.cores, self.cores * now, 0.3 * self.cores * now),))

    def starved(self, sensor: Sensor, verdict: Verdict, *names: str) -> list[bool]:
        """Of modules that all run at the same time."""
        setup = Setup(slots=10, sensor=sensor)
        try:
            setup.bench.slow = {name: threading.Event() for name in names}
            setup.bench.results = {name: ModuleResult(verdict) for name in names}
            setup.worker.accept(setup.order(evaluation("e1", {"p": list(names)})))
            until(lambda: setup.worker.load().running == len(names))
            for finished in setup.bench.slow.values():
                finished.set()
            until(setup.idle)
            return [report.starved for report in setup.told if report.result]
        finally:
            setup.worker.stop()

    def test_beside_others_it_was_starved(self) -> None:
        assert self.starved(self.Short(cores=4.0), Verdict.TIMEOUT, "t1", "t2") == [True, True]

    def test_by_itself_it_was_not(self) -> None:
        assert self.starved(self.Short(cores=4.0), Verdict.TIMEOUT, "t1") == [False]

    def test_nor_where_it_failed_for_another_reason(self) -> None:
        assert self.starved(self.Short(cores=4.0), Verdict.FAILED, "t1", "t2") == [False, False]

    @pytest.mark.parametrize("sensor", [BlindSensor(4.0), FakeSensor(4.0)], ids=["blind", "idle"])
    def test_nor_where_no_shortage_was_seen(self, sensor: Sensor) -> None:
        assert self.starved(sensor, Verdict.TIMEOUT, "t1", "t2") == [False, False]
