"""Uploaded zips: checked without writing anything, read as a tree, unpacked, and laid over a project."""

import errno
import os
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from testmesh.errors import InfrastructureError, MalformedError, TooLargeError
from testmesh.testing.archive_structure import STORED, Entry, read_entries, shorten
from testmesh.testing.overlay import below_root, overlay_root, plan_layer
from testmesh.testing.tree import MAC_EXTRAS

DENSE_RATIO, DENSE_MAX = 200, 64 * 1024**2  # at most this much may unpack at more than this ratio
LEFT_OUT = frozenset({".git", MAC_EXTRAS, "__pycache__"})
_PIECE = 256 * 1024
_CHECKED = 10_000_000  # entries of an archive that was checked: the most MESH_MAX_ENTRIES takes


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    max_upload: int  # bytes of the zip itself
    max_unpacked: int  # bytes of all its files
    max_entries: int


def check_archive(path: Path, limits: ArchiveLimits) -> None:
    """Unpack a zip to nowhere, counting. Memory is constant but for the list of entries.

    Raises:
        MalformedError: it is no zip, or damaged, encrypted or unsafe in any way.
        TooLargeError: it is, or unpacks to, more than a limit; noticed as soon as the limit is passed.
    """
    with _opened(path) as fd:
        upload = os.fstat(fd).st_size
        if upload > limits.max_upload:
            raise TooLargeError(f"The zip has {upload} bytes, more than the {limits.max_upload} allowed.")
        entries = read_entries(fd, limits.max_entries)
        # What it declares may be too much already; what it declares too small shows while unpacking.
        _check_counts(sum(entry.size for entry in entries), sum(_dense(entry, entry.size) for entry in entries), limits)
        unpacked = dense = 0
        for entry in entries:
            size = 0
            for piece in _contents(fd, entry):
                size += len(piece)
                _check_counts(unpacked + size, dense + _dense(entry, size), limits)
            unpacked += size
            dense += _dense(entry, size)


def _dense(entry: Entry, size: int) -> int:
    return size if size > DENSE_RATIO * entry.packed else 0


def _check_counts(unpacked: int, dense: int, limits: ArchiveLimits) -> None:
    if unpacked > limits.max_unpacked:
        raise TooLargeError(f"The zip unpacks to more than the {limits.max_unpacked} bytes allowed; leave files out.")
    if dense > DENSE_MAX:
        raise TooLargeError(
            f"The zip unpacks more than {DENSE_MAX} bytes at over {DENSE_RATIO}:1, as a zip bomb does; "
            "leave out generated files."
        )


class ZipTree:
    """The files of a checked archive as a `Tree`. Close it, or use it in a `with`; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._entries = {entry.path: entry for entry in read_entries(self.fd, _CHECKED) if not entry.is_folder}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ZipTree":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def files(self) -> Mapping[str, int]:
        return {path: entry.size for path, entry in self._entries.items()}

    def read(self, path: str, limit: int) -> bytes:
        pieces, held = [], 0
        for piece in _contents(self.fd, self._entries[path]):
            pieces.append(piece)
            held += len(piece)
            if held >= limit:
                break
        return b"".join(pieces)[:limit]


def unpack(archive: Path, root: str, destination: Path) -> None:
    """Write all that lies below folder `root` ("" is everything) of a checked archive to a new or empty folder.

    Left out: `.git`, `__MACOSX`, `__pycache__`, and virtual environments, which work nowhere but where they were made
    and would be copied for every module. Modes are 0644 and 0755 whatever the umask is.

    Raises:
        InfrastructureError: the disk is full, or the destination is not empty.
        MalformedError: the archive is damaged.
    """
    with _disk_errors():
        destination.mkdir(parents=True, exist_ok=True)
        if any(destination.iterdir()):
            raise InfrastructureError(f"{destination} is not empty; unpack into a new folder.")
        destination.chmod(0o755)
        with _opened(archive) as fd:
            _write_all(fd, _without_environments(read_entries(fd, _CHECKED), root), root, destination)


def _without_environments(entries: list[Entry], root: str) -> list[Entry]:
    markers = [entry.path.rpartition("/") for entry in entries if not entry.is_folder]
    below = f"{root}/" if root else ""
    found = {folder for folder, _, name in markers if name == "pyvenv.cfg"}
    environments = {folder for folder in found if folder and folder.startswith(below)}
    if not environments:
        return entries
    return [entry for entry in entries if environments.isdisjoint(_folders_of(entry.path))]


def _folders_of(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}


def lay_over(overlay: Path, project: Path) -> None:
    """Lay the staff's tests over an unpacked project; files, folders and links that are in the way are removed.

    The folder that wraps the staff's zip is left away as `overlay.overlay_root` says, and what else of the student's
    goes is for `overlay.plan_layer` to say.

    Raises:
        InfrastructureError: the disk is full.
        MalformedError: the archive is damaged.
    """
    with _disk_errors(), ZipTree(overlay) as tree:
        layer = plan_layer(_Unpacked(project), below_root(tree))
        for path in layer.removed:
            (project / path).unlink(missing_ok=True)  # two may be one where case is folded
        _write_all(tree.fd, tree.entries(), overlay_root(tree.files()), project)
        for path, content in layer.written.items():
            with _new_file(project / path) as file:
                file.write(content)


class _Unpacked:
    """A project's folder as a `Tree`. Links are there by name, but empty: none is followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, int] = {}
        for place, _, names in os.walk(folder):
            for name in names:
                path = Path(place, name)
                status = path.lstat()
                self._sizes[path.relative_to(folder).as_posix()] = status.st_size if stat.S_ISREG(status.st_mode) else 0

    def files(self) -> Mapping[str, int]:
        return self._sizes

    def read(self, path: str, limit: int) -> bytes:
        if not self._sizes[path]:
            return b""
        with (self._folder / path).open("rb") as file:
            return file.read(limit)


