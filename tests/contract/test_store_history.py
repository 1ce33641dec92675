"""What both stores remember of how long test files took."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.model import Evaluation, ModulePlan, ModuleState, Project, Source, SourceKind, Verdict
from testmesh.node.storage import timings
from testmesh.node.storage.replica import Changes, ModuleRecord, prune
from testmesh.node.storage.sqlite_store import SqliteStore
from testmesh.node.storage.store import MemoryStore, ResultStore
from testmesh.node.storage.timings import Timing
from tests.support import records as some
from tests.support.records import ARCHIVE

Make = Callable[[], ResultStore]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes an empty store, of a kind."""
    made: list[ResultStore] = []

    def new() -> ResultStore:
        is_memory = request.param == "memory"
        made.append(MemoryStore() if is_memory else SqliteStore(tmp_path / f"{len(made)}.db"))
        return made[-1]

    yield new
    for found in made:
        found.close()


@pytest.fixture
def store(make: Make) -> ResultStore:
    return make()


def evaluation(evaluation_id: str = "e1", contents: tuple[str, ...] = ("c0", "c1"), **fields: Any) -> Evaluation:
    """A project with a module of each content: t0, t1, …"""
    plans = tuple(ModulePlan(f"t{number}", content=content) for number, content in enumerate(contents))
    source = Source(SourceKind.ZIP, "upload", archive=ARCHIVE, projects=(Project("p", "p", plans),))
    return Evaluation(evaluation_id, 100.0, "a:1", (source,), **fields)


def ran(module: str, wall: float, cpu: float = 0.5, of: str = "e1", **fields: Any) -> Changes:
    verdict = fields.pop("verdict", Verdict.PASSED)
    state = ModuleState(of, "p", module, verdict, 0, fields.pop("attempt", 1), "a:1", time=wall, cpu_time=cpu, **fields)
    return Changes(modules=(ModuleRecord(state),))


def test_a_result_is_remembered_by_its_content(store: ResultStore) -> None:
    store.merge(Changes((evaluation(),)))
    assert store.timing("c0") is None

    store.merge(ran("t0", 4.0, 0.25))
    assert store.timing("c0") == Timing(4.0, 0.25, 1)
    assert store.timing("c1") is None


def test_it_is_learned_from_records_that_come_with_their_evaluation(store: ResultStore) -> None:
    store.merge(Changes((evaluation(),), ran("t1", 3.0).modules))
    assert store.timing("c1") == Timing(3.0, 0.5, 1)


def test_runs_of_equal_files_are_averaged_and_newer_ones_weigh_more(store: ResultStore) -> None:
    store.merge(Changes(tuple(evaluation(f"e{number}") for number in range(20))))
    store.merge(ran("t0", 1.0, 1.0, of="e0"))
    store.merge(ran("t0", 3.0, 2.0, of="e1"))
    assert store.timing("c0") == Timing(2.0, 1.5, 2)

    store.merge(Changes(modules=tuple(m for n in range(2, 20) for m in ran("t0", 10.0, 5.0, of=f"e{n}").modules)))
    found = store.timing("c0")
    assert found is not None
    assert found.runs == 20
    assert 9.9 < found.wall <= 10.0
    assert 4.9 < found.cpu <= 5.0


@pytest.mark.parametrize("verdict", Verdict)
def test_only_runs_that_took_their_time_count(store: ResultStore, verdict: Verdict) -> None:
    store.merge(Changes((evaluation(),)))
    store.merge(ran("t0", 2.0, verdict=verdict))
    telling = {Verdict.PASSED, Verdict.FAILED, Verdict.NO_TESTS, Verdict.TIMEOUT}
    assert (store.timing("c0") is not None) == (verdict in telling)


def test_what_is_merged_again_is_not_counted_again(store: ResultStore) -> None:
    store.merge(Changes((evaluation(),)))
    for _ in range(3):
        store.merge(ran("t0", 4.0))
        store.merge(ran("t0", 9.0, attempt=2))  # not the result that stands
    assert store.timing("c0") == Timing(4.0, 0.5, 1)


def test_modules_without_a_known_content_teach_nothing(store: ResultStore) -> None:
    store.merge(Changes((evaluation(contents=("",)),)))
    store.merge(Changes(modules=(*ran("t0", 4.0).modules, *ran("t9", 4.0).modules, *ran("t0", 4.0, of="e9").modules)))
    assert store.timing("") is None


def test_it_outlives_the_evaluation(store: ResultStore) -> None:
    of = evaluation(finished_at=9.0)
    store.merge(Changes((of,), ran("t0", 4.0).modules))
    store.merge(Changes((prune(of, store.states("e1")),)))
    assert store.timing("c0") == Timing(4.0, 0.5, 1)

    store.merge(ran("t0", 9.0, attempt=0))  # of one that was pruned: not taken
    assert store.timing("c0") == Timing(4.0, 0.5, 1)


