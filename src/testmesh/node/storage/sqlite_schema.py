"""The tables of the durable store, and records as their rows.

Evaluations, modules and tests are the records; all else is derived from them, and can be made again, but for the
history of how long test files took: it outlives them, and is a hint that nobody relies on.
"""

import math
import sqlite3
import zlib
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from testmesh.errors import InfrastructureError, MalformedError, TestmeshError
from testmesh.model import Counts, Evaluation, ModuleState, TestResult, Verdict
from testmesh.node.messaging.codec import EVALUATION, decode, unpack_tests

VERSION = 4  # of the tables and of how fingerprints are made; raised by every change of them
_KNOWN_VERSIONS = range(1, 1000)  # any other number in a file is damage
OPEN, ENDED, PRUNED = 0, 1, 2  # `stage` of an evaluation
SCHEMA = """
CREATE TABLE evaluations (
    id TEXT PRIMARY KEY, submitted_at REAL NOT NULL, number INTEGER NOT NULL, stage INTEGER NOT NULL,
    finished_at REAL, fingerprint INTEGER NOT NULL, document BLOB NOT NULL
);
CREATE INDEX newest ON evaluations (submitted_at DESC, id DESC) WHERE stage < 2;
CREATE INDEX by_stage ON evaluations (stage, number, id, finished_at);
CREATE INDEX numbers ON evaluations (number);
CREATE TABLE modules (
    evaluation TEXT, project TEXT, module TEXT, verdict TEXT NOT NULL, epoch INTEGER NOT NULL, attempt INTEGER NOT NULL,
    node TEXT NOT NULL, passed INTEGER NOT NULL, failed INTEGER NOT NULL, errors INTEGER NOT NULL,
    skipped INTEGER NOT NULL, time REAL NOT NULL, python TEXT NOT NULL, detail TEXT NOT NULL,
    losses INTEGER NOT NULL, cpu_time REAL NOT NULL, began_at REAL NOT NULL, starved INTEGER NOT NULL,
    tests INTEGER NOT NULL, fingerprint INTEGER NOT NULL,
    PRIMARY KEY (evaluation, project, module)
) WITHOUT ROWID;
CREATE TABLE tests (
    evaluation TEXT, project TEXT, module TEXT, outcomes BLOB NOT NULL, PRIMARY KEY (evaluation, project, module)
);
CREATE TABLE digests (id TEXT PRIMARY KEY, digest INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE archives (
    evaluation TEXT, digest TEXT, pruned INTEGER NOT NULL, PRIMARY KEY (evaluation, digest)
) WITHOUT ROWID;
CREATE INDEX by_archive ON archives (digest, pruned);
CREATE TABLE project_names (name TEXT PRIMARY KEY, uses INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE node_totals (
    node TEXT PRIMARY KEY, passed INTEGER NOT NULL, failed INTEGER NOT NULL, errors INTEGER NOT NULL,
    skipped INTEGER NOT NULL, modules INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE node_projects (
    node TEXT, project TEXT, uses INTEGER NOT NULL, PRIMARY KEY (node, project)
) WITHOUT ROWID;
CREATE TABLE node_evaluations (
    node TEXT, evaluation TEXT, uses INTEGER NOT NULL, PRIMARY KEY (node, evaluation)
) WITHOUT ROWID;
CREATE TABLE history (
    content TEXT PRIMARY KEY, wall REAL NOT NULL, cpu REAL NOT NULL, runs INTEGER NOT NULL, number INTEGER NOT NULL
) WITHOUT ROWID;
"""
_VERDICTS = MappingProxyType({verdict.value: verdict for verdict in Verdict})  # thousands of rows are read for a GET
STATE_COLUMNS = (
    "evaluation, project, module, verdict, epoch, attempt, node, passed, failed, errors, skipped, time, python, detail,"
    " losses, cpu_time, began_at, starved"
)


class DamagedError(TestmeshError):
    """The file, or a row of it, is not what was written. The store mends it; nobody outside meets this error."""


def has_tables(connection: sqlite3.Connection) -> bool:
    """Whether it is a store already.

    Raises:
        InfrastructureError: of another version, and is left as it is.
        DamagedError: its tables are not those of this version.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    if not found and version == 0:
        return False
    if version not in _KNOWN_VERSIONS:
        raise DamagedError(f"its version is {version}")
    if version != VERSION:
        raise InfrastructureError(
            f"The database was written by another version of testmesh ({version}, this is {VERSION}); start that"
            " version, or move mesh.db away and let the node fetch its records from its peers."
        )
    expected = sqlite3.connect(":memory:")
    try:
        expected.executescript(SCHEMA)
        if found != expected.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall():
            raise DamagedError("its tables are not those that were made")
    finally:
        expected.close()
    return True


def make_tables(connection: sqlite3.Connection) -> None:
    """All or none."""
    connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")


def place_of(state: ModuleState) -> tuple[str, str, str]:
    return (state.evaluation, state.project, state.module)


def as_stored(state: ModuleState) -> ModuleState:
    """As it is read again: where whole seconds were given as such, or a minus zero, they are not."""
    if _is_kept(state.time) and _is_kept(state.cpu_time) and _is_kept(state.began_at):
        return state
    return state_of(row_of(state))


def _is_kept(seconds: float) -> bool:
    """Whether a column gives back the same, written the same: SQLite knows no minus zero."""
    return type(seconds) is float and (seconds != 0.0 or math.copysign(1.0, seconds) > 0)


def row_of(state: ModuleState) -> tuple[object, ...]:
    counts = state.counts
    return (
        *place_of(state),
        state.verdict.value,
        state.epoch,
        state.attempt,
        state.node,
        counts.passed,
        counts.failed,
        counts.errors,
        counts.skipped,
        state.time + 0.0,
        state.python,
        state.detail,
        state.losses,
        state.cpu_time + 0.0,
        state.began_at + 0.0,
        state.starved,
    )


def state_of(row: Sequence[Any]) -> ModuleState:
    evaluation, project, module, verdict, epoch, attempt, node, passed, failed, errors, skipped, *rest = row
    counts = Counts(passed, failed, errors, skipped)
    try:
        return ModuleState(evaluation, project, module, _VERDICTS[verdict], epoch, attempt, node, counts, *rest)
    except (KeyError, TypeError):
        raise DamagedError("a module's row cannot be read") from None


def stored_evaluation(document: bytes) -> Evaluation:
    try:
        return decode(EVALUATION, document)
    except MalformedError:
        raise DamagedError("an evaluation's row cannot be read") from None


def stored_tests(outcomes: bytes | None) -> tuple[TestResult, ...]:
    if outcomes is None:
        return ()
    try:
        return unpack_tests(outcomes)
    except (zlib.error, ValidationError, TypeError):
        raise DamagedError("a module's tests cannot be read") from None
