"""A database that is damaged, in whatever way: the store opens, keeps what it can read, and peers give it the rest."""

import contextlib
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import testmesh
from testmesh.errors import InfrastructureError
from testmesh.model import Counts, ModuleState, TestResult, Verdict
from testmesh.node.storage.replica import Changes, ModuleRecord, prune
from testmesh.node.storage.sqlite_schema import VERSION
from testmesh.node.storage.sqlite_store import SqliteStore
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation

NAMES = [f"e{number:02}" for number in range(12)]
PAGE = 4096


def records_of(name: str) -> Changes:
    plans = {f"p{number}": ["test_1.py", "test_2.py"] for number in range(8)}
    tests = tuple(
        TestResult(f"test_{n}", "failed", 0.1, random.Random(f"{name}{n}").randbytes(300).hex()) for n in (1, 2)
    )
    states = [
        ModuleState(name, project, path, Verdict.FAILED, 0, 1, "a:1", Counts(1, 2), 0.5, "3.11", "detail " * 20)
        for project, paths in plans.items()
        for path in paths
    ]
    of = evaluation(name, plans, finished_at=9.0, number=int(name[1:]))
    return Changes((of,), tuple(ModuleRecord(state, tests) for state in states))


def healthy() -> MemoryStore:
    store = MemoryStore()
    for name in NAMES:
        store.merge(records_of(name))
    pruned = records_of(NAMES[0])
    store.merge(Changes((prune(pruned.evaluations[0], [m.state for m in pruned.modules]),)))
    return store