def _write_all(fd: int, entries: list[Entry], root: str, destination: Path) -> None:
    prefix = f"{root}/" if root else ""
    known: set[Path] = {destination}
    for entry in entries:
        if not entry.path.startswith(prefix):
            continue
        parts = entry.path[len(prefix) :].split("/")
        if LEFT_OUT.intersection(parts):
            continue
        target = destination.joinpath(*parts)
        if not target.is_relative_to(destination) or ".." in parts:
            raise MalformedError(f"{shorten(entry.path)} leaves the archive.")
        _make_folders(destination, parts if entry.is_folder else parts[:-1], known)
        if not entry.is_folder:
            _write(fd, entry, target)


def _make_folders(destination: Path, parts: list[str], known: set[Path]) -> None:
    folder = destination
    for part in parts:
        folder = folder / part
        if folder in known:
            continue
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
        known.add(folder)


@contextmanager
def _new_file(target: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A file made anew in place of whatever is there, to be written without a buffer."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    # O_EXCL never follows a link and never shares a file that another still holds.
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(out, "wb", buffering=0) as file:
        os.fchmod(out, mode)
        yield file


def _write(fd: int, entry: Entry, target: Path) -> None:
    with _new_file(target, 0o755 if entry.is_executable else 0o644) as file:
        for piece in _contents(fd, entry):
            view = memoryview(piece)
            while view:
                view = view[file.write(view) :]


def _contents(fd: int, entry: Entry) -> Iterator[bytes]:
    """The unpacked bytes, piece by piece; at their end the size and the checksum were right.

    Raises:
        MalformedError: they are not, or the packed bytes are damaged.
    """
    crc = size = 0
    for piece in _stored(fd, entry) if entry.method == STORED else _inflated(fd, entry):
        crc = zlib.crc32(piece, crc)
        size += len(piece)
        yield piece
    if size != entry.size or crc != entry.crc:
        raise _damaged(entry)


def _stored(fd: int, entry: Entry) -> Iterator[bytes]:
    at, end = entry.data, entry.data + entry.packed
    while at < end:
        piece = os.pread(fd, min(_PIECE, end - at), at)
        if not piece:
            raise _damaged(entry)
        at += len(piece)
        yield piece


def _inflated(fd: int, entry: Entry) -> Iterator[bytes]:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    at, end = entry.data, entry.data + entry.packed
    waiting = b""
    while not engine.eof:
        if not waiting and at < end:
            waiting = os.pread(fd, min(_PIECE, end - at), at)
            at += len(waiting)
        try:
            piece = engine.decompress(waiting, _PIECE)
        except zlib.error:
            raise _damaged(entry) from None
        consumed = len(waiting) - len(engine.unconsumed_tail)
        waiting = engine.unconsumed_tail
        if piece:
            yield piece
        elif not consumed and not engine.eof:
            raise _damaged(entry)
    if engine.unused_data or at < end:
        raise _damaged(entry)


def _damaged(entry: Entry) -> MalformedError:
    return MalformedError(f"{shorten(entry.path)} is damaged in the zip; pack it again with an ordinary zip program.")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """A full disk is the node's fault, not the student's."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InfrastructureError("The disk of this node is full; free space and run again.") from error
        raise
