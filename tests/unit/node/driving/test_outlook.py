"""When evaluations will end, as a node sees it."""

from dataclasses import replace
from typing import Any

import pytest

from testmesh.clock import FakeClock
from testmesh.model import Evaluation, ModulePlan, ModuleState, Project, Source, SourceKind, Verdict
from testmesh.node.driving.history import History
from testmesh.node.driving.outlook import Outlook
from testmesh.node.driving.prediction import FromFile, Prediction
from testmesh.node.messaging.messages import Load
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from tests.support.records import ARCHIVE

OWN = Load(slots=8, running=0, waiting=0, cores=2.0)


def evaluation(evaluation_id: str = "e1", seconds: tuple[float, ...] = (10.0, 4.0), **fields: Any) -> Evaluation:
    """A project of modules t0, t1, … with these estimates; its contents are c0, c1, …"""
    plans = tuple(ModulePlan(f"t{n}", content=f"c{n}", estimate_s=wall) for n, wall in enumerate(seconds))
    source = Source(SourceKind.ZIP, "upload", archive=ARCHIVE, projects=(Project("p", "p", plans),))
    return Evaluation(evaluation_id, 100.0, "a:1", fields.pop("sources", (source,)), **fields)


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.ledger = Ledger(self.store)
        self.load = OWN
        self.outlook = Outlook(self.ledger, History(self.store), lambda: self.load, self.clock)

    def merge(self, *evaluations: Evaluation) -> None:
        self.ledger.merge(Changes(evaluations), publish=True)

    def tell(self, module: str, verdict: Verdict, of: str = "e1", **fields: Any) -> None:
        state = ModuleState(of, "p", module, verdict, **fields)
        self.ledger.merge(Changes(modules=(ModuleRecord(state),)), publish=True)

    def left(self, evaluation_id: str = "e1") -> float | None:
        found = self.store.evaluation(evaluation_id)
        assert found is not None
        return self.outlook.seconds_left(found, self.store.states(evaluation_id))


@pytest.fixture
def world() -> World:
    found = World()
    found.merge(evaluation())
    return found


def test_it_falls_while_modules_run_and_end(world: World) -> None:
    assert world.left() == 10.0
    world.tell("t0", Verdict.RUNNING, attempt=1)
    world.clock.advance(7.0)
    assert world.left() == 4.0  # the other one waits
    world.tell("t1", Verdict.RUNNING, attempt=1)
    world.clock.advance(1.0)
    assert world.left() == 3.0
    world.tell("t1", Verdict.PASSED, attempt=1)
    assert world.left() == 2.0
    world.tell("t0", Verdict.FAILED, attempt=1)
    assert world.left() == 0.0


def test_another_attempt_begins_anew(world: World) -> None:
    world.tell("t0", Verdict.RUNNING, attempt=1)
    world.clock.advance(7.0)
    world.tell("t0", Verdict.RUNNING, attempt=1, detail="told again")
    assert world.left() == 4.0
    world.tell("t0", Verdict.RUNNING, attempt=2)
    assert world.left() == 10.0


def test_a_module_that_runs_longer_than_expected_is_expected_to_go_on(world: World) -> None:
    world.tell("t0", Verdict.RUNNING, attempt=1)
    world.tell("t1", Verdict.RUNNING, attempt=1)
    world.clock.advance(40.0)
    assert world.left() == 10.0


def test_no_clock_of_another_node_matters(world: World) -> None:
    world.tell("t0", Verdict.RUNNING, attempt=1, began_at=world.clock.wall() + 9e9)
    world.clock.jump(-1e6)
    world.clock.advance(3.0)
    assert world.left() == 7.0


def test_what_ran_before_this_node_began_is_expected_to_take_all_its_time(world: World) -> None:
    world.tell("t0", Verdict.RUNNING, attempt=1)
    world.clock.advance(7.0)
    again = Outlook(world.ledger, History(world.store), lambda: OWN, world.clock)
    found = world.store.evaluation("e1")
    assert found is not None
    assert again.seconds_left(found, world.store.states("e1")) == 10.0


@pytest.mark.parametrize("over", [{"finished_at": 9.0}, {"cancelled": True}])
def test_of_what_is_over_nothing_is_told(world: World, over: dict[str, Any]) -> None:
    assert world.outlook.seconds_left(evaluation(**over), ()) is None


def test_what_was_not_fetched_yet_cannot_be_told(world: World) -> None:
    missing = Source(SourceKind.REPOSITORY, "owner-repo", url="https://github.com/owner/repo")
    assert world.outlook.seconds_left(evaluation(sources=(*evaluation().sources, missing)), ()) is None


def test_the_whole_mesh_works_on_it(world: World) -> None:
    world.merge(evaluation("e1", (10.0,) * 32))
    many = evaluation("e3", (1.0,) * 80)
    assert world.outlook.seconds_left(many, ()) == 40.0  # a second of processor time each, on two cores
    world.outlook.load_seen("b:1", Load(slots=24, running=0, waiting=0, cores=6.0))
    assert world.outlook.seconds_left(many, ()) == 10.0
    world.outlook.load_seen("c:1", Load(slots=0, running=0, waiting=0, cores=64.0))  # it takes no work
    assert world.outlook.seconds_left(many, ()) == 10.0
    world.outlook.node_gone("b:1")
    assert world.outlook.seconds_left(many, ()) == 40.0
    world.load = replace(OWN, slots=0)
    assert world.outlook.seconds_left(many, ()) is None


def test_unfinished_evaluations_share_the_mesh(world: World) -> None:
    many = evaluation("e1", (1.0,) * 80)
    alone = world.outlook.seconds_left(many, ())
    world.merge(evaluation("e2"))
    shared = world.outlook.seconds_left(many, ())
    assert (alone, shared) == (40.0, 80.0)
    world.merge(evaluation("e2", finished_at=9.0))
    assert world.outlook.seconds_left(many, ()) == alone


def test_nothing_is_kept_of_evaluations_that_have_ended(world: World) -> None:
    world.tell("t0", Verdict.RUNNING, attempt=1)
    world.merge(evaluation(finished_at=9.0))
    assert world.outlook._since == {}
    world.tell("t0", Verdict.PASSED, attempt=1)  # heard of after the end
    assert world.outlook._since == {}


# Predictions ---------------------------------------------------------------------------------


def test_what_another_projects_run_took_is_predicted(world: World) -> None:
    history, plan = History(world.store), ModulePlan("elsewhere.py", content="c1", estimate_s=4.0)
    assert history.predict(plan) == FromFile().predict(plan)
    world.tell("t1", Verdict.PASSED, time=2.5, cpu_time=0.75)
    assert history.predict(plan) == Prediction(2.5, 0.75, known=True)
    assert not history.predict(replace(plan, content="")).known
    assert not history.predict(replace(plan, content="other")).known


def test_the_second_evaluation_of_a_cohort_is_predicted_by_the_first(world: World) -> None:
    world.tell("t0", Verdict.PASSED, time=1.0)
    world.tell("t1", Verdict.TIMEOUT, time=60.0)
    world.merge(evaluation(finished_at=9.0), evaluation("e2"))
    assert world.left("e2") == 60.0