@pytest.fixture(scope="module")
def peer() -> MemoryStore:
    return healthy()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, peer: MemoryStore) -> Path:
    """A database that was closed in order, with all that the peer has."""
    path = tmp_path_factory.mktemp("written") / "mesh.db"
    store = SqliteStore(path)
    for name in NAMES:
        store.merge(peer.records(name))
    store.close()
    return path


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(written, tmp_path / "mesh.db"))


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def change(path: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute(statement, values)


def read_all(store: SqliteStore) -> None:
    for name in NAMES:
        store.records(name)
    store.newest(100)
    store.totals()
    store.totals_of("a:1")
    store.digests()


def refilled(store: SqliteStore, peer: MemoryStore) -> bool:
    """Whether it is as the peer once it has merged all the peer has, twice as anti-entropy might."""
    for name in [*NAMES, *NAMES]:
        store.merge(peer.records(name))
    same = (store.digests(), store.digest(), store.totals()) == (peer.digests(), peer.digest(), peer.totals())
    return same and all(store.records(name) == peer.records(name) for name in NAMES)


def set_aside(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("mesh.db.damaged-*"))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    try:
        yield store
    finally:
        store.close()


# Anything at all -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_overwritten_it_opens_and_gets_all_back(path: Path, peer: MemoryStore, seed: int) -> None:
    rng = random.Random(seed)
    size = path.stat().st_size
    for _ in range(rng.choice((1, 1, 3))):
        length = rng.choice((1, 16, PAGE, 5 * PAGE))
        overwrite(path, rng.randrange(size - length), rng.choice((rng.randbytes(length), b"\0" * length)))
    with opened(path) as store:
        read_all(store)
        assert refilled(store, peer)


@pytest.mark.parametrize("left", [0, 1, 99, 100, 2000, PAGE, PAGE + 1, 3 * PAGE, 0.25, 0.5, 0.9, 0.999])
def test_however_much_is_cut_off_it_opens_and_gets_all_back(path: Path, peer: MemoryStore, left: float) -> None:
    size = path.stat().st_size
    os.truncate(path, left if isinstance(left, int) else int(left * size))
    with opened(path) as store:
        read_all(store)
        assert refilled(store, peer)
    assert set_aside(path.parent)


@pytest.mark.parametrize("content", [b"", b"not a database " * 1000, b"\0" * 100])
def test_a_file_that_is_none_is_told_in_one_line_and_set_aside(
    path: Path, peer: MemoryStore, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    with opened(path) as store:
        assert store.newest(10) == []
        assert refilled(store, peer)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert str(path) in line
    assert f"{path}.damaged-1" in line
    assert Path(f"{path}.damaged-1").read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_folder_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path / "mesh.db"):
        pass
    with opened(tmp_path / "mesh.db"):
        pass
    assert not caplog.records
    assert (tmp_path / "mesh.db").stat().st_mode & 0o777 == 0o600


# What is kept --------------------------------------------------------------------------------


def test_one_page_that_is_lost_costs_few_records(path: Path, peer: MemoryStore) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file:
        try:
            query = "SELECT pageno FROM dbstat WHERE name = 'modules' AND pagetype = 'leaf' ORDER BY pageno"
            pages = [row[0] for row in file.execute(query)]
        except sqlite3.OperationalError:
            pages = []
    if not pages:  # this SQLite does not tell: the last pages that have a module's detail
        content = path.read_bytes()
        pages = [
            n // PAGE + 1 for n in range(0, len(content), PAGE) if content.count(b"detail detail", n, n + PAGE) > 20
        ]
    overwrite(path, (pages[len(pages) // 2] - 1) * PAGE, b"\xa5" * PAGE)
    with opened(path) as store:
        modules = sum(len(store.states(name)) for name in NAMES)
        known = sum(len(peer.states(name)) for name in NAMES)
        assert known * 0.7 < modules < known
        assert [store.evaluation(name) for name in NAMES] == [peer.evaluation(name) for name in NAMES]
        assert refilled(store, peer)


@pytest.mark.parametrize("size", [16, 100, PAGE])
def test_without_its_header_all_can_still_be_read(path: Path, peer: MemoryStore, size: int) -> None:
    overwrite(path, 0, b"\0" * size)
    with opened(path) as store:
        assert store.digests() == peer.digests()
        assert store.totals() == peer.totals()
        assert [store.records(name) for name in NAMES] == [peer.records(name) for name in NAMES]
    assert set_aside(path.parent)
    assert not list(path.parent.glob("salvage-*"))


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("UPDATE evaluations SET document = ? WHERE id = 'e05'", (b"{}",)),
        ("UPDATE evaluations SET document = replace(document, 'p1', 'x1') WHERE id = 'e05'", ()),
        ("UPDATE modules SET verdict = 'none' WHERE evaluation = 'e05'", ()),
        ("UPDATE modules SET passed = 99 WHERE evaluation = 'e05' AND project = 'p1'", ()),
        ("UPDATE modules SET detail = CAST(x'ff00fe' AS TEXT) WHERE evaluation = 'e05' AND project = 'p1'", ()),
        ("UPDATE modules SET passed = 'many', detail = NULL || '' WHERE 0", ()),
        ("UPDATE modules SET fingerprint = 7 WHERE evaluation = 'e05' AND project = 'p1'", ()),
        ("UPDATE tests SET outcomes = ? WHERE evaluation = 'e05'", (b"no zlib",)),
        ("DELETE FROM tests WHERE evaluation = 'e05' AND project = 'p1'", ()),
        ("UPDATE digests SET digest = digest + 1 WHERE id = 'e05'", ()),
        ("DELETE FROM digests", ()),
    ],
)
def test_rows_that_are_not_what_was_written_are_found_and_replaced(
    path: Path, peer: MemoryStore, statement: str, values: tuple[object, ...]
) -> None:
    change(path, statement, *values)
    with opened(path) as store:
        read_all(store)
        assert refilled(store, peer)


def test_results_without_their_tests_stand_until_a_peer_gives_them(path: Path, peer: MemoryStore) -> None:
    """Also where no peer is left, the grade is; and a peer that has the tests never loses them to one that has not."""
    change(path, "UPDATE tests SET outcomes = x'00' WHERE evaluation = 'e05' AND project = 'p1'")
    with opened(path) as store:
        read_all(store)
        assert store.states("e05") == peer.states("e05")
        assert store.digests()["e05"] != peer.digests()["e05"]
        copy = healthy()
        assert copy.merge(store.records("e05")) == Changes()
        assert refilled(store, peer)


# The log of what was written -----------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a process that was killed while it wrote: nearly all is in the log still."""
    folder = tmp_path_factory.mktemp("killed")
    script = f"""
        import sys
        sys.path[:0] = {[str(Path(testmesh.__file__).parents[1]), str(Path(__file__).parents[4])]!r}
        from pathlib import Path
        from testmesh.node.storage.sqlite_store import SqliteStore
        from tests.unit.node.storage.test_damage import NAMES, healthy
        store, peer = SqliteStore(Path({str(folder / "mesh.db")!r})), healthy()
        for name in NAMES:
            store.merge(peer.records(name))
        print("written", flush=True)
        while True:
            for name in NAMES:
                store.merge(peer.records(name))
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "written\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert (folder / "mesh.db-wal").stat().st_size > 0
    return folder


@pytest.mark.parametrize("left", [0, 1, 31, 32, 56, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, "all"])
@pytest.mark.parametrize("garbage", [False, True])
def test_a_log_of_a_killed_process_may_end_anywhere(
    killed: Path, tmp_path: Path, peer: MemoryStore, left: float | str, garbage: bool
) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "copy"))
    log = folder / "mesh.db-wal"
    size = log.stat().st_size
    size = size if left == "all" else left if isinstance(left, int) else int(float(left) * size)
    os.truncate(log, size)
    if garbage:
        overwrite(log, size // 2, random.Random(size).randbytes(size // 4 + 1))
    with opened(folder / "mesh.db") as store:
        read_all(store)
        if left == "all" and not garbage:
            assert store.digests() == peer.digests()
        assert refilled(store, peer)


def test_a_log_that_is_none_is_damage(killed: Path, tmp_path: Path, peer: MemoryStore) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "copy"))
    overwrite(folder / "mesh.db-wal", 0, b"garbage!" * 1000)
    with opened(folder / "mesh.db") as store:
        assert refilled(store, peer)
    assert {"mesh.db.damaged-1", "mesh.db.damaged-1-wal"} <= set(set_aside(folder))


# While it runs -------------------------------------------------------------------------------


def break_in_use(path: Path, store: SqliteStore) -> None:
    """As a disk does: the pages of a database that is open are garbage from now on, and nobody was told."""
    store._file.writer.execute("PRAGMA shrink_memory")  # or it would never look
    size = path.stat().st_size
    overwrite(path, 2 * PAGE, b"\xa5" * (size - 2 * PAGE))


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.records("e05"),
        lambda store: store.newest(100),
        lambda store: list(store.tests("e05", None, None)),
        lambda store: store.merge(Changes((evaluation("new"),))),
    ],
)
def test_damage_that_shows_while_it_runs_stops_nobody(
    path: Path, peer: MemoryStore, use: Callable[[SqliteStore], object]
) -> None:
    with opened(path) as store:
        break_in_use(path, store)
        use(store)
        store.merge(Changes((evaluation("new"),)))
        assert store.evaluation("new") == evaluation("new")
        for name in NAMES:
            store.merge(peer.records(name))
        digests = store.digests()
        assert {name: digests[name] for name in NAMES} == peer.digests()
    assert "mesh.db.damaged-1" in set_aside(path.parent)
    with opened(path) as again:
        assert again.digests() == digests


def test_many_threads_at_once_meet_the_damage_and_go_on(path: Path, peer: MemoryStore) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            store.merge(Changes((evaluation(f"new-{number}-{turn}"),)))
            read_all(store)

    with opened(path) as store, ThreadPoolExecutor(12) as pool:
        break_in_use(path, store)
        running = [pool.submit(work, number) for number in range(12)]
        for each in running:
            each.result()
        for name in NAMES:
            store.merge(peer.records(name))
        digests = store.digests()
        assert {name: digests[name] for name in NAMES} == peer.digests()
        assert store.evaluation("new-0-4") == evaluation("new-0-4")
    assert [name for name in set_aside(path.parent) if name[-1].isdigit()] == ["mesh.db.damaged-1"]


def test_again_and_again_and_the_newest_three_are_kept(path: Path, peer: MemoryStore) -> None:
    for _ in range(5):
        with opened(path) as store:
            assert refilled(store, peer)
        overwrite(path, 0, b"\0" * 100)
    with opened(path) as store:
        assert refilled(store, peer)
    assert [name for name in set_aside(path.parent) if "-wal" not in name and "-shm" not in name] == [
        "mesh.db.damaged-3",
        "mesh.db.damaged-4",
        "mesh.db.damaged-5",
    ]


# What is no damage ---------------------------------------------------------------------------


def test_where_it_cannot_be_set_aside_it_does_not_open_and_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"not a database " * 1000)

    def refuse(*_: object) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InfrastructureError, match=r"mesh\.db is damaged .* cannot be set aside: Permission denied"):
        SqliteStore(path)
    assert path.read_bytes() == b"not a database " * 1000


def test_while_it_runs_each_use_then_says_so_and_none_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    store = SqliteStore(path)
    break_in_use(path, store)
    for _ in range(12):
        with pytest.raises(InfrastructureError):
            store.records("e05")
    store.close()


def test_a_folder_in_its_place_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "mesh.db").mkdir()
    with pytest.raises(InfrastructureError, match="database"):
        SqliteStore(tmp_path / "mesh.db")
    assert (tmp_path / "mesh.db").is_dir()


def test_another_version_is_refused_also_beside_a_log(path: Path) -> None:
    change(path, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(InfrastructureError, match="another version"):
        SqliteStore(path)
    assert not set_aside(path.parent)


def test_a_record_that_changed_since_is_merged_after_all(path: Path, peer: MemoryStore) -> None:
    """Setting aside and reading back must not bring an older state into a newer one."""
    late = replace(records_of("e05").evaluations[0], finished_at=8.0)
    with opened(path) as store:
        store.merge(Changes((late,)))
    overwrite(path, 5 * PAGE, b"\xa5" * PAGE)
    with opened(path) as store:
        read_all(store)
        store.merge(peer.records("e05"))
        store.merge(Changes((late,)))
        found = store.evaluation("e05")
    assert found is not None
    assert found.finished_at == 8.0
