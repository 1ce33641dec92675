"""Turns GitHub's tarball of a commit into a zip that passes the same checks as an uploaded one.

The files are stored, not compressed: zlib's output differs from version to version, and the same commit must give the
same bytes, and so the same hash, on every node. Memory stays constant but for the names.
"""

import gzip
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from testmesh.errors import SourceError
from testmesh.testing.archive import DENSE_MAX, DENSE_RATIO, ArchiveLimits
from testmesh.testing.archive_structure import MAX_NAME, MAX_PATH

_CHUNK = 256 * 1024
_HEADER_LIMIT = 64 * 1024  # of one member, with its long name; tarfile reads it into memory
_PADDING_LIMIT = 1024**2  # after the last member
_UNSAFE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, what was no UTF-8, line and paragraph separators
_DATE = (1980, 1, 1, 0, 0, 0)
_END = bytes(tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class RepackNotes:
    """What went into the zip, and how much of the tarball did not."""

    files: int = 0
    unpacked: int = 0  # bytes
    links: int = 0
    devices: int = 0  # devices, fifos and whatever else is no file
    odd_names: int = 0  # control characters, backslashes, not UTF-8, too long
    submodules: bool = False

    @property
    def sentences(self) -> tuple[str, ...]:
        said = [
            f"Left out: {count} {what}."
            for count, what in (
                (self.links, "symbolic or hard links"),
                (self.devices, "devices, fifos or the like"),
                (self.odd_names, "files whose names cannot be unpacked everywhere"),
            )
            if count
        ]
        return (*said, *(["Submodules are not fetched."] if self.submodules else []))


def repack(tarball: Path, destination: Path, limits: ArchiveLimits) -> RepackNotes:
    """Write the files of `tarball` to the zip `destination`, without the folder that wraps them, executable bits kept.

    On an error no zip is left.

    Raises:
        SourceError: damaged, over a limit, or not safe to unpack.
    """
    try:
        with tarball.open("rb") as raw, gzip.GzipFile(fileobj=raw) as unzipped:
            return _repacked(_Forward(unzipped, tarball.stat().st_size), destination, limits)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError, LookupError, RecursionError):
        destination.unlink(missing_ok=True)
        failure = SourceError("The repository's archive came damaged; submit it again.")
    except BaseException:
        destination.unlink(missing_ok=True)
        raise
    raise failure


class _Forward:
    """The tarball's content as the file that tarfile reads, forward only; counts what comes out.

    tarfile takes whole headers into memory and follows the sizes they state, so both are bounded here.
    """

    def __init__(self, file: gzip.GzipFile, compressed: int) -> None:
        self._file = file
        self._limit = max(DENSE_MAX, DENSE_RATIO * compressed)
        self._position = 0
        self._header_budget: int | None = None
        self.last_read = b""

    def tell(self) -> int:
        return self._position

    def expect_header(self) -> None:
        self._header_budget = _HEADER_LIMIT

    def expect_content(self) -> None:
        self._header_budget = None

    def read(self, size: int) -> bytes:
        if self._header_budget is not None:
            self._header_budget -= size
            if self._header_budget < 0:
                raise SourceError("The repository has a file with a name that is far too long; rename it.")
        self.last_read = self._next(size)
        return self.last_read

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("a size that leads backwards")
        while self._position < position:
            if not self._next(min(_CHUNK, position - self._position)):
                raise EOFError

    def _next(self, size: int) -> bytes:
        data = self._file.read(size)
        self._position += len(data)
        if self._position > self._limit:
            raise SourceError(
                f"The repository unpacks to more than {DENSE_RATIO} times its archive's size; take empty files out."
            )
        return data


