"""Connections to the durable store's file: one that writes, a pool that reads; and a file that turns out to be damaged.

A damaged file is set aside and a new one opened in its place, whether it shows at the start or in the middle of a read.
Every connection is closed before: the last one to close a renamed database would delete the log of the new one.
"""

import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from testmesh.errors import DiskFullError, InfrastructureError
from testmesh.node.storage.set_aside import set_aside
from testmesh.node.storage.sqlite_schema import DamagedError, has_tables, make_tables

log = logging.getLogger(__name__)
T = TypeVar("T")
_READERS = 8
_REPAIRS = 3  # a disk that damages every new file too is not written to for ever
_CHECK_UP_TO = 256 * 1024 * 1024  # bytes of a file that are looked through at the start: at most a second or so
_SMALLEST = 512  # bytes of a database
_LOG_SIZE = 4 * 1024 * 1024  # of the write-ahead log, before it is written into the file
_LOG_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_CHECKPOINT_PATIENCE_MS, _PATIENCE_MS = 200, 30_000

Opened = Callable[[sqlite3.Connection, Path | None, bool], None]


class Connections:
    """Raises DiskFullError where there is no room, InfrastructureError for other faults.

    `opened` is called with the writing connection whenever a file was opened, before anybody else uses it: with the
    file that was set aside for it, if one was, and with whether it was closed in order.
    """

    def __init__(self, path: Path, opened: Opened) -> None:
        self._path = path
        self._opened = opened
        self._lock = threading.Lock()
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._generation = 0
        self._checkpoint_at = _LOG_SIZE
        self.writer = self._open(None)

    def read(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """`use` may be called again, should the file turn out to be damaged."""

        def once() -> T:
            reader = self._readers.get()
            try:
                with _faults():
                    return use(reader)
            finally:
                self._readers.put(reader)

        return self._mending(once)

    def write(self, use: Callable[[sqlite3.Connection], T], committed: Callable[[T], None]) -> T:
        """One transaction. `committed` gets what `use` gave, before anybody else writes."""

        def once() -> T:
            with self._lock, _faults():
                with transaction(self.writer):
                    result = use(self.writer)
                committed(result)
                self._checkpoint_if_due()
            return result

        return self._mending(once)

    def checkpoint(self) -> None:
        """Write the log into the file and empty it; what was erased is then in neither. For `committed` only."""
        with contextlib.suppress(sqlite3.Error):
            self.writer.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_PATIENCE_MS}")  # a reader may be at it
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.writer.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")

    def close(self) -> None:
        """Whoever still reads or merges afterwards gets an InfrastructureError."""
        with self._lock:
            readers = self._take_readers()
            for connection in (*readers, self.writer):
                connection.close()
            for reader in readers:
                self._readers.put(reader)

    # Damage ----------------------------------------------------------------------------------

    def _mending(self, once: Callable[[], T]) -> T:
        for _ in range(_REPAIRS):
            generation = self._generation
            try:
                return once()
            except DamagedError as error:
                self._mend(generation, error)
        raise InfrastructureError(f"The node's database {self._path} is damaged again and again; look at its disk.")

    def _mend(self, generation: int, why: DamagedError) -> None:
        with self._lock:
            if generation != self._generation:
                return  # another thread was first
            readers = self._take_readers()
            try:
                for connection in (*readers, self.writer):
                    connection.close()
                self.writer = self._open(self._set_aside(why))
                readers = []
            except InfrastructureError as error:
                log.error("%s", error)  # noqa: TRY400 - it says where; the trace would say no more
                raise
            finally:
                for reader in readers:  # closed: nothing can be read any more, and nobody waits for it
                    self._readers.put(reader)
                self._generation += 1

    def _take_readers(self) -> list[sqlite3.Connection]:
        return [self._readers.get() for _ in range(_READERS)]

    def _set_aside(self, why: DamagedError) -> Path:
        try:
            aside = set_aside(self._path)
        except OSError as error:
            raise InfrastructureError(
                f"The database {self._path} is damaged ({why}) and cannot be set aside: {error.strerror or error}. Make"
                " its folder writable, or move the file away; the node fetches its records from its peers."
            ) from None
        log.error(
            "%s is damaged (%s): it is now %s, what can be read of it goes into a new one, the rest comes from peers",
            self._path,
            why,
            aside,
        )
        return aside

    def _open(self, damaged: Path | None) -> sqlite3.Connection:
        """The writing connection of a file that is in order; the readers are in the pool."""
        for _ in range(_REPAIRS):
            found: list[sqlite3.Connection] = []
            try:
                with _faults():
                    in_order = self._create() or not _size(f"{self._path}-wal")
                    found.append(self._checked())
                    self._opened(found[0], damaged, in_order)
                    found += [self._connect() for _ in range(_READERS)]
            except BaseException as error:
                for connection in found:
                    connection.close()
                if not isinstance(error, DamagedError):
                    raise
                damaged = self._set_aside(error)
            else:
                for reader in found[1:]:
                    self._readers.put(reader)
                return found[0]
        raise InfrastructureError(f"The node's database {self._path} is damaged again and again; look at its disk.")

    def _create(self) -> bool:
        """Whether there was none. It is its owner's alone; SQLite gives the files beside it the same mode."""
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            if _size(self._path) < _SMALLEST:  # SQLite would take it for a new one
                raise DamagedError("it is empty") from None
            return False
        except OSError as error:
            raise InfrastructureError(f"{self._path} cannot be made: {error.strerror or error}.") from None
        return True

    def _checked(self) -> sqlite3.Connection:
        log_file = Path(f"{self._path}-wal")
        if _size(log_file) and _begin_of(log_file) not in _LOG_MAGIC:
            raise DamagedError("its write-ahead log is none")
        size = _size(self._path)
        if size:  # looked at without a change, for it may be another version's
            with contextlib.closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as file:
                exists = has_tables(file)
        connection = self._connect()
        try:
            if not size or not exists:
                make_tables(connection)
            elif size <= _CHECK_UP_TO:
                _check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA cache_size = -2000")
            # The log is written into the file by `checkpoint` alone, which empties it: so a log that is cut short takes
            # the newest records with it, and never leaves a file that is newer than the log says.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def _checkpoint_if_due(self) -> None:
        if _size(f"{self._path}-wal") >= self._checkpoint_at:
            self.checkpoint()
            self._checkpoint_at = _size(f"{self._path}-wal") + _LOG_SIZE  # not at once again where a reader hindered it


def _check(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(" ".join(found.split()))


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise DiskFullError("The node's disk is full; try another node or free some room.") from None
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "decode to UTF-8" in str(error):
            raise DamagedError(str(error)) from None
        raise InfrastructureError(f"The node's database failed: {error}.") from error


def _size(path: Path | str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _begin_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:
        return b""
