"""What is answered of evaluations that were pruned, and that the list is never older than the records."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from testmesh.errors import NotFoundError
from testmesh.model import Counts, EvaluationStatus, ModuleState, Verdict
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
