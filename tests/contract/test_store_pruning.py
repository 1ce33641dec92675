"""What both stores do with evaluations that are pruned: results go, totals stay, on every node alike."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.model import Counts, Evaluation, ModuleState, TestResult, Verdict
from testmesh.node.storage.replica import Changes, ModuleRecord, prune
from testmesh.node.storage.sqlite_store import SqliteStore
from testmesh.node.storage.store import Ended, MemoryStore, ResultStore, Tally
from tests.support import records as some
from tests.support.records import ARCHIVE, evaluation

OTHER_ARCHIVE = "b" * 64


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ResultStore]:
    found: ResultStore = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db")
    yield found
    found.close()


def result(of: str, project: str, module: str, node: str, counts: Counts, verdict: Verdict) -> ModuleRecord:
    tests = (some_test(counts),) if counts.passed else ()
    return ModuleRecord(ModuleState(of, project, module, verdict, 0, 1, node, counts), tests)


def some_test(counts: Counts) -> TestResult:
    return TestResult("t", "passed", longrepr="x" * counts.passed)


def ended(evaluation_id: str, number: int = 1, **fields: Any) -> tuple[Evaluation, list[ModuleRecord]]:
    """Of two projects with three modules, that three nodes ran."""
    of = evaluation(
        evaluation_id, {"p": ["t1", "t2"], f"own-{evaluation_id}": ["t1"]}, number=number, finished_at=9.0, **fields
    )
    found = [
        result(evaluation_id, "p", "t1", "a:1", Counts(3, 1), Verdict.FAILED),
        result(evaluation_id, "p", "t2", "b:1", Counts(2, 0, 1, 1), Verdict.FAILED),
        result(evaluation_id, f"own-{evaluation_id}", "t1", "a:1", Counts(), Verdict.INFRA_FAILED),
    ]
    return of, found


def fill(store: ResultStore, *evaluations: tuple[Evaluation, list[ModuleRecord]]) -> None:
    for of, found in evaluations:
        store.merge(Changes((of,), tuple(found)))


def prune_in(store: ResultStore, evaluation_id: str) -> Changes:
    of = store.evaluation(evaluation_id)
    assert of is not None
    return store.merge(Changes((prune(of, store.states(evaluation_id)),)))


def all_totals(store: ResultStore) -> list[object]:
    nodes = [store.totals_of(node)[:3] for node in ("", "a:1", "b:1", "c:1")]
    return [store.totals(), nodes]


def test_totals_are_the_same_before_and_after(store: ResultStore) -> None:
    fill(store, ended("e1"), ended("e2"), ended("e3"))
    before = all_totals(store)
    assert before[0] == (Counts(15, 3, 3, 3), 4, 3)

    for name in ("e2", "e1"):
        prune_in(store, name)
        assert all_totals(store) == before
    assert store.totals_of("a:1") == (Counts(9, 3), 4, 6, ("e3",))
    assert store.totals_of("b:1")[3] == ("e3",)


def test_only_a_record_without_results_stays_and_no_list_has_it(store: ResultStore) -> None:
    fill(store, ended("e1", 1), ended("e2", 2))
    changes = prune_in(store, "e2")

    stays = store.evaluation("e2")
    assert stays is not None
    assert stays.pruned is not None
    assert changes == Changes((stays,))
    assert store.records("e2") == changes
    assert store.states("e2") == ()
    assert store.record("e2", "p", "t1") is None
    assert list(store.tests("e2", None, None)) == []
    assert store.tallies(["e2"]) == {"e2": {}}
    assert [e.id for e in store.newest(10)] == ["e1"]
    assert [name for name, _ in store.newest_digests(10)] == ["e1"]
    assert [e.id for e in store.naming_archive(ARCHIVE)] == ["e1"]
    assert store.unfinished() == []
    assert store.ended() == [Ended(1, "e1", 9.0)]
    assert store.highest_number() == 2


def test_a_list_goes_on_after_one_that_was_pruned_while_it_was_read(store: ResultStore) -> None:
    fill(store, *(ended(f"e{n}", n, submitted_at=float(n)) for n in (1, 2, 3)))
    prune_in(store, "e2")
    assert [e.id for e in store.newest(10, "e2")] == ["e1"]
    assert [e.id for e in store.newest(1)] == ["e3"]


def test_what_arrives_later_of_one_that_was_pruned_is_not_taken(store: ResultStore) -> None:
    of, found = ended("e1")
    fill(store, (of, found))
    prune_in(store, "e1")
    before = (store.digests(), all_totals(store), store.records("e1"))

    late = ModuleRecord(replace(found[0].state, verdict=Verdict.PASSED, attempt=0), found[0].tests)
    assert store.merge(Changes((of,), (*found, late))) == Changes()
    assert (store.digests(), all_totals(store), store.records("e1")) == before


def test_modules_that_came_before_anything_else_go_too(store: ResultStore) -> None:
    of, found = ended("e1")
    stays = prune(of, [record.state for record in found])
    store.merge(Changes(modules=tuple(found)))
    store.merge(Changes((stays,)))
    fresh = MemoryStore()
    fresh.merge(Changes((stays,)))
    assert (store.records("e1"), store.digests(), all_totals(store)) == (
        fresh.records("e1"),
        fresh.digests(),
        all_totals(fresh),
    )


def test_of_two_nodes_that_pruned_the_one_that_knew_more_stands(store: ResultStore) -> None:
    of, found = ended("e1")
    less, more = (prune(of, [record.state for record in found[:count]]) for count in (1, 3))
    store.merge(Changes((less,)))
    assert store.merge(Changes((more,))) == Changes((more,))
    assert store.merge(Changes((less,))) == Changes()
    assert store.totals() == (Counts(5, 1, 1, 1), 2, 1)
    assert store.totals_of("b:1") == (Counts(2, 0, 1, 1), 1, 1, ())


def test_archives_are_released_once_only_pruned_evaluations_named_them(store: ResultStore) -> None:
    fill(store, ended("e1"), ended("e2", tests_archive=OTHER_ARCHIVE))
    assert store.released_archives() == set()
    prune_in(store, "e2")
    assert store.released_archives() == {OTHER_ARCHIVE}
    prune_in(store, "e1")
    assert store.released_archives() == {ARCHIVE, OTHER_ARCHIVE}
    fill(store, ended("e3"))
    assert store.released_archives() == {OTHER_ARCHIVE}


def test_the_highest_number_is_that_of_all(store: ResultStore) -> None:
    assert store.highest_number() == 0
    fill(store, ended("e1", 4), ended("e2", 7))
    assert store.highest_number() == 7
    assert store.ended() == [Ended(4, "e1", 9.0), Ended(7, "e2", 9.0)]
    store.merge(Changes((ended("e2", 5)[0],)))
    assert store.highest_number() == 5
    assert store.tallies(["e1"])["e1"]["p"] == Tally(Counts(5, 1, 1, 1), spoilt=False, started=True, ended=2)


@given(st.lists(some.changes, max_size=5), st.sets(st.sampled_from(["e1", "e2", "e3"])), st.randoms())
@settings(max_examples=60, deadline=None)
def test_totals_never_change_by_pruning_and_all_orders_come_to_the_same(
    merges: list[Changes], names: set[str], rng: Random
) -> None:
    first, second = MemoryStore(), MemoryStore()
    for changes in merges:
        first.merge(changes)
    before = all_totals(first)
    pruned = []
    for name in sorted(names):
        of = first.evaluation(name)
        if of is not None:
            pruned.append(Changes((prune(of, first.states(name)),) if of.pruned is None else (of,)))
            first.merge(pruned[-1])
    assert all_totals(first) == before

    everything = [*merges, *pruned, *merges]
    rng.shuffle(everything)
    for changes in everything:
        second.merge(changes)
    assert second.digests() == first.digests()
    assert all_totals(second) == before
