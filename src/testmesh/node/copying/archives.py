"""The archives a node holds, by content: `<sha256>.zip`. What is here is whole and on the disk for good.

Disks lose bits: each file is compared with its name once before this process uses it, and again when it changed. A
damaged one is set aside as `<sha256>.damaged`, and is fetched from another holder as if it had never been here.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from testmesh.errors import DiskFullError, InfrastructureError, MalformedError

log = logging.getLogger(__name__)
_NAME = re.compile(r"[0-9a-f]{64}")
_DAMAGED_KEPT = 3
_Identity = tuple[int, int, int]  # of a file's content, as the system tells it: inode, size, time of modification


class ArchiveStore:
    """Safe from any thread: files appear by rename and are never changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._uncertain: Counter[str] = Counter()  # brought by blocks of `taking` that have not ended
        self._in_use: Counter[str] = Counter()  # needed by blocks of `taking` that have not ended
        self._whole: dict[str, _Identity] = {}  # files whose content was compared with their name
        self._used_at: dict[str, float] = {}  # monotonic seconds
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob("*.part"):
            torn.unlink()

    def path(self, digest: str) -> Path | None:
        """Where the archive is, or None where this node does not hold it, or not whole."""
        place = self._place(digest)
        identity = _identity(place)
        if identity is None:
            return None
        with self._lock:
            self._used_at[digest] = time.monotonic()
            if self._whole.get(digest) == identity:
                return place
        try:
            is_whole = _sha256(place) == digest
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("the archive %s cannot be read: %s", place.name, error)  # noqa: TRY400 - the disk's fault
            is_whole = False
        if not is_whole:
            self._set_aside(place, identity)
            return None
        with self._lock:
            self._whole[digest] = identity
        return place

    def is_checked(self, digest: str) -> bool:
        """Whether `path` tells at once, without reading the whole file."""
        identity = _identity(self._place(digest))
        with self._lock:
            return identity is None or self._whole.get(digest) == identity

    @contextlib.contextmanager
    def keeping(self, digests: Iterable[str]) -> Iterator[None]:
        """Nothing of this is dropped in the block, which ends when a record says that it is needed."""
        kept = Counter(digests)
        with self._lock:
            self._in_use += kept
        try:
            yield
        finally:
            with self._lock:
                self._in_use -= kept

    @contextlib.contextmanager
    def taking(self) -> Iterator[Callable[[Path], str]]:
        """Gives a function that moves a finished file in, fsynced, and gives its digest.

        Where the block ends with an error, what it brought is gone again, unless another block brought the same.

        Raises:
            DiskFullError, InfrastructureError: the file stays where it was.
        """
        fresh: list[str] = []
        used: list[str] = []

        def take(upload: Path) -> str:
            with _disk_errors():
                digest = _sha256(upload)
                place = self._place(digest)
                self.path(digest)  # a damaged one makes room
                _fsync(upload)
                with self._lock:
                    used.append(digest)
                    self._in_use[digest] += 1
                    if place.is_file() and digest not in self._uncertain:
                        upload.unlink()
                        return digest
                    self._uncertain[digest] += 1
                    fresh.append(digest)
                    upload.replace(place)
                    self._is_whole(digest)
                _fsync(self._folder)
            return digest

        failed = True
        try:
            yield take
            failed = False
        finally:
            with self._lock:
                self._in_use -= Counter(used)
                for digest in fresh:
                    if not failed:
                        self._uncertain.pop(digest, None)  # certain now, whatever becomes of the others
                    elif digest in self._uncertain:
                        self._uncertain[digest] -= 1
                        if self._uncertain[digest] == 0:
                            del self._uncertain[digest]
                            self._place(digest).unlink(missing_ok=True)

    def fetch(self, digest: str, download: Callable[[Path], None]) -> Path:
        """The archive's path; where it is not here, `download` writes it and its content is checked against the digest.

        Raises:
            InfrastructureError: what came is not that archive. And what `download` raises.
        """
        place = self._place(digest)
        if self._keep(digest):
            return place
        with _disk_errors():
            handle, name = tempfile.mkstemp(suffix=".part", dir=self._folder)
            os.close(handle)
            part = Path(name)
            try:
                download(part)
                if _sha256(part) != digest:
                    raise InfrastructureError(f"The archive {digest[:12]} arrived damaged; it is fetched again.")
                _fsync(part)
                with self._lock:
                    part.replace(place)
                    self._is_whole(digest)
                    self._uncertain.pop(digest, None)
                _fsync(self._folder)
            finally:
                part.unlink(missing_ok=True)
        return place

    def _keep(self, digest: str) -> bool:
        """Whether it is here: then for good, whatever becomes of the blocks that brought it."""
        if self.path(digest) is None:
            return False
        with self._lock:
            found = self._place(digest).is_file()
            if found:
                self._uncertain.pop(digest, None)
        return found

    def drop(self, digest: str, is_needed: Callable[[str], bool] = lambda _: False) -> None:
        """Remove it; not so where a block of `taking` brings the same just now, or `is_needed` says so.

        Asked in this order, so that no submission falls between: it is acknowledged before its block ends.
        """
        with self._lock:
            if digest not in self._in_use and not is_needed(digest):
                self._place(digest).unlink(missing_ok=True)
                self._whole.pop(digest, None)
                self._used_at.pop(digest, None)

    def age(self, digest: str, now: float) -> float:
        """Seconds of wall time since it was stored, 0 where it is not here."""
        identity = _identity(self._place(digest))
        return 0.0 if identity is None else now - identity[2] / 1e9

    def used_at(self, digest: str) -> float | None:
        """When it was last asked for, in monotonic seconds; None where it was not since this process began."""
        with self._lock:
            return self._used_at.get(digest)

    def held(self) -> set[str]:
        return {path.stem for path in self._folder.glob("*.zip")}

    def _place(self, digest: str) -> Path:
        if not _NAME.fullmatch(digest):
            raise MalformedError("An archive is named by its SHA-256 in lower-case hexadecimal.")
        return self._folder / f"{digest}.zip"

    def _is_whole(self, digest: str) -> None:
        """Its content was compared before it was moved in. Under the lock."""
        identity = _identity(self._place(digest))
        if identity is not None:
            self._whole[digest] = identity

    def _set_aside(self, place: Path, identity: _Identity) -> None:
        """To be looked at by people, if they like; of many, the last few."""
        with self._lock:
            if _identity(place) != identity:
                return  # another thread was quicker, and perhaps a whole one is there by now
            log.error("archive %s is damaged on this disk; it is set aside and fetched from another node", place.stem)
            try:
                os.utime(place)  # from now on, the time it was found
                place.replace(place.with_suffix(".damaged"))
                found = sorted(self._folder.glob("*.damaged"), key=lambda path: path.stat().st_mtime)
                for old in found[:-_DAMAGED_KEPT]:
                    old.unlink()
            except OSError as error:
                log.error("it cannot be set aside: %s", error)  # noqa: TRY400 - the disk's fault
                with contextlib.suppress(OSError):
                    place.unlink()


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError("The node's disk is full; try another node or free some room.") from None
        raise InfrastructureError(f"The node's disk failed: {error.strerror or error}.") from error
