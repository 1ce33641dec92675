"""What is derived from the records, in step with them by the same transactions, so that no answer reads them all.

Only sums that can be taken back: what a record added is subtracted when another one replaces it.
"""

import sqlite3
from collections import Counter

from testmesh.model import Counts, Evaluation, ModuleState
from testmesh.node.storage.sqlite_schema import PRUNED, stored_evaluation

_ADD_TOTALS = """
INSERT INTO node_totals VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
passed = passed + excluded.passed, failed = failed + excluded.failed, errors = errors + excluded.errors,
skipped = skipped + excluded.skipped, modules = modules + excluded.modules
"""
_COUNTED = "verdict NOT IN ('pending', 'running', 'cancelled')"
_DERIVED = ("digests", "archives", "project_names", "node_totals", "node_projects", "node_evaluations")


# Keeping in step -----------------------------------------------------------------------------


class CountedStates:
    """What the modules of one transaction change: they are mostly of few nodes and projects, so it is summed first."""

    def __init__(self) -> None:
        self._totals: dict[str, list[int]] = {}  # by node
        self._projects: Counter[tuple[str, str]] = Counter()
        self._evaluations: Counter[tuple[str, str]] = Counter()

    def add(self, state: ModuleState, sign: int) -> None:
        """A module (sign 1), or take it back (-1)."""
        if not state.counts_in_totals:
            return
        counts, sums = state.counts, self._totals.setdefault(state.node, [0] * 5)
        for place, number in enumerate((counts.passed, counts.failed, counts.errors, counts.skipped, 1)):
            sums[place] += sign * number
        self._projects[state.node, state.project] += sign
        self._evaluations[state.node, state.evaluation] += sign

    def write(self, connection: sqlite3.Connection) -> None:
        for node, sums in self._totals.items():
            connection.execute(_ADD_TOTALS, (node, *sums))
        for table, uses in (("node_projects", self._projects), ("node_evaluations", self._evaluations)):
            for key, change in uses.items():
                if change:
                    _add_use(connection, table, key, change)


def count_evaluation(connection: sqlite3.Connection, evaluation: Evaluation, sign: int) -> None:
    """Add an evaluation (sign 1), or take it back (-1): names of projects, archives, what was pruned."""
    for name in _names_of(evaluation):
        _add_use(connection, "project_names", (name,), sign)
    _count_shares(connection, evaluation, sign)
    if sign < 0:
        connection.execute("DELETE FROM archives WHERE evaluation = ?", (evaluation.id,))
    else:
        connection.executemany("INSERT OR REPLACE INTO archives VALUES (?, ?, ?)", _archives_of(evaluation))


def _names_of(evaluation: Evaluation) -> set[str]:
    """Of its projects; of one that was pruned the share without modules has them."""
    if evaluation.pruned is None:
        return {project.name for project in evaluation.projects}
    return {name for share in evaluation.pruned.shares if not share.modules for name in share.projects}


def _archives_of(evaluation: Evaluation) -> list[tuple[str, str, bool]]:
    archives = evaluation.archives if evaluation.pruned is None else evaluation.pruned.archives
    return [(evaluation.id, digest, evaluation.pruned is not None) for digest in archives]


def _count_shares(connection: sqlite3.Connection, evaluation: Evaluation, sign: int) -> None:
    for share in evaluation.pruned.shares if evaluation.pruned else ():
        if share.modules:
            _add_totals(connection, share.node, share.counts, share.modules, sign)
            for project in set(share.projects):
                _add_use(connection, "node_projects", (share.node, project), sign)


def _add_totals(connection: sqlite3.Connection, node: str, counts: Counts, modules: int, sign: int) -> None:
    numbers = (counts.passed, counts.failed, counts.errors, counts.skipped, modules)
    connection.execute(_ADD_TOTALS, (node, *(sign * number for number in numbers)))


def _add_use(connection: sqlite3.Connection, table: str, key: tuple[str, ...], change: int) -> None:
    connection.execute(
        f"INSERT INTO {table} VALUES ({'?, ' * len(key)}?) ON CONFLICT DO UPDATE SET uses = uses + excluded.uses",  # noqa: S608
        (*key, change),
    )
    if change < 0:
        column = "name = ?" if table == "project_names" else f"node = ? AND {table[5:-1]} = ?"
        connection.execute(f"DELETE FROM {table} WHERE {column} AND uses = 0", key)  # noqa: S608


def rebuild(connection: sqlite3.Connection) -> None:
    """Everything derived, from the records. Within a transaction of the caller."""
    for table in _DERIVED:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    for table in ("modules", "tests"):  # a log that was cut short may have them still
        connection.execute(
            f"DELETE FROM {table} WHERE evaluation IN (SELECT id FROM evaluations WHERE stage = {PRUNED})"  # noqa: S608
        )
    digests: dict[str, int] = {}
    for query in ("SELECT id, fingerprint FROM evaluations", "SELECT evaluation, fingerprint FROM modules"):
        for evaluation_id, fingerprint in connection.execute(query):
            digests[evaluation_id] = digests.get(evaluation_id, 0) ^ fingerprint
    connection.executemany("INSERT INTO digests VALUES (?, ?)", digests.items())
    connection.execute(
        "INSERT INTO node_totals SELECT node, sum(passed), sum(failed), sum(errors), sum(skipped), count(*)"  # noqa: S608
        f" FROM modules WHERE {_COUNTED} GROUP BY node"
    )
    for name in ("project", "evaluation"):
        connection.execute(
            f"INSERT INTO node_{name}s SELECT node, {name}, count(*) FROM modules"  # noqa: S608
            f" WHERE {_COUNTED} GROUP BY node, {name}"
        )
    names: Counter[str] = Counter()
    for (document,) in connection.execute("SELECT document FROM evaluations"):
        evaluation = stored_evaluation(document)
        names.update(_names_of(evaluation))
        _count_shares(connection, evaluation, 1)
        connection.executemany("INSERT OR REPLACE INTO archives VALUES (?, ?, ?)", _archives_of(evaluation))
    connection.executemany("INSERT INTO project_names VALUES (?, ?)", names.items())


# Answers -------------------------------------------------------------------------------------


def totals(connection: sqlite3.Connection) -> tuple[Counts, int, int]:
    sums = connection.execute(
        "SELECT total(passed), total(failed), total(errors), total(skipped) FROM node_totals"
    ).fetchone()
    names = connection.execute("SELECT count(*) FROM project_names").fetchone()[0]
    evaluations = connection.execute("SELECT count(*) FROM evaluations").fetchone()[0]
    return Counts(*map(int, sums)), names, evaluations


def totals_of(connection: sqlite3.Connection, node: str) -> tuple[Counts, int, int, tuple[str, ...]]:
    *sums, modules = connection.execute(
        "SELECT passed, failed, errors, skipped, modules FROM node_totals WHERE node = ?", (node,)
    ).fetchone() or (0, 0, 0, 0, 0)
    projects = connection.execute("SELECT count(*) FROM node_projects WHERE node = ?", (node,)).fetchone()[0]
    ids = connection.execute(
        "SELECT e.id FROM node_evaluations n JOIN evaluations e ON e.id = n.evaluation"
        " WHERE n.node = ? ORDER BY e.submitted_at, e.id",
        (node,),
    )
    return Counts(*sums), projects, modules, tuple(row[0] for row in ids)
