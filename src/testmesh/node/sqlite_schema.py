"""The tables of the durable store, and records as their rows."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testmesh.errors import InfrastructureError
from testmesh.model import Counts, ModuleState, Verdict

VERSION = 1  # of the tables; raised by every change of them
SCHEMA = """
CREATE TABLE IF NOT EXISTS evaluations (
    id TEXT PRIMARY KEY, submitted_at REAL NOT NULL, finished INTEGER NOT NULL, document BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS newest ON evaluations (submitted_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS unfinished ON evaluations (finished) WHERE finished = 0;
CREATE TABLE IF NOT EXISTS digests (id TEXT PRIMARY KEY, digest INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS projects (evaluation TEXT, name TEXT, PRIMARY KEY (evaluation, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS modules (
    evaluation TEXT, project TEXT, module TEXT, verdict TEXT NOT NULL, epoch INTEGER NOT NULL, attempt INTEGER NOT NULL,
    node TEXT NOT NULL, passed INTEGER NOT NULL, failed INTEGER NOT NULL, errors INTEGER NOT NULL,
    skipped INTEGER NOT NULL, time REAL NOT NULL, python TEXT NOT NULL, detail TEXT NOT NULL,
    losses INTEGER NOT NULL, PRIMARY KEY (evaluation, project, module)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_node ON modules (node, verdict);
CREATE TABLE IF NOT EXISTS tests (
    evaluation TEXT, project TEXT, module TEXT, outcomes BLOB NOT NULL, PRIMARY KEY (evaluation, project, module)
);
"""
STATE_COLUMNS = (
    "evaluation, project, module, verdict, epoch, attempt, node, passed, failed, errors, skipped, time, python, detail,"
    " losses"
)


def check_version(path: Path) -> None:
    """A file of another version is left as it is."""
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
        version = file.execute("PRAGMA user_version").fetchone()[0]
        tables = file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and version != VERSION:
        raise InfrastructureError(
            f"{path} was written by another version of testmesh ({version}, this is {VERSION}); start that version, or"
            " move the file away and let the node fetch its records from its peers."
        )


def place_of(state: ModuleState) -> tuple[str, str, str]:
    return (state.evaluation, state.project, state.module)


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
        float(state.time),
        state.python,
        state.detail,
        state.losses,
    )


def state_of(row: Sequence[Any]) -> ModuleState:
    evaluation, project, module, verdict, epoch, attempt, node, passed, failed, errors, skipped, *rest = row
    counts = Counts(passed, failed, errors, skipped)
    return ModuleState(evaluation, project, module, Verdict(verdict), epoch, attempt, node, counts, *rest)
