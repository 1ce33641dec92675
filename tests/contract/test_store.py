"""One contract for both stores, and what only the durable one promises."""

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import testmesh
from testmesh.errors import DiskFullError, InfrastructureError, MalformedError
from testmesh.model import (
    Counts,
    ModulePlan,
    ModuleState,
    Options,
    Project,
    Source,
    SourceKind,
    TestResult,
    Verdict,
)
from testmesh.node.storage.replica import Changes, ModuleRecord, digest_of, fingerprint
from testmesh.node.storage.replica import _hash as replica_hash
from testmesh.node.storage.sqlite_store import SqliteStore
from testmesh.node.storage.sqlite_totals import rebuild
from testmesh.node.storage.store import MemoryStore, ResultStore, Tally
from tests.support import records as some
from tests.support.records import evaluation

TESTS = (TestResult("test_a", "passed", 0.1), TestResult("test_b", "failed", 0.2, "assert 0", "out", "err"))


def state(module: str = "test_1.py", verdict: Verdict = Verdict.PENDING, of: str = "e1", **fields: Any) -> ModuleState:
    return ModuleState(of, fields.pop("project", "p"), module, verdict, **fields)


def modules(*found: ModuleState | ModuleRecord) -> Changes:
    return Changes(modules=tuple(f if isinstance(f, ModuleRecord) else ModuleRecord(f) for f in found))


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ResultStore]:
    found: ResultStore = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db")
    yield found
    found.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[SqliteStore]:
    found = SqliteStore(tmp_path / "store.db")
    yield found
    found.close()


def test_the_unfinished_are_told_apart_by_whether_a_module_began(store: ResultStore) -> None:
    assert store.unfinished_by_progress() == (0, 0)
    ended = replace(evaluation("e4"), finished_at=2.0)
    store.merge(Changes((evaluation("e1"), evaluation("e2"), evaluation("e3"), ended)))
    store.merge(modules(state(of="e2"), state("test_2.py", Verdict.RUNNING, of="e2"), state(of="e3")))
    store.merge(modules(state(verdict=Verdict.PASSED, of="e4")))
    assert store.unfinished_by_progress() == (2, 1)


class TestMerging:
    def test_it_gives_what_changed_as_it_is_now_and_nothing_else(self, store: ResultStore) -> None:
        first = evaluation("e1", holders=("a:1",))
        assert store.merge(Changes((first,))) == Changes((first,))
        assert store.merge(Changes((first,))) == Changes()

        merged = store.merge(Changes((replace(first, holders=("b:1",)), evaluation("e2"))))
        assert merged == Changes((replace(first, holders=("a:1", "b:1")), evaluation("e2")))

    def test_a_record_that_is_older_than_what_is_known_changes_nothing(self, store: ResultStore) -> None:
        done = ModuleRecord(state(verdict=Verdict.PASSED, attempt=1), TESTS)
        store.merge(modules(done))

        assert store.merge(modules(state(verdict=Verdict.RUNNING, attempt=1), done)) == Changes()
        assert store.records("e1").modules == (done,)
        assert store.record(*done.state.key) == done
        assert store.record("e1", "p", "unknown.py") is None

    def test_one_module_twice_in_one_message_is_told_once_as_it_is_now(self, store: ResultStore) -> None:
        running, done = state(verdict=Verdict.RUNNING, attempt=1), state(verdict=Verdict.PASSED, attempt=1)
        assert store.merge(modules(running, done)) == modules(done)

    def test_one_evaluation_twice_in_one_message_is_told_once_as_it_is_now(self, store: ResultStore) -> None:
        first, second = evaluation(holders=("a:1",)), evaluation(holders=("b:1",))
        assert store.merge(Changes((first, second))) == Changes((evaluation(holders=("a:1", "b:1")),))

    def test_a_result_that_another_one_replaces_takes_its_tests_along(self, store: ResultStore) -> None:
        store.merge(modules(ModuleRecord(state(verdict=Verdict.FAILED, attempt=2), TESTS)))
        first = state(verdict=Verdict.NO_TESTS, attempt=1)
        assert store.merge(modules(first)) == modules(first)

        assert list(store.tests("e1", None, None)) == []
        assert store.records("e1") == modules(first)

    def test_modules_may_come_before_their_evaluation(self, store: ResultStore) -> None:
        store.merge(modules(state()))
        assert store.evaluation("e1") is None
        assert store.states("e1") == (state(),)
        assert store.records("e1") == modules(state())

        store.merge(Changes((evaluation(),)))
        assert store.records("e1") == Changes((evaluation(),), (ModuleRecord(state()),))

    def test_a_token_that_is_not_needed_is_never_kept(self, store: ResultStore) -> None:
        store.merge(Changes((evaluation(sealed_token="sealed"),)))
        found = store.evaluation("e1")
        assert found is not None
        assert found.sealed_token is None


