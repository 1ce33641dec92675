"""What can still be read of a damaged database, record by record. What cannot is left out: peers have it."""

import contextlib
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from testmesh.errors import TestmeshError
from testmesh.model import Evaluation, ModuleState, TestResult
from testmesh.node.messaging.codec import checked, unpack_tests
from testmesh.node.storage.replica import Changes, ModuleRecord, fingerprint, module_fingerprint
from testmesh.node.storage.sqlite_schema import STATE_COLUMNS, has_tables, make_tables, state_of, stored_evaluation

_AT_ONCE = 500
_VALID_FOR = slice(92, 96)  # of the header: the change counter at which its number of pages was right
_STATE = TypeAdapter(ModuleState)
_KEYS = "evaluation, project, module"


def salvage(damaged: Path) -> Iterator[Changes]:
    """In batches. A record counts as read only if it has the fingerprint it was written with. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="salvage-", dir=damaged.parent) as folder:
        yield from _of_file(damaged if _has_tables(damaged) else _with_first_page(damaged, Path(folder)))


def _has_tables(path: Path) -> bool:
    try:
        with contextlib.closing(_connect(path)) as file:
            return has_tables(file)
    except (sqlite3.Error, TestmeshError):
        return False


def _with_first_page(damaged: Path, folder: Path) -> Path:
    """A copy with the first page of a new database, which tells where tables begin: always at the same pages."""
    new, copy = folder / "new.db", folder / "copy.db"
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        make_tables(file)
        size = file.execute("PRAGMA page_size").fetchone()[0]
    for part in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{damaged}{part}", f"{copy}{part}")
    first = bytearray(new.read_bytes()[:size])
    first[_VALID_FOR] = bytes(4)  # not the change counter's: the number of pages is then that of the file
    with copy.open("r+b") as file_:
        file_.write(first)
    return copy


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _of_file(path: Path) -> Iterator[Changes]:
    with contextlib.closing(_connect(path)) as file:
        file.text_factory = bytes  # text that is none is found below, with the rest of its row left out alone
        ids: list[str] = []
        for batch in _batches(_evaluations(file)):
            ids += [evaluation.id for evaluation in batch]
            yield Changes(evaluations=tuple(batch))
        for modules in _batches(_modules(file, ids)):
            yield Changes(modules=tuple(modules))


def _evaluations(file: sqlite3.Connection) -> Iterator[Evaluation]:
    for row in _walk(file, "document, fingerprint", "evaluations", "rowid"):
        with contextlib.suppress(TestmeshError, TypeError):
            evaluation = stored_evaluation(row[0])
            if fingerprint(evaluation) == row[1]:
                yield evaluation


def _modules(file: sqlite3.Connection, ids: list[str]) -> Iterator[ModuleRecord]:
    """The whole table from both ends; where it is broken in between, also from both ends of each evaluation."""
    for row in _module_rows(file, ids):
        record = _record(file, row)
        if record is not None:
            yield record


def _module_rows(file: sqlite3.Connection, ids: list[str]) -> Iterator[tuple[Any, ...]]:
    columns = f"{STATE_COLUMNS}, tests, fingerprint"
    whole = yield from _walk(file, columns, "modules", _KEYS)
    for evaluation_id in () if whole else ids:
        yield from _walk(file, columns, "modules", _KEYS, (evaluation_id,))


def _record(file: sqlite3.Connection, row: tuple[Any, ...]) -> ModuleRecord | None:
    """A result whose tests alone are gone stands; its fingerprint then differs from the peers', who give it again."""
    try:
        texts = [value.decode() if isinstance(value, bytes) else value for value in row[:-2]]
        state = state_of(texts)
        checked(_STATE.validate_python(state, strict=True))
        if module_fingerprint(state, row[-2]) != row[-1]:
            return None
        tests = checked(_tests(file, row[:3]) if row[-2] else ())
    except (TestmeshError, ValidationError, ValueError, TypeError):
        return None
    return ModuleRecord(state, tests if len(tests) == row[-2] else ())


def _tests(file: sqlite3.Connection, place: tuple[bytes, ...]) -> tuple[TestResult, ...]:
    """By the index where it can be read, and whatever it finds is checked by what it belongs to."""
    query = "SELECT outcomes FROM tests WHERE evaluation = ? AND project = ? AND module = ?"
    try:
        row = file.execute(query, tuple(part.decode() for part in place)).fetchone()
        return unpack_tests(row[0]) if row else ()
    except (sqlite3.Error, zlib.error, ValidationError, TypeError):
        return ()


def _walk(
    file: sqlite3.Connection, columns: str, table: str, keys: str, of: tuple[str, ...] = ()
) -> Generator[tuple[Any, ...], None, bool]:
    """Rows in the order of their key until one cannot be read, then from the end backwards until one cannot.

    Gives whether all could be.
    """
    where = "WHERE evaluation = ?" if of else ""
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{key} {direction}" for key in keys.split(", "))
        try:
            yield from file.execute(f"SELECT {columns} FROM {table} {where} ORDER BY {order}", of)  # noqa: S608
        except sqlite3.Error:
            continue
        return direction == "ASC"
    return False


def _batches(records: Iterator[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for record in records:
        batch.append(record)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