class _Names:
    """Which paths the zip may have."""

    def __init__(self, max_folders: int) -> None:
        self._max_folders = max_folders
        self._wrapper: str | None = None
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def inner(self, member: tarfile.TarInfo) -> str:
        """The path below the wrapping folder, "" for that folder itself."""
        first, _, path = member.name.partition("/")
        if not first or any(part in ("", ".", "..") for part in path.split("/") if path):
            raise SourceError("The repository has a path that leads out of its folder; rename that file.")
        self._wrapper = self._wrapper or first
        if first in (".", "..") or first != self._wrapper or not (path or member.isdir()):
            raise tarfile.ReadError("no single folder wraps it")
        return path

    def add_file(self, path: str) -> None:
        parents = {path[:end] for end, character in enumerate(path) if character == "/"}
        if path in self._files or path in self._folders or parents & self._files:
            raise SourceError("The repository has two files with one path; rename one.")
        self._files.add(path)
        self._folders |= parents
        if len(self._folders) > self._max_folders:
            raise SourceError(f"The repository has more than the {self._max_folders} folders taken here; remove some.")


def _repacked(stream: _Forward, destination: Path, limits: ArchiveLimits) -> RepackNotes:
    notes, names, members = RepackNotes(), _Names(limits.max_entries), 0
    most = min(limits.max_unpacked, limits.max_upload)  # the zip is as large as what is in it
    stream.expect_header()
    with (
        tarfile.TarFile(fileobj=cast("IO[bytes]", stream), encoding="utf-8", errors="surrogateescape") as tar,
        zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as target,
    ):
        while member := tar.next():
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all, and what global headers said
            tar.pax_headers = {}
            stream.expect_content()
            members += 1
            if members > limits.max_entries:
                raise SourceError(
                    f"The repository has more than the {limits.max_entries} files and folders taken here; remove some."
                )
            if member.size < 0:
                raise tarfile.ReadError("a size below zero")
            notes = replace(notes, unpacked=notes.unpacked + member.size)
            if notes.unpacked > most:
                raise SourceError(f"The repository unpacks to more than the {most} bytes taken here; make it smaller.")
            notes = _taken(member, names, stream, target, notes)
            stream.expect_header()
        _check_end(stream)
    if destination.stat().st_size > limits.max_upload:
        raise SourceError(f"The repository is larger than the {limits.max_upload} bytes taken here; make it smaller.")
    return notes


def _taken(
    member: tarfile.TarInfo, names: _Names, stream: _Forward, target: zipfile.ZipFile, notes: RepackNotes
) -> RepackNotes:
    """Store a member or leave it out, and note which."""
    path = names.inner(member)
    if member.isdir():  # zips need none, and git knows no empty ones
        return notes
    if member.issym() or member.islnk():
        return replace(notes, links=notes.links + 1)
    if not member.isreg() or member.issparse():
        return replace(notes, devices=notes.devices + 1)
    if _is_odd(path):
        return replace(notes, odd_names=notes.odd_names + 1)
    names.add_file(path)
    _store(target, path, member, stream)
    return replace(notes, files=notes.files + 1, submodules=notes.submodules or path == ".gitmodules")


def _is_odd(path: str) -> bool:
    """Whether the check of archives would refuse the name, and with it all the rest."""
    encoded = path.encode(errors="surrogateescape")
    return (
        "\\" in path
        or re.match(r"[A-Za-z]:", path) is not None
        or len(encoded) > MAX_PATH
        or any(len(part) > MAX_NAME for part in encoded.split(b"/"))
        or any(unicodedata.category(character) in _UNSAFE for character in path)
    )


def _store(target: zipfile.ZipFile, path: str, member: tarfile.TarInfo, stream: _Forward) -> None:
    info = zipfile.ZipInfo(path, _DATE)
    info.create_system = 3  # Unix: the upper half of external_attr is the mode
    info.external_attr = (stat.S_IFREG | (0o755 if member.mode & 0o100 else 0o644)) << 16
    info.file_size = member.size
    stream.seek(member.offset_data)
    with target.open(info, "w") as file:
        left = member.size
        while left:
            data = stream.read(min(_CHUNK, left))
            if not data:
                raise EOFError
            file.write(data)
            left -= len(data)


def _check_end(stream: _Forward) -> None:
    """See that the tarball ended by its mark, and read on to the end, where gzip's checksum is compared."""
    if stream.last_read != _END:  # tarfile takes a header that it cannot read as the end
        raise tarfile.ReadError("it does not end where it ends")
    stream.expect_content()
    padding = 0
    while data := stream.read(_CHUNK):
        padding += len(data)
        if any(data) or padding > _PADDING_LIMIT:
            raise tarfile.ReadError("something follows the end")