class TestCallbacks:
    def test_those_that_ended_and_were_not_told_await_their_callback(self, store: ResultStore) -> None:
        asked = Options(callback_url='http://x.org/?"called_back":true')
        waiting = evaluation("e1", options=asked, finished_at=1.0)
        told = evaluation("e2", options=asked, finished_at=1.0, called_back=True)
        unasked, unfinished = evaluation("e3", finished_at=1.0), evaluation("e4", options=asked)
        store.merge(Changes((waiting, told, unasked, unfinished)))
        assert store.awaiting_callback() == [waiting]

        store.merge(Changes((replace(waiting, called_back=True),)))
        assert store.awaiting_callback() == []
        assert store.merge(Changes((waiting,))) == Changes(), "what was told stays told"

    def test_a_record_from_before_there_were_callbacks_is_no_damage(self, tmp_path: Path) -> None:
        """Its fingerprint, and its row, are those that were written then."""
        before = evaluation("e1", finished_at=1.0)
        assert fingerprint(before) == replica_hash(repr(before))
        with contextlib.closing(SqliteStore(tmp_path / "store.db")) as store:
            store.merge(Changes((before,)))
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
            (document,) = connection.execute("SELECT document FROM evaluations").fetchone()
            kept = json.loads(document)
            del kept["called_back"], kept["options"]["callback_url"]
            connection.execute("UPDATE evaluations SET document = ?", (json.dumps(kept).encode(),))
        with contextlib.closing(SqliteStore(tmp_path / "store.db")) as store:
            assert store.merge(Changes((replace(before, holders=("b:1",)),))).evaluations
            assert store.evaluation("e1") == replace(before, holders=("b:1",))
        assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == []


class TestMinusZero:
    """It equals zero and is written otherwise, so that a peer which sends it could make fingerprints differ."""

    def test_of_a_result_is_stored_as_zero_and_no_damage(self, sqlite_store: SqliteStore, tmp_path: Path) -> None:
        odd = state(verdict=Verdict.PASSED, attempt=1, time=-0.0, cpu_time=-0.0, began_at=-0.0)
        assert sqlite_store.merge(modules(odd))
        assert sqlite_store.merge(modules(odd, replace(odd, time=0.0))) == Changes()
        assert sqlite_store.digest() == digest_of(None, [ModuleRecord(state(verdict=Verdict.PASSED, attempt=1))])
        assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == []

    def test_of_an_evaluation_is_stored_as_zero(self, sqlite_store: SqliteStore) -> None:
        plans = (ModulePlan("test_1.py", estimate_s=0.0),)
        source = Source(SourceKind.ZIP, "-0.0 \u00e9", archive="a" * 64, projects=(Project("p", "", plans),))
        plain = evaluation(sources=(source,), submitted_at=0.0, finished_at=0.0, eval_time=0.0)
        odd_plans = (replace(plans[0], estimate_s=-0.0),)
        odd_source = replace(source, projects=(Project("p", "", odd_plans),))
        odd = replace(plain, sources=(odd_source,), submitted_at=-0.0, finished_at=-0.0, eval_time=-0.0)
        assert sqlite_store.merge(Changes((odd,)))
        assert sqlite_store.digest() == fingerprint(plain)
        assert sqlite_store.evaluation("e1") == plain


