"""The durable store: one SQLite file in WAL mode, synchronous FULL, so that what was merged survives a power cut.

One connection writes, under a lock; readers take one of their own from a pool and never wait for the writer.
"""

import contextlib
import functools
import operator
import queue
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from testmesh.errors import DiskFullError, InfrastructureError
from testmesh.model import Counts, Evaluation, ModuleState, TestResult, Verdict
from testmesh.node.codec import EVALUATION, decode, encode, pack_tests, unpack_tests
from testmesh.node.replica import Changes, ModuleRecord, fingerprint, merge_evaluations, merge_modules
from testmesh.node.service import ModuleTests
from testmesh.node.sqlite_schema import SCHEMA, STATE_COLUMNS, VERSION, check_version, place_of, row_of, state_of
from testmesh.node.store import Tally

_FINAL = tuple(verdict.value for verdict in Verdict if verdict.is_final)
_IS_FINAL = "(verdict NOT IN ('pending', 'running'))"
_FINAL_MARKS = ",".join("?" * len(_FINAL))
_READERS = 8
Record = Evaluation | ModuleState


class SqliteStore:
    """`ResultStore` on a file. Raises DiskFullError where there is no room, InfrastructureError for other faults."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._token_erased = False
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with _disk_errors():
            check_version(path)
            self._writer = self._connect()
            self._writer.executescript(f"{SCHEMA}PRAGMA user_version = {VERSION};")
            for _ in range(_READERS):
                self._readers.put(self._connect())
        self._digest = functools.reduce(operator.xor, self.digests().values(), 0)

    # Writing ---------------------------------------------------------------------------------

    def merge(self, changes: Changes) -> Changes:
        with self._lock, _disk_errors():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                deltas: dict[str, int] = {}
                evaluations = {e.id: new for e in changes.evaluations if (new := self._merge_evaluation(e, deltas))}
                modules = {m.state.key: found for m in changes.modules if (found := self._merge_module(m, deltas))}
                for evaluation_id, delta in deltas.items():
                    self._update_digest(evaluation_id, delta)
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise
            self._digest = functools.reduce(operator.xor, deltas.values(), self._digest)
            if self._token_erased:  # it would stay in the log of what was written, sealed as it is
                self._token_erased = False
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Changes(tuple(evaluations.values()), tuple(modules.values()))

    def _merge_evaluation(self, theirs: Evaluation, deltas: dict[str, int]) -> Evaluation | None:
        theirs = decode(EVALUATION, encode(EVALUATION, theirs))  # as it is read again, or fingerprints would differ
        mine = _evaluation(self._writer, theirs.id)
        merged = merge_evaluations(mine or theirs, theirs)
        if merged == mine:
            return None
        self._writer.execute(
            "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?)",
            (merged.id, merged.submitted_at, merged.finished_at is not None, encode(EVALUATION, merged)),
        )
        if mine is None or mine.projects != merged.projects:
            self._writer.execute("DELETE FROM projects WHERE evaluation = ?", (merged.id,))
            self._writer.executemany(
                "INSERT OR IGNORE INTO projects VALUES (?, ?)",
                [(merged.id, project.name) for project in merged.projects],
            )
        self._token_erased |= mine is not None and bool(mine.sealed_token) and not merged.sealed_token
        _note(deltas, merged.id, mine, merged)
        return merged

    def _merge_module(self, theirs: ModuleRecord, deltas: dict[str, int]) -> ModuleRecord | None:
        state = state_of(row_of(theirs.state))  # as it is read again
        theirs = ModuleRecord(state, theirs.tests)
        row = self._writer.execute(
            f"SELECT {STATE_COLUMNS} FROM modules WHERE evaluation = ? AND project = ? AND module = ?",  # noqa: S608
            place_of(state),
        ).fetchone()
        mine = state_of(row) if row else None
        if mine is not None:
            known = ModuleRecord(mine, self._tests_of(mine))
            merged = merge_modules(known, theirs)
            if merged == known:
                return None
        else:
            merged = theirs
        row = row_of(merged.state)
        self._writer.execute(f"INSERT OR REPLACE INTO modules VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
        if merged.tests:
            self._writer.execute(
                "INSERT OR REPLACE INTO tests VALUES (?, ?, ?, ?)", (*place_of(state), pack_tests(merged.tests))
            )
        else:
            self._writer.execute(
                "DELETE FROM tests WHERE evaluation = ? AND project = ? AND module = ?", place_of(state)
            )
        _note(deltas, state.evaluation, mine, merged.state)
        return merged

    def _tests_of(self, state: ModuleState) -> tuple[TestResult, ...]:
        row = self._writer.execute(
            "SELECT outcomes FROM tests WHERE evaluation = ? AND project = ? AND module = ?", place_of(state)
        ).fetchone()
        return unpack_tests(row[0]) if row else ()

    def _update_digest(self, evaluation_id: str, delta: int) -> None:
        row = self._writer.execute("SELECT digest FROM digests WHERE id = ?", (evaluation_id,)).fetchone()
        digest = (row[0] if row else 0) ^ delta
        self._writer.execute("INSERT OR REPLACE INTO digests VALUES (?, ?)", (evaluation_id, digest))

    # Reading ---------------------------------------------------------------------------------

    def evaluation(self, evaluation_id: str) -> Evaluation | None:
        with self._reader() as reader:
            return _evaluation(reader, evaluation_id)

    def states(self, evaluation_id: str) -> tuple[ModuleState, ...]:
        with self._reader() as reader:
            rows = reader.execute(
                f"SELECT {STATE_COLUMNS} FROM modules WHERE evaluation = ? ORDER BY project, module",  # noqa: S608
                (evaluation_id,),
            ).fetchall()
        return tuple(map(state_of, rows))

    def records(self, evaluation_id: str) -> Changes:
        with self._reader() as reader:
            reader.execute("BEGIN")  # one snapshot for the three reads
            try:
                evaluation = _evaluation(reader, evaluation_id)
                rows = reader.execute(
                    f"SELECT {STATE_COLUMNS} FROM modules WHERE evaluation = ? ORDER BY project, module",  # noqa: S608
                    (evaluation_id,),
                ).fetchall()
                tests = {
                    (project, module): unpack_tests(data)
                    for project, module, data in reader.execute(
                        "SELECT project, module, outcomes FROM tests WHERE evaluation = ?", (evaluation_id,)
                    )
                }
            finally:
                reader.execute("COMMIT")
        modules = (ModuleRecord(state_of(row), tests.get((row[1], row[2]), ())) for row in rows)
        return Changes((evaluation,) if evaluation else (), tuple(modules))

    def record(self, evaluation_id: str, project: str, module: str) -> ModuleRecord | None:
        with self._reader() as reader:  # one statement sees one moment
            row = reader.execute(
                f"SELECT {STATE_COLUMNS}, outcomes FROM modules LEFT JOIN tests USING (evaluation, project, module)"  # noqa: S608
                " WHERE evaluation = ? AND project = ? AND module = ?",
                (evaluation_id, project, module),
            ).fetchone()
        if row is None:
            return None
        return ModuleRecord(state_of(row[:-1]), unpack_tests(row[-1]) if row[-1] is not None else ())

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> Iterable[ModuleTests]:
        """Module by module, so that a large evaluation is never whole in memory."""
        with self._reader() as reader:
            places = reader.execute(
                "SELECT project, module FROM tests WHERE evaluation = ? AND (?2 IS NULL OR project = ?2)"
                " AND (?3 IS NULL OR module = ?3) ORDER BY project, module",
                (evaluation_id, project, module),
            ).fetchall()
        for of_project, path in places:
            with self._reader() as reader:
                row = reader.execute(
                    "SELECT outcomes FROM tests WHERE evaluation = ? AND project = ? AND module = ?",
                    (evaluation_id, of_project, path),
                ).fetchone()
            if row:
                yield ModuleTests(of_project, path, unpack_tests(row[0]))

    def newest(self, limit: int, after: str | None = None) -> list[Evaluation]:
        with self._reader() as reader:
            bound: tuple[float, str] | None = None
            if after is not None:
                bound = reader.execute("SELECT submitted_at, id FROM evaluations WHERE id = ?", (after,)).fetchone()
                if bound is None:
                    raise KeyError(after)
            where = "WHERE (submitted_at, id) < (?, ?)" if bound else ""
            rows = reader.execute(
                f"SELECT document FROM evaluations {where} ORDER BY submitted_at DESC, id DESC LIMIT ?",  # noqa: S608
                (*(bound or ()), limit),
            ).fetchall()
        return [decode(EVALUATION, row[0]) for row in rows]

    def unfinished(self) -> list[Evaluation]:
        with self._reader() as reader:
            rows = reader.execute(
                "SELECT document FROM evaluations WHERE finished = 0 ORDER BY submitted_at, id"
            ).fetchall()
        return [decode(EVALUATION, row[0]) for row in rows]

    def naming_archive(self, digest: str) -> list[Evaluation]:
        with self._reader() as reader:
            rows = reader.execute(
                "SELECT document FROM evaluations WHERE instr(document, CAST(? AS BLOB)) > 0", (digest,)
            ).fetchall()
        return [found for row in rows if digest in (found := decode(EVALUATION, row[0])).archives]

    def tallies(self, evaluation_ids: Sequence[str]) -> dict[str, dict[str, Tally]]:
        found: dict[str, dict[str, Tally]] = {name: {} for name in evaluation_ids}
        with self._reader() as reader:
            for evaluation_id in evaluation_ids:
                for project, *sums, spoilt, started in reader.execute(
                    f"SELECT project, sum(passed * {_IS_FINAL}), sum(failed * {_IS_FINAL}), sum(errors * {_IS_FINAL}),"  # noqa: S608
                    f" sum(skipped * {_IS_FINAL}), max(verdict IN ('infra_failed', 'source_failed')),"
                    " max(verdict <> 'pending') FROM modules WHERE evaluation = ? GROUP BY project",
                    (evaluation_id,),
                ):
                    found[evaluation_id][project] = Tally(Counts(*sums), bool(spoilt), bool(started))
        return found

    def totals(self) -> tuple[Counts, int, int]:
        with self._reader() as reader:
            sums = reader.execute(
                "SELECT total(passed), total(failed), total(errors), total(skipped) FROM modules"  # noqa: S608
                f" WHERE verdict IN ({_FINAL_MARKS})",
                _FINAL,
            ).fetchone()
            projects = reader.execute("SELECT count(DISTINCT name) FROM projects").fetchone()[0]
            evaluations = reader.execute("SELECT count(*) FROM evaluations").fetchone()[0]
        return Counts(*map(int, sums)), projects, evaluations

    def totals_of(self, node: str) -> tuple[Counts, int, int, tuple[str, ...]]:
        where = f"FROM modules WHERE node = ? AND verdict IN ({_FINAL_MARKS}) AND verdict <> 'cancelled'"
        with self._reader() as reader:
            row = reader.execute(
                "SELECT total(passed), total(failed), total(errors), total(skipped),"
                f" count(DISTINCT project), count(*) {where}",
                (node, *_FINAL),
            ).fetchone()
            ids = reader.execute(
                "SELECT e.id FROM evaluations e"  # noqa: S608
                f" WHERE e.id IN (SELECT DISTINCT evaluation {where}) ORDER BY e.submitted_at, e.id",
                (node, *_FINAL),
            ).fetchall()
        return Counts(*map(int, row[:4])), row[4], row[5], tuple(i[0] for i in ids)

    def digest(self) -> int:
        return self._digest

    def digests(self) -> dict[str, int]:
        with self._reader() as reader:
            return dict(reader.execute("SELECT id, digest FROM digests").fetchall())

    # Connections -----------------------------------------------------------------------------

    def close(self) -> None:
        """Whoever still reads or merges afterwards gets an InfrastructureError."""
        with self._lock:
            readers = [self._readers.get() for _ in range(_READERS)]
            for connection in (*readers, self._writer):
                connection.close()
            for reader in readers:
                self._readers.put(reader)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        connection = self._readers.get()
        try:
            with _disk_errors():
                yield connection
        finally:
            self._readers.put(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA cache_size = -2000")
        return connection


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise DiskFullError("The node's disk is full; try another node or free some room.") from None
        raise InfrastructureError(f"The node's database failed: {error}.") from error


def _evaluation(connection: sqlite3.Connection, evaluation_id: str) -> Evaluation | None:
    row = connection.execute("SELECT document FROM evaluations WHERE id = ?", (evaluation_id,)).fetchone()
    return decode(EVALUATION, row[0]) if row else None


def _note(deltas: dict[str, int], evaluation_id: str, before: Record | None, after: Record) -> None:
    delta = fingerprint(after) ^ (fingerprint(before) if before else 0)
    deltas[evaluation_id] = deltas.get(evaluation_id, 0) ^ delta
