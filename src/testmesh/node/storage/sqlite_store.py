"""The durable store: one SQLite file in WAL mode, synchronous FULL, so that what was merged survives a power cut.

One connection writes, under a lock; readers take one of their own from a pool and never wait for the writer.
"""

import functools
import logging
import operator
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from testmesh.errors import TestmeshError
from testmesh.model import Counts, Evaluation, ModuleState
from testmesh.node.messaging.codec import MOST_RECEIVED
from testmesh.node.service import ModuleTests
from testmesh.node.storage import sqlite_totals
from testmesh.node.storage.recent_evaluations import RecentEvaluations
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.salvage import salvage
from testmesh.node.storage.sqlite_connections import Connections, transaction
from testmesh.node.storage.sqlite_history import SqliteHistory
from testmesh.node.storage.sqlite_merge import Merged, merge_into
from testmesh.node.storage.sqlite_schema import STATE_COLUMNS, state_of, stored_evaluation, stored_tests
from testmesh.node.storage.store import Ended, Tally
from testmesh.node.storage.timings import Timing

log = logging.getLogger(__name__)
_IS_FINAL = "(verdict NOT IN ('pending', 'running'))"


class SqliteStore:
    """`ResultStore` on a file. Raises DiskFullError where there is no room, InfrastructureError for other faults.

    A damaged file gives way to a new one with what can be read of it, at the start or whenever the damage shows.
    """

    def __init__(self, path: Path) -> None:
        self._digest = 0
        self._history: SqliteHistory
        self._recent = RecentEvaluations()
        self._file = Connections(path, self._opened)

    def _opened(self, writer: sqlite3.Connection, damaged: Path | None, in_order: bool) -> None:
        self._history = SqliteHistory(writer)
        self._recent.clear()
        if damaged is not None:
            self._salvage(writer, damaged)
        elif not in_order:  # what is derived may be older or newer than the records, should the log have been cut
            with transaction(writer):
                sqlite_totals.rebuild(writer)
        digests = (row[0] for row in writer.execute("SELECT digest FROM digests"))
        self._digest = functools.reduce(operator.xor, digests, 0)

    # Writing ---------------------------------------------------------------------------------

    def merge(self, changes: Changes) -> Changes:
        return self._file.write(lambda writer: self._merge(writer, changes), self._committed).changes

    def _merge(self, writer: sqlite3.Connection, changes: Changes) -> Merged:
        merged = merge_into(writer, changes)
        self._history.learn(writer, merged)
        return merged

    def _committed(self, merged: Merged) -> None:
        self._history.committed(merged)
        self._digest = functools.reduce(operator.xor, merged.deltas.values(), self._digest)
        if merged.token_erased:  # it would stay in the log of what was written, sealed as it is
            self._file.checkpoint()

    def _salvage(self, writer: sqlite3.Connection, damaged: Path) -> None:
        evaluations = modules = 0
        try:
            for changes in salvage(damaged):
                with transaction(writer):
                    merged = self._merge(writer, changes)
                self._history.committed(merged)
                evaluations, modules = evaluations + len(changes.evaluations), modules + len(changes.modules)
        except (sqlite3.Error, OSError, TestmeshError) as error:
            log.warning("reading what is left of %s ended early: %s", damaged, error)
        log.warning("%d evaluations and %d modules were read from %s", evaluations, modules, damaged.name)

    # Reading ---------------------------------------------------------------------------------

    def evaluation(self, evaluation_id: str) -> Evaluation | None:
        return self._file.read(lambda reader: self._evaluation(reader, evaluation_id))

    def states(self, evaluation_id: str) -> tuple[ModuleState, ...]:
        return self._file.read(lambda reader: _states(reader, evaluation_id))

    def records(self, evaluation_id: str) -> Changes:
        def read(reader: sqlite3.Connection) -> Changes:
            reader.execute("BEGIN")  # one snapshot for the three reads
            try:
                evaluation, states = self._evaluation(reader, evaluation_id), _states(reader, evaluation_id)
                tests = {
                    (project, module): stored_tests(outcomes)
                    for project, module, outcomes in reader.execute(
                        "SELECT project, module, outcomes FROM tests WHERE evaluation = ?", (evaluation_id,)
                    )
                }
            finally:
                reader.execute("COMMIT")
            modules = (ModuleRecord(state, tests.get((state.project, state.module), ())) for state in states)
            return Changes((evaluation,) if evaluation else (), tuple(modules))

        return self._file.read(read)

    def record(self, evaluation_id: str, project: str, module: str) -> ModuleRecord | None:
        def read(reader: sqlite3.Connection) -> ModuleRecord | None:  # one statement sees one moment
            row = reader.execute(
                f"SELECT {STATE_COLUMNS}, outcomes FROM modules LEFT JOIN tests USING (evaluation, project, module)"  # noqa: S608
                " WHERE evaluation = ? AND project = ? AND module = ?",
                (evaluation_id, project, module),
            ).fetchone()
            return ModuleRecord(state_of(row[:-1]), stored_tests(row[-1])) if row else None

        return self._file.read(read)

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> Iterable[ModuleTests]:
        """Module by module, so that a large evaluation is never whole in memory."""
        places = self._file.read(
            lambda reader: reader.execute(
                "SELECT project, module FROM tests WHERE evaluation = ? AND (?2 IS NULL OR project = ?2)"
                " AND (?3 IS NULL OR module = ?3) ORDER BY project, module",
                (evaluation_id, project, module),
            ).fetchall()
        )
        for of_project, path in places:
            record = self.record(evaluation_id, of_project, path)
            if record is not None and record.tests:
                yield ModuleTests(of_project, path, record.tests)

    def newest(self, limit: int, after: str | None = None) -> list[Evaluation]:
        def read(reader: sqlite3.Connection) -> list[Evaluation]:
            return [stored_evaluation(row[0]) for row in _newest(reader, "evaluations", "document", limit, after)]

        return self._file.read(read)

    def newest_digests(self, limit: int, after: str | None = None) -> list[tuple[str, int]]:
        tables = "evaluations JOIN digests USING (id)"
        return self._file.read(lambda reader: _newest(reader, tables, "id, digest", limit, after))

    def ended(self) -> list[Ended]:
        query = "SELECT number, id, finished_at FROM evaluations WHERE stage = 1 ORDER BY number, id, finished_at"
        return self._file.read(lambda reader: [Ended(*row) for row in reader.execute(query)])

    def highest_number(self) -> int:
        query = "SELECT coalesce(max(number), 0) FROM evaluations"
        highest = self._file.read(lambda reader: int(reader.execute(query).fetchone()[0]))
        return min(highest, MOST_RECEIVED - 1)  # whatever a peer said, the next one is taken by all

    def unfinished(self) -> list[Evaluation]:
        return self._evaluations("stage = 0 ORDER BY submitted_at, id")

    def unfinished_count(self) -> int:
        query = "SELECT count(*) FROM evaluations WHERE stage = 0"
        return self._file.read(lambda reader: int(reader.execute(query).fetchone()[0]))

    def unfinished_by_progress(self) -> tuple[int, int]:
        query = (
            "SELECT count(*), total(EXISTS (SELECT 1 FROM modules m WHERE m.evaluation = e.id"
            " AND m.verdict != 'pending')) FROM evaluations e WHERE stage = 0"
        )
        found, begun = map(int, self._file.read(lambda reader: reader.execute(query).fetchone()))
        return found - begun, begun

    def awaiting_callback(self) -> list[Evaluation]:
        """Documents are not taken apart to find them: that takes long, and few have a callback_url."""
        where = "stage = 1 AND instr(document, ?) > 0 AND instr(document, ?) > 0"
        return self._evaluations(where, b'"callback_url":"', b'"called_back":false')

    def timing(self, content: str) -> Timing | None:
        return self._history.timing(content)

    def naming_archive(self, digest: str) -> list[Evaluation]:
        where = "id IN (SELECT evaluation FROM archives WHERE digest = ? AND pruned = 0)"
        return self._evaluations(where, digest)

    def _evaluation(self, reader: sqlite3.Connection, evaluation_id: str) -> Evaluation | None:
        row = reader.execute("SELECT fingerprint FROM evaluations WHERE id = ?", (evaluation_id,)).fetchone()
        known = self._recent.get(evaluation_id, row[0]) if row else None
        if row is None or known is not None:
            return known
        query = "SELECT document, fingerprint FROM evaluations WHERE id = ?"  # of one moment
        row = reader.execute(query, (evaluation_id,)).fetchone()
        if row is None:
            return None
        evaluation = stored_evaluation(row[0])
        self._recent.put(evaluation, row[1])
        return evaluation

    def _evaluations(self, where: str, *values: object) -> list[Evaluation]:
        query = f"SELECT document FROM evaluations WHERE {where}"  # noqa: S608
        return self._file.read(lambda reader: [stored_evaluation(row[0]) for row in reader.execute(query, values)])

    def released_archives(self) -> set[str]:
        query = "SELECT digest FROM archives GROUP BY digest HAVING min(pruned) = 1"
        return self._file.read(lambda reader: {row[0] for row in reader.execute(query)})

    def tallies(self, evaluation_ids: Sequence[str]) -> dict[str, dict[str, Tally]]:
        query = (
            f"SELECT project, sum(passed * {_IS_FINAL}), sum(failed * {_IS_FINAL}), sum(errors * {_IS_FINAL}),"  # noqa: S608
            f" sum(skipped * {_IS_FINAL}), max(verdict IN ('infra_failed', 'source_failed')),"
            f" max(verdict <> 'pending'), sum({_IS_FINAL}) FROM modules WHERE evaluation = ? GROUP BY project"
        )

        def read(reader: sqlite3.Connection) -> dict[str, dict[str, Tally]]:
            found: dict[str, dict[str, Tally]] = {name: {} for name in evaluation_ids}
            for evaluation_id, of in found.items():
                for project, *sums, spoilt, started, ended in reader.execute(query, (evaluation_id,)):
                    of[project] = Tally(Counts(*sums), bool(spoilt), bool(started), ended)
            return found

        return self._file.read(read)

    def totals(self) -> tuple[Counts, int, int]:
        return self._file.read(sqlite_totals.totals)

    def totals_of(self, node: str) -> tuple[Counts, int, int, tuple[str, ...]]:
        return self._file.read(lambda reader: sqlite_totals.totals_of(reader, node))

    def digest(self) -> int:
        return self._digest

    def digests(self) -> dict[str, int]:
        return self._file.read(lambda reader: dict(reader.execute("SELECT id, digest FROM digests").fetchall()))

    def close(self) -> None:
        """Whoever still reads or merges afterwards gets an InfrastructureError."""
        self._file.close()


def _newest(
    connection: sqlite3.Connection, tables: str, columns: str, limit: int, after: str | None
) -> list[tuple[Any, ...]]:
    """`after` may have been pruned meanwhile: whoever pages through the list goes on where it was."""
    bound: tuple[float, str] | None = None
    if after is not None:
        bound = connection.execute("SELECT submitted_at, id FROM evaluations WHERE id = ?", (after,)).fetchone()
        if bound is None:
            raise KeyError(after)
    where = "stage < 2 AND (submitted_at, id) < (?, ?)" if bound else "stage < 2"
    return connection.execute(
        f"SELECT {columns} FROM {tables} WHERE {where} ORDER BY submitted_at DESC, id DESC LIMIT ?",  # noqa: S608
        (*(bound or ()), limit),
    ).fetchall()


def _states(connection: sqlite3.Connection, evaluation_id: str) -> tuple[ModuleState, ...]:
    rows = connection.execute(
        f"SELECT {STATE_COLUMNS} FROM modules WHERE evaluation = ? ORDER BY project, module",  # noqa: S608
        (evaluation_id,),
    )
    return tuple(map(state_of, rows))