class TestReading:
    def test_what_is_unknown_is_empty(self, store: ResultStore) -> None:
        assert store.evaluation("e1") is None
        assert store.states("e1") == ()
        assert store.records("e1") == Changes()
        assert list(store.tests("e1", None, None)) == []
        assert store.newest(10) == []
        assert store.unfinished() == []
        assert store.tallies(["e1"]) == {"e1": {}}
        assert store.totals() == (Counts(), 0, 0)
        assert store.totals_of("a:1") == (Counts(), 0, 0, ())
        assert (store.digest(), store.digests()) == (0, {})

    def test_states_are_sorted_by_project_and_path(self, store: ResultStore) -> None:
        places = [("q", "test_1.py"), ("p", "test_2.py"), ("p", "test_1.py"), ("p", "tests/test_0.py"), ("ä", "t")]
        store.merge(modules(*(state(path, project=project) for project, path in places)))
        assert [(s.project, s.module) for s in store.states("e1")] == sorted(places)

    def test_tests_are_found_by_project_and_module(self, store: ResultStore) -> None:
        for project, path in itertools.product(("p", "q"), ("test_1.py", "test_2.py")):
            store.merge(modules(ModuleRecord(state(path, Verdict.FAILED, project=project), TESTS)))
        store.merge(modules(state("test_3.py", Verdict.PASSED)))

        def found(project: str | None, module: str | None) -> list[tuple[str, str]]:
            return [(t.project, t.module) for t in store.tests("e1", project, module) if t.tests == TESTS]

        assert found(None, None) == [(p, m) for p in ("p", "q") for m in ("test_1.py", "test_2.py")]
        assert found("p", None) == [("p", "test_1.py"), ("p", "test_2.py")]
        assert found(None, "test_2.py") == [("p", "test_2.py"), ("q", "test_2.py")]
        assert found("q", "test_1.py") == [("q", "test_1.py")]
        assert found("x", None) == found("p", "test_3.py") == []

    def test_the_list_is_newest_first_and_can_be_paged_through(self, store: ResultStore) -> None:
        times = {"b": 2.0, "a": 2.0, "d": 1.0, "c": 3.0}
        store.merge(Changes(tuple(evaluation(name, submitted_at=at) for name, at in times.items())))

        pages, after = [], None
        while page := store.newest(1, after):
            pages += [found.id for found in page]
            after = pages[-1]
        assert pages == ["c", "b", "a", "d"]
        assert [found.id for found in store.newest(3)] == ["c", "b", "a"]
        assert [found.id for found in store.newest(3, "b")] == ["a", "d"]
        assert store.newest(0) == []

    def test_paging_from_an_unknown_id_is_an_error(self, store: ResultStore) -> None:
        store.merge(Changes((evaluation(),)))
        with pytest.raises(KeyError):
            store.newest(10, "unknown")

    def test_the_unfinished_are_oldest_first(self, store: ResultStore) -> None:
        ended = evaluation("b", submitted_at=0.0, finished_at=9.0, eval_time=1.0)
        store.merge(Changes((evaluation("c", submitted_at=2.0), evaluation("a", submitted_at=1.0), ended)))
        assert [found.id for found in store.unfinished()] == ["a", "c"]

        store.merge(Changes((evaluation("a", submitted_at=1.0, finished_at=3.0, eval_time=2.0),)))
        assert [found.id for found in store.unfinished()] == ["c"]

    def test_tallies_are_the_sums_of_what_has_ended(self, store: ResultStore) -> None:
        store.merge(
            modules(
                state("test_1.py", Verdict.FAILED, counts=Counts(3, 1, 0, 2)),
                state("test_2.py", Verdict.PASSED, counts=Counts(2, 0, 1, 0)),
                state("test_3.py", Verdict.RUNNING, counts=Counts(9, 9, 9, 9)),
                state("test_1.py", Verdict.INFRA_FAILED, project="q"),
                state("test_1.py", Verdict.PENDING, project="r"),
            )
        )
        assert store.tallies(["e1", "e2"]) == {
            "e1": {
                "p": Tally(Counts(5, 1, 1, 2), spoilt=False, started=True, ended=2),
                "q": Tally(Counts(), spoilt=True, started=True, ended=1),
                "r": Tally(Counts(), spoilt=False, started=False),
            },
            "e2": {},
        }

    def test_totals_count_tests_that_have_ended_distinct_projects_and_evaluations(self, store: ResultStore) -> None:
        store.merge(Changes((evaluation("e1", {"p": ["t"], "q": ["t"]}), evaluation("e2", {"p": ["t"]}))))
        store.merge(
            modules(
                state("t", Verdict.FAILED, node="a:1", counts=Counts(1, 2, 3, 4)),
                state("t", Verdict.PASSED, node="b:1", counts=Counts(5), project="q"),
                state("t", Verdict.PASSED, node="a:1", counts=Counts(7), of="e2"),
                state("u", Verdict.RUNNING, node="a:1", counts=Counts(100), of="e2"),
            )
        )
        assert store.totals() == (Counts(13, 2, 3, 4), 2, 2)
        assert store.totals_of("a:1") == (Counts(8, 2, 3, 4), 1, 2, ("e1", "e2"))
        assert store.totals_of("b:1") == (Counts(5), 1, 1, ("e1",))
        assert store.totals_of("c:1") == (Counts(), 0, 0, ())

    def test_a_project_whose_source_was_replaced_is_no_longer_counted(self, store: ResultStore) -> None:
        late, early = evaluation("e1", {"late": ["t"]}).sources[0], evaluation("e1", {"early": ["t"]}).sources[0]
        store.merge(Changes((evaluation(sources=(replace(late, epoch=2),)),)))
        store.merge(Changes((evaluation(sources=(replace(early, epoch=1),)),)))
        assert store.totals() == (Counts(), 1, 1)

    def test_digests_are_those_of_the_records(self, store: ResultStore) -> None:
        store.merge(Changes((evaluation("e1"), evaluation("e2"))))
        store.merge(modules(state("t"), state("u"), state("t", of="e3")))
        store.merge(modules(state("u", Verdict.PASSED)))
        expected = {
            "e1": digest_of(evaluation("e1"), [ModuleRecord(state("t")), ModuleRecord(state("u", Verdict.PASSED))]),
            "e2": digest_of(evaluation("e2"), []),
            "e3": digest_of(None, [ModuleRecord(state("t", of="e3"))]),
        }
        assert store.digests() == expected
        assert store.digest() == expected["e1"] ^ expected["e2"] ^ expected["e3"]

    def test_texts_of_every_kind_come_back_as_they_were(self, store: ResultStore) -> None:
        text = "ä \0 \r\n 'quoted' \"x\" ☃ \U0001f600 %s ?"
        record = ModuleRecord(
            state(text, Verdict.FAILED, project=text, detail=text, python=text, node=text),
            (TestResult(text, "failed", 0.1, text, text, text),),
        )
        store.merge(Changes((evaluation("e1", {text: [text]}),), (record,)))
        assert store.records("e1") == Changes((evaluation("e1", {text: [text]}),), (record,))
        assert [found.tests for found in store.tests("e1", text, text)] == [record.tests]

    def test_whole_numbers_in_place_of_times_leave_the_digests_right(self, store: ResultStore) -> None:
        """Python takes an int for a float; JSON and SQLite do not give it back as one."""
        store.merge(Changes((evaluation(submitted_at=5),), modules(state(time=0, verdict=Verdict.PASSED)).modules))
        assert store.merge(store.records("e1")) == Changes()

        store.merge(Changes((evaluation(submitted_at=5, holders=("a:1",)),)))

        assert store.digests() == {"e1": digest_of(store.evaluation("e1"), store.records("e1").modules)}


