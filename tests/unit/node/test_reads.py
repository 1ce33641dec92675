"""What is answered of evaluations that were pruned, and that the list is never older than the records."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from testmesh.errors import NotFoundError
from testmesh.model import (
    Counts,
    EvaluationStatus,
    ModulePlan,
    ModuleState,
    Project,
    Source,
    SourceKind,
    TestResult,
    Verdict,
)
from testmesh.node.reads import Reads
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord, prune
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation


class Counting(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.summed: list[str] = []

    def tallies(self, evaluation_ids: Any) -> Any:
        self.summed += evaluation_ids
        return super().tallies(evaluation_ids)


@pytest.fixture
def store() -> Counting:
    found = Counting()
    for number in (1, 2):
        found.merge(Changes((evaluation(f"e{number}", submitted_at=float(number)),)))
    return found


@pytest.fixture
def reads(store: Counting) -> Iterator[Reads]:
    found = Reads("a:1", Ledger(store), cast(Any, None), tuple, store.evaluation, lambda *_: 4.5)
    yield found
    found.stop()


def result(name: str, passed: int, failed: int = 0) -> ModuleRecord:
    counts = Counts(passed, failed)
    return ModuleRecord(ModuleState(name, "p", "test_1.py", Verdict.PASSED, 0, 1, "a:1", counts))


def test_the_list_follows_every_change_and_sums_only_what_changed(store: Counting, reads: Reads) -> None:
    assert [line.id for line in reads.summaries(10, None)] == ["e2", "e1"]
    store.summed.clear()
    assert [line.percent_passed for line in reads.summaries(10, None)] == [None, None]
    assert store.summed == []

    store.merge(Changes(modules=(result("e1", 3, 1),)))
    assert [line.percent_passed for line in reads.summaries(10, None)] == [None, 75.0]
    assert store.summed == ["e1"]

    store.merge(Changes((evaluation("e1", submitted_at=1.0, finished_at=9.0, eval_time=8.0),)))
    assert reads.summaries(10, "e2")[0].status is EvaluationStatus.DONE
    with pytest.raises(NotFoundError):
        reads.summaries(10, "unknown")


def test_the_list_tells_how_far_those_are_that_have_not_ended(store: Counting, reads: Reads) -> None:
    (first,) = reads.summaries(1, None)
    assert first.executed == 0
    assert first.modules == sum(len(project.modules) for project in evaluation("e2").projects) > 0
    store.merge(Changes(modules=(result("e2", 1),)))
    assert reads.summaries(1, None)[0].executed == 1
    store.merge(Changes((evaluation("e2", submitted_at=2.0, finished_at=9.0),)))
    assert (reads.summaries(1, None)[0].executed, reads.summaries(1, None)[0].modules) == (0, 0)


def test_tests_of_one_path_are_together(store: Counting, reads: Reads) -> None:
    plans = (ModulePlan("test_1.py"), ModulePlan("test_2.py"))
    projects = tuple(Project(name, name, plans) for name in ("p", "q"))
    source = Source(SourceKind.ZIP, "class", archive="0" * 64, projects=projects)
    store.merge(Changes((evaluation("e3", submitted_at=3.0, sources=(source,)),)))
    counts = Counts(1)
    states = [
        ModuleState("e3", name, path, Verdict.PASSED, 0, 1, "a:1", counts)
        for name, path in (("p", "test_1.py"), ("p", "test_2.py"), ("q", "test_1.py"))
    ]
    tests = (TestResult("t", "passed"),)
    store.merge(Changes(modules=tuple(ModuleRecord(state, tests) for state in states)))
    found = [(part.module, part.project, part.tests) for part in reads.tests_by_module("e3")]
    assert found == [("test_1.py", "p", tests), ("test_1.py", "q", tests), ("test_2.py", "p", tests)]
    with pytest.raises(NotFoundError):
        reads.tests_by_module("e9")


def test_one_that_was_pruned_is_not_found_and_the_answer_says_why(store: Counting, reads: Reads) -> None:
    record = result("e1", 3)
    ended = replace(evaluation("e1", submitted_at=1.0), finished_at=9.0)
    store.merge(Changes((ended,), (record,)))
    before = reads.totals()
    store.merge(Changes((prune(ended, [record.state]),)))

    for ask in (reads.view, reads.known, lambda name: reads.tests(name, None, None)):
        with pytest.raises(NotFoundError, match=r"e1 was pruned.*MESH_KEEP_EVALUATIONS"):
            ask("e1")
    with pytest.raises(NotFoundError, match="No live node knows"):
        reads.known("e9")
    assert [line.id for line in reads.summaries(10, None)] == ["e2"]
    assert [view.evaluation.id for view in reads.newest_views(10)] == ["e2"]
    overall, (node,) = reads.totals()
    assert overall == before[0]
    assert node == replace(before[1][0], evaluations=())
    assert before[1][0].evaluations == ("e1",)


def test_how_long_it_will_take_is_told_unless_it_waits_for_its_files(store: Counting, reads: Reads) -> None:
    assert reads.view("e1").seconds_left == 4.5
    store.merge(Changes((evaluation("e1", submitted_at=1.0, holders=("b:1",)),)))
    view = reads.view("e1")
    assert (view.waiting_for, view.seconds_left) == (("b:1",), None)
