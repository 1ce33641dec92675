"""The durable store's history of how long test files took: in memory for who asks, in a table for the next start."""

import math
import sqlite3
from collections import OrderedDict
from collections.abc import Sequence

from testmesh.model import Evaluation, ModuleState
from testmesh.node.storage.sqlite_merge import Merged
from testmesh.node.storage.sqlite_schema import stored_evaluation
from testmesh.node.storage.timings import Contents, Timing, Timings, contents_of, tells_time

_COLUMNS = "content, wall, cpu, runs"
_MOST = 2**62  # of what is counted
_MODULES_AT_HAND = 50_000  # of evaluations whose plans are kept in memory


class SqliteHistory:
    """`timing` is safe from any thread; the rest is for whoever has the writing connection.

    It is a hint and no record: what is lost of it, or cannot be read, comes again with the next runs.
    """

    def __init__(self, writer: sqlite3.Connection) -> None:
        self._timings = Timings()
        self._number = 0  # of the newest row: they are numbered in the order of their last runs
        self._plans = _Plans()
        for number, content, *row in writer.execute(f"SELECT number, {_COLUMNS} FROM history ORDER BY number"):  # noqa: S608
            if _is_timing(number, row):
                self._number = number
                self._timings.take({content: Timing(*row)})

    def timing(self, content: str) -> Timing | None:
        return self._timings.get(content)

    def learn(self, writer: sqlite3.Connection, merged: Merged) -> None:
        """Within the merge's transaction. It counts once it is `committed`."""
        for evaluation in merged.evaluations.values():
            self._plans.keep(evaluation)
        told = [record.state for record in merged.modules.values() if tells_time(record.state)]
        results = ((self._plans.content_of(writer, state), state) for state in told)
        merged.timings = self._timings.learned((content, state) for content, state in results if content)
        if not merged.timings:
            return
        merged.forgotten = self._timings.forgotten(merged.timings)
        rows = [
            (content, timing.wall, timing.cpu, timing.runs, number)
            for number, (content, timing) in enumerate(merged.timings.items(), self._number + 1)
        ]
        writer.executemany(f"INSERT OR REPLACE INTO history ({_COLUMNS}, number) VALUES (?, ?, ?, ?, ?)", rows)  # noqa: S608
        if merged.forgotten:
            writer.executemany("DELETE FROM history WHERE content = ?", [(content,) for content in merged.forgotten])

    def committed(self, merged: Merged) -> None:
        self._timings.take(merged.timings, merged.forgotten)
        self._number += len(merged.timings)


class _Plans:
    """The contents of the evaluations at hand: a record is long, and is not to be read for each of its results."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Contents] = OrderedDict()
        self._modules = 0

    def keep(self, evaluation: Evaluation) -> None:
        self._modules -= len(self._kept.pop(evaluation.id, ()))
        self._kept[evaluation.id] = contents = contents_of(evaluation)
        self._modules += len(contents)
        while self._modules > _MODULES_AT_HAND and len(self._kept) > 1:
            self._modules -= len(self._kept.popitem(last=False)[1])

    def content_of(self, writer: sqlite3.Connection, state: ModuleState) -> str:
        """The digest of a module's file, "" where it is not known."""
        if state.evaluation not in self._kept:
            row = writer.execute("SELECT document FROM evaluations WHERE id = ?", (state.evaluation,)).fetchone()
            if row is None:
                return ""
            self.keep(stored_evaluation(row[0]))
        self._kept.move_to_end(state.evaluation)
        return self._kept[state.evaluation].get((state.project, state.module), "")


def _is_timing(number: object, row: Sequence[object]) -> bool:
    """Whether a row has what was written there."""
    wall, cpu, runs = row
    seconds = all(isinstance(value, float) and 0.0 <= value < math.inf for value in (wall, cpu))
    return seconds and all(isinstance(value, int) and 0 < value < _MOST for value in (runs, number))