def test_only_the_files_that_ran_last_are_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timings.Timings.__init__, "__defaults__", (3,))
    store = make()
    store.merge(Changes((evaluation(contents=tuple(f"c{n}" for n in range(6))), evaluation("e2"))))
    for module in ("t0", "t1", "t2"):
        store.merge(ran(module, 1.0))
    store.merge(ran("t0", 1.0, of="e2"))
    store.merge(Changes(modules=(*ran("t3", 1.0).modules, *ran("t4", 1.0).modules)))
    assert [content for content in ("c0", "c1", "c2", "c3", "c4") if store.timing(content)] == ["c0", "c3", "c4"]
    if isinstance(store, SqliteStore):
        rows = store._file.writer.execute("SELECT content FROM history ORDER BY number").fetchall()
        assert rows == [("c0",), ("c3",), ("c4",)]


def test_unfinished_evaluations_are_counted(store: ResultStore) -> None:
    store.merge(Changes((evaluation("e1"), evaluation("e2"), evaluation("e3", finished_at=9.0))))
    assert store.unfinished_count() == 2
    store.merge(Changes((evaluation("e1", finished_at=9.0),)))
    assert store.unfinished_count() == 1


@given(st.lists(some.changes, max_size=5))
@settings(max_examples=30, deadline=None)
def test_both_stores_learn_the_same_and_the_durable_one_keeps_it(
    tmp_path_factory: pytest.TempPathFactory, merges: list[Changes]
) -> None:
    path = tmp_path_factory.mktemp("store") / "store.db"
    memory, durable = MemoryStore(), SqliteStore(path)
    for changes in merges:
        memory.merge(changes)
        durable.merge(changes)
    learned = [memory.timing(content) for content in ("", "c1", "c2")]
    assert [durable.timing(content) for content in ("", "c1", "c2")] == learned
    assert durable.unfinished_count() == memory.unfinished_count()
    durable.close()

    again = SqliteStore(path)
    assert [again.timing(content) for content in ("", "c1", "c2")] == learned
    again.close()


# Only the durable one ------------------------------------------------------------------------


def test_a_merge_that_fails_teaches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.merge(Changes((evaluation(),)))
    with monkeypatch.context() as patch:
        patch.setattr("testmesh.node.storage.sqlite_history.SqliteHistory.committed", _fail)
        patch.setattr("testmesh.node.storage.sqlite_history.SqliteHistory.learn", _fail)
        with pytest.raises(RuntimeError):
            store.merge(ran("t0", 4.0))
    assert store.timing("c0") is None
    assert store.states("e1") == ()

    store.merge(ran("t0", 5.0))
    assert store.timing("c0") == Timing(5.0, 0.5, 1)
    store.close()


def _fail(*_: object) -> None:
    raise RuntimeError("for a test")


def test_the_plans_of_many_evaluations_are_read_again_when_they_are_not_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testmesh.node.storage.sqlite_history._MODULES_AT_HAND", 3)
    store = SqliteStore(tmp_path / "store.db")
    for number in range(5):
        store.merge(Changes((evaluation(f"e{number}", (f"c{number}", "shared")),)))
    for number in (0, 4, 1, 3, 2):
        store.merge(ran("t0", float(number + 1), of=f"e{number}"))
        store.merge(ran("t1", 1.0, of=f"e{number}"))
    assert [store.timing(f"c{number}") for number in range(5)] == [Timing(n + 1.0, 0.5, 1) for n in range(5)]
    assert store.timing("shared") == Timing(1.0, 0.5, 5)
    store.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("wall", "text"), ("wall", -1.0), ("cpu", float("inf")), ("runs", "many"), ("number", "last"), ("number", 2**62)],
)
def test_a_row_that_is_none_is_left_out(tmp_path: Path, column: str, value: object) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    store.merge(Changes((evaluation(),), (*ran("t0", 4.0).modules, *ran("t1", 3.0).modules)))
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE history SET {column} = ? WHERE content = 'c0'", (value,))

    again = SqliteStore(path)
    assert (again.timing("c0"), again.timing("c1")) == (None, Timing(3.0, 0.5, 1))
    again.merge(Changes((evaluation("e2"),), ran("t0", 8.0, of="e2").modules))
    assert again.timing("c0") == Timing(8.0, 0.5, 1)
    again.close()


def test_of_a_damaged_file_it_is_learned_anew_from_the_records_that_are_left(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    store.merge(Changes((evaluation(),), (*ran("t0", 4.0).modules, *ran("t1", 3.0).modules)))
    store.close()
    with path.open("r+b") as file:
        file.write(b"no database any more")

    again = SqliteStore(path)
    assert len(list(tmp_path.glob("store.db.damaged-*"))) == 1
    assert (again.timing("c0"), again.timing("c1")) == (Timing(4.0, 0.5, 1), Timing(3.0, 0.5, 1))
    again.close()

    once_more = SqliteStore(path)
    assert once_more.timing("c0") == Timing(4.0, 0.5, 1)
    once_more.close()


def test_new_fields_of_a_module_come_back(store: ResultStore) -> None:
    store.merge(Changes((evaluation(),)))
    changes = ran("t0", 4.0, began_at=123.25, starved=1)
    store.merge(changes)
    assert store.records("e1").modules == changes.modules
    assert store.merge(Changes(modules=(replace(changes.modules[0]),))) == Changes()
