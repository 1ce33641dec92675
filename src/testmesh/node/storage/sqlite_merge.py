"""Merging records into the durable store: one transaction's work on the connection that writes.

What is merged with is compared with the fingerprint it was written with: a row that changed by itself is damage.
"""

import sqlite3
from dataclasses import dataclass, field

from testmesh.model import Evaluation, ModuleState, TestResult
from testmesh.node.messaging.codec import EVALUATION, as_read_again, checked, encode, pack_tests
from testmesh.node.storage.replica import (
    Changes,
    ModuleRecord,
    fingerprint,
    merge_evaluations,
    merge_modules,
    module_fingerprint,
)
from testmesh.node.storage.sqlite_schema import (
    ENDED,
    OPEN,
    PRUNED,
    STATE_COLUMNS,
    DamagedError,
    as_stored,
    place_of,
    row_of,
    state_of,
    stored_evaluation,
    stored_tests,
)
from testmesh.node.storage.sqlite_totals import CountedStates, count_evaluation
from testmesh.node.storage.timings import Timing

_OF_EVALUATION = "WHERE evaluation = ?"
_OF_MODULE = "WHERE evaluation = ? AND project = ? AND module = ?"


@dataclass(slots=True)
class Merged:
    """What a merge changed; `deltas` are those of the evaluations' digests, the last two those of the history."""

    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    modules: dict[tuple[str, str, str], ModuleRecord] = field(default_factory=dict)
    deltas: dict[str, int] = field(default_factory=dict)
    token_erased: bool = False
    timings: dict[str, Timing] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)

    @property
    def changes(self) -> Changes:
        return Changes(tuple(self.evaluations.values()), tuple(self.modules.values()))


def merge_into(writer: sqlite3.Connection, changes: Changes) -> Merged:
    """Within a transaction of the caller.

    Raises:
        DamagedError: what is stored cannot be read.
        MalformedError: what is to be stored could not be read again; nothing of it is written.
    """
    checked(changes)
    merged, counted = Merged(), CountedStates()
    for evaluation in changes.evaluations:
        _merge_evaluation(writer, evaluation, merged, counted)
    pruned: dict[str, bool] = {}
    for record in changes.modules:
        of = record.state.evaluation
        if of not in pruned:
            row = writer.execute("SELECT stage FROM evaluations WHERE id = ?", (of,)).fetchone()
            pruned[of] = row is not None and row[0] == PRUNED
        if not pruned[of]:
            _merge_module(writer, record, merged, counted)
    counted.write(writer)
    for evaluation_id, delta in merged.deltas.items():
        row = writer.execute("SELECT digest FROM digests WHERE id = ?", (evaluation_id,)).fetchone()
        digest = (row[0] if row else 0) ^ delta
        writer.execute("INSERT OR REPLACE INTO digests VALUES (?, ?)", (evaluation_id, digest))
    return merged


def _merge_evaluation(writer: sqlite3.Connection, theirs: Evaluation, merged: Merged, counted: CountedStates) -> None:
    theirs = as_read_again(EVALUATION, theirs)  # or fingerprints would differ
    row = writer.execute("SELECT document, fingerprint FROM evaluations WHERE id = ?", (theirs.id,)).fetchone()
    mine, before = (stored_evaluation(row[0]), row[1]) if row else (None, 0)
    if mine is not None and fingerprint(mine) != before:
        raise DamagedError(f"the record of evaluation {theirs.id} is not what was written")
    new = merge_evaluations(mine or theirs, theirs)
    if new == mine:
        _check_digest(writer, new.id, merged)  # what a peer sends again may be sent because digests differ
        return
    after = fingerprint(new)
    stage = PRUNED if new.pruned else OPEN if new.finished_at is None else ENDED
    writer.execute(
        "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?)",
        (new.id, new.submitted_at, new.number, stage, new.finished_at, after, encode(EVALUATION, new)),
    )
    if new.pruned and (mine is None or not mine.pruned):
        _drop_modules(writer, new.id, merged, counted)
    if mine is None or (mine.projects, mine.archives, mine.pruned) != (new.projects, new.archives, new.pruned):
        if mine is not None:
            count_evaluation(writer, mine, -1)
        count_evaluation(writer, new, 1)
    merged.evaluations[new.id] = new
    merged.deltas[new.id] = merged.deltas.get(new.id, 0) ^ before ^ after
    merged.token_erased |= mine is not None and bool(mine.sealed_token) and not new.sealed_token