def everything(store: ResultStore) -> dict[str, object]:
    ids = ["e1", "e2", "e3"]
    return {
        "evaluation": [store.evaluation(name) for name in ids],
        "states": [store.states(name) for name in ids],
        "records": [store.records(name) for name in ids],
        "each": [store.record(*s.key) for name in ids for s in store.states(name)],
        "tests": [list(store.tests(name, project, None)) for name in ids for project in (None, "p")],
        "newest": [store.newest(2), store.newest(10), [store.newest(2, e.id) for e in store.newest(10)]],
        "newest_digests": store.newest_digests(10),
        "ended": store.ended(),
        "highest_number": store.highest_number(),
        "archives": [sorted(e.id for e in store.naming_archive(digest)) for digest in ("a" * 64, "b" * 64)],
        "released": store.released_archives(),
        "unfinished": store.unfinished(),
        "tallies": store.tallies(ids),
        "totals": store.totals(),
        "totals_of": [store.totals_of(node) for node in ("", "a:1", "b:1")],
        "digest": store.digest(),
        "digests": store.digests(),
    }


@given(st.lists(some.changes, max_size=5), st.data())
@settings(max_examples=40, deadline=None)
def test_both_stores_agree_on_everything_after_any_merges_and_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, merges: list[Changes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "store.db"
    memory, durable, otherwise = MemoryStore(), SqliteStore(path), MemoryStore()
    for changes in merges:
        assert memory.merge(changes) == durable.merge(changes)
    for changes in data.draw(st.permutations(merges)):
        otherwise.merge(changes)
    known = everything(memory)
    assert everything(durable) == known
    assert everything(otherwise) == known
    durable.close()

    again = SqliteStore(path)
    assert everything(again) == known
    again._file.write(rebuild, lambda _: None)  # as after a crash
    assert everything(again) == known
    again.close()


class TestDurability:
    def test_what_was_merged_is_there_after_a_kill(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        script = f"""
            import sys, itertools
            sys.path[:0] = {[str(Path(testmesh.__file__).parents[1]), str(Path(__file__).parents[2])]!r}
            from pathlib import Path
            from testmesh.node.storage.sqlite_store import SqliteStore
            from testmesh.node.storage.replica import Changes
            from tests.support.records import evaluation
            store = SqliteStore(Path({str(path)!r}))
            for number in itertools.count():
                store.merge(Changes((evaluation(f"e{{number}}"),)))
                print(number, flush=True)
        """
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        try:
            acknowledged = [int(line) for line in itertools.islice(child.stdout, 20)]
        finally:
            os.kill(child.pid, signal.SIGKILL)
            acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
            child.stdout.close()
            child.wait()

        store = SqliteStore(path)
        assert [n for n in acknowledged if store.evaluation(f"e{n}") is None] == []
        assert store.digest() == digest_from_scratch(store)
        store.close()

    def test_a_merge_that_fails_leaves_nothing_and_the_next_one_works(
        self, sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sqlite_store.merge(Changes((evaluation("e1"),)))
        before = everything(sqlite_store)

        bad = Changes((evaluation("e2"),), (ModuleRecord(state(verdict=Verdict.FAILED), TESTS),))
        with monkeypatch.context() as patch:
            patch.setattr("testmesh.node.storage.sqlite_merge.pack_tests", fail)
            with pytest.raises(RuntimeError):
                sqlite_store.merge(bad)
        assert everything(sqlite_store) == before

        sqlite_store.merge(Changes((evaluation("e2"),)))
        assert sqlite_store.evaluation("e2") == evaluation("e2")
        assert sqlite_store.digest() == digest_from_scratch(sqlite_store)

    def test_a_full_disk_is_told_as_such_and_nothing_is_lost(self, sqlite_store: SqliteStore) -> None:
        sqlite_store.merge(Changes((evaluation("e1"),)))
        pages = sqlite_store._file.writer.execute("PRAGMA page_count").fetchone()[0]
        sqlite_store._file.writer.execute(f"PRAGMA max_page_count = {pages}")
        large = evaluation("e2", {f"project-{i}": ["test_1.py"] for i in range(2000)})
        with pytest.raises(DiskFullError):
            sqlite_store.merge(Changes((large,)))
        assert sqlite_store.evaluation("e1") == evaluation("e1")

        sqlite_store._file.writer.execute(f"PRAGMA max_page_count = {pages + 10_000}")
        sqlite_store.merge(Changes((large,)))
        assert sqlite_store.evaluation("e2") == large

    def test_every_commit_is_synchronous(self, sqlite_store: SqliteStore) -> None:
        assert sqlite_store._file.writer.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert sqlite_store._file.writer.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


class TestThreads:
    def test_readers_see_whole_merges_only_while_another_thread_writes(self, sqlite_store: SqliteStore) -> None:
        """Every merge adds one test to both modules: no snapshot may have one of them alone."""
        done = threading.Event()

        def write() -> None:
            try:
                for attempt in range(100, 0, -1):
                    tests = tuple(TestResult(f"t{i}", "passed") for i in range(100 - attempt))
                    ended = [state(m, Verdict.PASSED, attempt=attempt, time=float(attempt)) for m in ("t", "u")]
                    sqlite_store.merge(modules(*(ModuleRecord(found, tests) for found in ended)))
            finally:
                done.set()

        def read() -> int:
            looks = 0
            while not done.is_set() or not looks:
                found = sqlite_store.records("e1").modules
                assert len({(m.state.time, m.tests) for m in found}) <= 1
                assert all(len(m.tests) == 100 - m.state.attempt for m in found)
                looks += 1
            return looks

        with ThreadPoolExecutor(13) as pool:
            readers = [pool.submit(read) for _ in range(12)]  # more than there are connections
            pool.submit(write).result()
            assert all(reader.result() for reader in readers)

    def test_writers_of_many_threads_lose_nothing(self, sqlite_store: SqliteStore) -> None:
        def write(name: str) -> None:
            sqlite_store.merge(Changes((evaluation(name),), modules(state(of=name)).modules))
            sqlite_store.merge(Changes((evaluation("shared", holders=(name,)),)))

        names = [f"e{i:02}" for i in range(40)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, names))

        assert {found.id for found in sqlite_store.newest(100)} == {*names, "shared"}
        assert sqlite_store.evaluation("shared") == evaluation("shared", holders=tuple(names))
        assert sqlite_store.digest() == digest_from_scratch(sqlite_store)

    def test_a_reader_that_stops_half_way_holds_no_connection(self, sqlite_store: SqliteStore) -> None:
        sqlite_store.merge(
            modules(*(ModuleRecord(state(f"test_{i}.py", Verdict.FAILED), TESTS) for i in range(3))),
        )
        slow = [iter(sqlite_store.tests("e1", None, None)) for _ in range(20)]
        assert all(next(reader).tests == TESTS for reader in slow)
        assert sqlite_store.evaluation("e1") is None

    @pytest.mark.parametrize(
        "use", [lambda s: s.evaluation("e1"), lambda s: s.merge(Changes((evaluation(),))), lambda s: s.digests()]
    )
    def test_after_closing_every_use_is_an_error_and_none_waits(
        self, tmp_path: Path, use: Callable[[SqliteStore], object]
    ) -> None:
        store = SqliteStore(tmp_path / "store.db")
        store.close()
        for _ in range(10):
            with pytest.raises(InfrastructureError):
                use(store)


def test_lists_and_lookups_use_an_index(sqlite_store: SqliteStore) -> None:
    """What is asked with every request must not read the whole table."""
    reader = sqlite_store._file.writer
    for query, uses in (
        ("SELECT id FROM evaluations WHERE stage < 2 ORDER BY submitted_at DESC, id DESC LIMIT 100", "INDEX newest"),
        ("SELECT document FROM evaluations WHERE stage = 0 ORDER BY submitted_at, id", "INDEX by_stage (stage=?)"),
        ("SELECT number, id FROM evaluations WHERE stage = 1 ORDER BY number, id", "COVERING INDEX by_stage"),
        ("SELECT coalesce(max(number), 0) FROM evaluations", "INDEX numbers"),
        ("SELECT evaluation FROM archives WHERE digest = 'x' AND pruned = 0", "COVERING INDEX by_archive"),
        ("SELECT * FROM modules WHERE evaluation = 'x'", "PRIMARY KEY"),
        ("SELECT outcomes FROM tests WHERE evaluation = 'x' AND project = 'y'", "INDEX"),
    ):
        plan = " ".join(str(row[3]) for row in reader.execute(f"EXPLAIN QUERY PLAN {query}"))
        assert uses in plan, query


def digest_from_scratch(store: SqliteStore) -> int:
    total = 0
    with sqlite3.connect(store._file._path) as connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM evaluations UNION SELECT evaluation FROM modules")]
    connection.close()
    for name in ids:
        total ^= digest_of(store.evaluation(name), store.records(name).modules)
    return total


def fail(*_: object) -> bytes:
    raise RuntimeError("for a test")


def test_a_file_of_another_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mesh.db"
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.executescript("CREATE TABLE evaluations (id TEXT); PRAGMA user_version = 99;")
    before = file.read_bytes()
    with pytest.raises(InfrastructureError, match="another version"):
        SqliteStore(file)
    assert file.read_bytes() == before


def test_an_erased_token_is_in_no_file_of_the_database(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    unresolved = Source(SourceKind.REPOSITORY, "owner-repo", url="https://github.com/owner/repo")
    fetched = replace(unresolved, archive="0" * 64)
    sealed = replace(evaluation("e1"), sources=(unresolved,), sealed_token="the-sealed-token")
    sqlite_store.merge(Changes((sealed,)))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"the-sealed-token" in path.read_bytes() for path in files)
    sqlite_store.merge(Changes((replace(sealed, sources=(fetched,), sealed_token=None),)))
    assert not any(b"the-sealed-token" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "unreadable",
    [
        modules(state(counts=Counts(passed=2**63))),
        modules(state(time=float("inf"))),
        modules(state(time=float("nan"))),
        modules(state(detail="\ud800")),
        modules(ModuleRecord(state(verdict=Verdict.PASSED), (TestResult("a", "passed", float("nan")),))),
        Changes((evaluation("e1", submitted_at=float("nan")),)),
        Changes((evaluation("e1", number=2**63),)),
    ],
)
def test_what_could_not_be_read_again_is_not_written_and_nothing_is_set_aside(
    sqlite_store: SqliteStore, tmp_path: Path, unreadable: Changes
) -> None:
    sqlite_store.merge(Changes((evaluation("e0"),)))
    files = {path.name for path in tmp_path.iterdir()}
    both = Changes((evaluation("e2"), *unreadable.evaluations), unreadable.modules)
    with pytest.raises(MalformedError):
        sqlite_store.merge(both)
    assert [found.id for found in sqlite_store.newest(9)] == ["e0"]
    assert sqlite_store.records("e1") == Changes()
    assert {path.name for path in tmp_path.iterdir()} == files


def test_after_the_highest_number_that_a_peer_may_say_there_is_another_that_peers_take(
    sqlite_store: SqliteStore,
) -> None:
    sqlite_store.merge(Changes((evaluation("e1", number=2**53),)))
    assert sqlite_store.highest_number() + 1 == 2**53