def _check_digest(writer: sqlite3.Connection, evaluation_id: str, merged: Merged) -> None:
    found = 0
    for query in (
        "SELECT fingerprint FROM evaluations WHERE id = ?",
        f"SELECT fingerprint FROM modules {_OF_EVALUATION}",  # noqa: S608
    ):
        for (fingerprint_,) in writer.execute(query, (evaluation_id,)):
            found ^= fingerprint_
    row = writer.execute("SELECT digest FROM digests WHERE id = ?", (evaluation_id,)).fetchone()
    if (row[0] if row else 0) ^ merged.deltas.get(evaluation_id, 0) != found:
        raise DamagedError(f"the digest of evaluation {evaluation_id} is not that of its records")


def _drop_modules(writer: sqlite3.Connection, evaluation_id: str, merged: Merged, counted: CountedStates) -> None:
    rows = writer.execute(f"SELECT {STATE_COLUMNS}, fingerprint FROM modules {_OF_EVALUATION}", (evaluation_id,))  # noqa: S608
    for row in rows.fetchall():
        counted.add(state_of(row[:-1]), -1)
        merged.deltas[evaluation_id] = merged.deltas.get(evaluation_id, 0) ^ row[-1]
    writer.execute(f"DELETE FROM modules {_OF_EVALUATION}", (evaluation_id,))  # noqa: S608
    writer.execute(f"DELETE FROM tests {_OF_EVALUATION}", (evaluation_id,))  # noqa: S608


def _merge_module(writer: sqlite3.Connection, theirs: ModuleRecord, merged: Merged, counted: CountedStates) -> None:
    state = as_stored(theirs.state)
    theirs = theirs if state is theirs.state else ModuleRecord(state, theirs.tests)
    row = writer.execute(
        f"SELECT {STATE_COLUMNS}, tests, fingerprint FROM modules {_OF_MODULE}",  # noqa: S608
        place_of(state),
    ).fetchone()
    mine: ModuleState | None = None
    new, before, had_tests = theirs, 0, 0
    if row is not None:
        mine, had_tests, before = state_of(row[:-2]), row[-2], row[-1]
        known = ModuleRecord(mine, _tests_of(writer, mine) if had_tests else ())
        if module_fingerprint(mine, len(known.tests)) != before:
            raise DamagedError(f"a result of evaluation {state.evaluation} is not what was written")
        new = merge_modules(known, theirs)
        if new == known:
            return
    after = module_fingerprint(new.state, len(new.tests))
    row = (*row_of(new.state), len(new.tests), after)
    writer.execute(f"INSERT OR REPLACE INTO modules VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
    if new.tests:
        outcomes = pack_tests(new.tests)
        writer.execute("INSERT OR REPLACE INTO tests VALUES (?, ?, ?, ?)", (*place_of(state), outcomes))
    elif had_tests:
        writer.execute(f"DELETE FROM tests {_OF_MODULE}", place_of(state))  # noqa: S608
    if mine is not None:
        counted.add(mine, -1)
    counted.add(new.state, 1)
    merged.modules[state.key] = new
    merged.deltas[state.evaluation] = merged.deltas.get(state.evaluation, 0) ^ before ^ after


def _tests_of(writer: sqlite3.Connection, state: ModuleState) -> tuple[TestResult, ...]:
    row = writer.execute(f"SELECT outcomes FROM tests {_OF_MODULE}", place_of(state)).fetchone()  # noqa: S608
    return stored_tests(row[0]) if row else ()
