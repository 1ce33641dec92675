"""The directory of a zip file, read with suspicion.

Everything later (checking, reading, unpacking) uses these entries and no second reading of the directory, so no
two readers can disagree about what an archive holds. Read in pieces: a directory of any size costs the memory of
the entries that are allowed.
"""

import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from testmesh.errors import MalformedError, TooLargeError

STORED, DEFLATED = 0, 8
MAX_PATH, MAX_NAME, MAX_DEPTH = 1024, 255, 100  # bytes of a whole path and of one of its parts; parts

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 0xFFFF
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000  # traditional, strong, masked directory
_PATCH, _UTF8 = 0x0020, 0x0800
_PIECE = 256 * 1024
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # control characters and line separators
_REPACK = "pack it again with an ordinary zip program"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder. Offsets and sizes in bytes, `path` relative with forward slashes."""

    path: str
    is_folder: bool
    is_executable: bool
    method: int  # STORED or DEFLATED
    crc: int
    packed: int
    size: int  # as declared; only unpacking tells
    header: int  # offset of the local header
    data: int = 0  # offset of the packed bytes


def read_entries(fd: int, max_entries: int) -> list[Entry]:
    """Every entry of the zip behind a file descriptor, in the order of their paths; contents are not looked at.

    Raises:
        MalformedError: not a zip, damaged, encrypted, or with entries that are unsafe, conflict or overlap.
        TooLargeError: more than `max_entries` entries, or folders.
    """
    try:
        start, end, count = _directory(fd)
        if count > max_entries:
            raise TooLargeError(f"The zip has {count} entries, more than the {max_entries} allowed; leave files out.")
        entries = list(_central_entries(fd, start, end, count))
        entries.sort(key=lambda entry: entry.header)
        located = [replace(entry, data=data) for entry, data in _data_offsets(fd, entries, start)]
    except struct.error:
        raise MalformedError(f"The zip is damaged or truncated; {_REPACK}.") from None
    return _without_conflicts(located, max_entries)


def _directory(fd: int) -> tuple[int, int, int]:
    """Start and end of the central directory, and the number of its entries."""
    size = os.fstat(fd).st_size
    tail_start = max(0, size - _MAX_COMMENT - _END.size)
    tail = os.pread(fd, size - tail_start, tail_start)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:  # the comment may hold the signature too
        if len(tail) - at >= _END.size and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            break
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        if os.pread(fd, 4, 0) == b"PK\x03\x04":
            raise MalformedError("The zip is truncated: its end is missing; send the whole file again.")
        raise MalformedError("The file is not a zip archive; pack the project as .zip and send that.")
    _, disk, first_disk, on_disk, count, length, start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    locator = os.pread(fd, _LOCATOR64.size, end - _LOCATOR64.size) if end >= _LOCATOR64.size else b""
    if locator[:4] == b"PK\x06\x07":
        _, _, record, _ = _LOCATOR64.unpack(locator)
        end -= _LOCATOR64.size
        if record > end - _END64.size:
            raise MalformedError(f"The zip is damaged: its zip64 record is misplaced; {_REPACK}.")
        signature, tail64, _, _, disk, first_disk, on_disk, count, length, start = _END64.unpack(
            os.pread(fd, _END64.size, record)
        )
        if signature != b"PK\x06\x06" or record + 12 + tail64 != end:
            raise MalformedError(f"The zip is damaged: its zip64 record is broken; {_REPACK}.")
        end = record
    if disk or first_disk or on_disk != count:
        raise MalformedError("The zip is split over several files; pack it as one.")
    if start + length != end:
        raise MalformedError(f"The zip is damaged: its directory is not where it says; {_REPACK}.")
    return start, end, count


class _Pieces:
    """Takes the bytes of a range one after the other, and holds one piece of it."""

    def __init__(self, fd: int, start: int, end: int) -> None:
        self._fd, self._next, self._end = fd, start, end
        self._held, self._at = b"", 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._held):
            rest = self._held[self._at :]
            more = os.pread(self._fd, min(max(_PIECE, count), self._end - self._next), self._next)
            self._held, self._at = rest + more, 0
            self._next += len(more)
            if count > len(self._held):
                raise MalformedError(f"The zip's directory is truncated; {_REPACK}.")
        self._at += count
        return self._held[self._at - count : self._at]

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._held) and self._next == self._end


def _central_entries(fd: int, start: int, end: int, count: int) -> Iterator[Entry]:
    pieces = _Pieces(fd, start, end)
    for _ in range(count):
        fields = _CENTRAL.unpack(pieces.take(_CENTRAL.size))
        signature, made_by, _, flags, method, _, _, crc, packed, size = fields[:10]
        name_length, extra_length, comment_length, disk, _, attributes, header = fields[10:]
        if signature != b"PK\x01\x02":
            raise MalformedError(f"The zip's directory is damaged; {_REPACK}.")
        raw = pieces.take(name_length)
        extra = pieces.take(extra_length)
        pieces.take(comment_length)
        size, packed, header, disk = _zip64(extra, size, packed, header, disk)
        if disk:
            raise MalformedError("The zip is split over several files; pack it as one.")
        path = _safe_path(raw, flags)
        shown = shorten(path)
        if flags & _ENCRYPTED:
            raise MalformedError(f"{shown} is encrypted; pack the zip without a password.")
        if flags & _PATCH or method not in (STORED, DEFLATED):
            raise MalformedError(f"{shown} is packed by method {method}; {_REPACK} (deflate or store).")
        if method == STORED and packed != size:
            raise MalformedError(f"{shown} is stored, but its sizes differ; {_REPACK}.")
        is_folder = raw.endswith((b"/", b"\\"))
        mode = attributes >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR) or (stat.S_ISDIR(mode) and not is_folder):
            raise MalformedError(f"{shown} is a link or a special file; pack plain files and folders only.")
        if is_folder and size:
            raise MalformedError(f"{shown} is a folder with contents of its own; {_REPACK}.")
        if not path and not is_folder:
            raise MalformedError(f"The zip has a file without a name; {_REPACK}.")
        executable = bool(mode & 0o100) and made_by >> 8 in (3, 19)  # Unix and macOS write modes
        if path:
            yield Entry(path, is_folder, executable, method, crc, packed, size, header)
    if not pieces.is_empty:
        raise MalformedError(f"The zip's directory holds more than it says; {_REPACK}.")


def _zip64(extra: bytes, size: int, packed: int, header: int, disk: int) -> tuple[int, int, int, int]:
    """The values that do not fit 32 bits are in extra field 1, in this order and only those."""
    if max(size, packed, header) < 0xFFFFFFFF and disk < 0xFFFF:
        return size, packed, header, disk
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            values = extra[at + 4 : at + 4 + length]
            wide = [size, packed, header]
            for index, value in enumerate(wide):
                if value == 0xFFFFFFFF:
                    (wide[index],) = struct.unpack_from("<Q", values)
                    values = values[8:]
            if disk == 0xFFFF:
                (disk,) = struct.unpack_from("<L", values)
            return wide[0], wide[1], wide[2], disk
        at += 4 + length
    return size, packed, header, disk  # a size of exactly 4 GiB - 1; no limit lets it pass


def _safe_path(raw: bytes, flags: int) -> str:
    shown = shorten(raw[:MAX_NAME].decode("utf-8", "replace"))
    if len(raw) > MAX_PATH or any(len(part) > MAX_NAME for part in re.split(rb"[/\\]", raw)):
        raise MalformedError(f"The name {shown} is too long; at most {MAX_NAME} bytes a part and {MAX_PATH} in all.")
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        if flags & _UTF8:
            raise MalformedError(f"The name {shown} is not the UTF-8 it claims to be; {_REPACK}.") from None
        name = raw.decode("cp437")  # what the format says of names that are not marked as UTF-8
    if _UNSAFE.search(name):
        raise MalformedError(f"The name {shown} holds control characters; rename it.")
    name = name.replace("\\", "/")  # Windows programs write these
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise MalformedError(f"The name {shown} is absolute; pack names relative to the project.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise MalformedError(f"The name {shown} leaves the archive; pack names relative to the project.")
    if len(parts) > MAX_DEPTH:
        raise MalformedError(f"The name {shown} is too deep; at most {MAX_DEPTH} folders.")
    return "/".join(parts)


def _data_offsets(fd: int, entries: list[Entry], directory: int) -> Iterator[tuple[Entry, int]]:
    """Where each entry's packed bytes begin; entries sorted by their local headers, which must not overlap."""
    free = 0
    for entry in entries:
        shown = shorten(entry.path)
        if entry.header < free:
            raise MalformedError(f"{shown} overlaps another entry of the zip; {_REPACK}.")
        if entry.header + _LOCAL.size > directory:
            raise MalformedError(f"{shown} lies outside the zip; {_REPACK}.")
        head = os.pread(fd, _LOCAL.size + MAX_PATH, entry.header)
        signature, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack_from(head)
        if signature != b"PK\x03\x04":
            raise MalformedError(f"{shown} has no local header; {_REPACK}.")
        name = head[_LOCAL.size : _LOCAL.size + name_length]
        if len(name) != name_length or _safe_path(name, flags) != entry.path or method != entry.method:
            raise MalformedError(f"{shown} is described differently in two places of the zip; {_REPACK}.")
        if flags & _ENCRYPTED:
            raise MalformedError(f"{shown} is encrypted; pack the zip without a password.")
        data = entry.header + _LOCAL.size + name_length + extra_length
        free = data + entry.packed
        if free > directory:
            raise MalformedError(f"{shown} overlaps the zip's directory; {_REPACK}.")
        yield entry, data


def _without_conflicts(entries: list[Entry], max_entries: int) -> list[Entry]:
    """The entries sorted by path.

    With NUL for the slash a folder's contents follow it directly, so neighbours show every conflict, and the parts
    that neighbours do not share are the folders an archive makes: deep names must not make millions of them.
    """
    entries = sorted(entries, key=lambda entry: entry.path.replace("/", "\0"))
    folders = 0
    before: list[str] = []
    kept: list[Entry] = []
    for entry in entries:
        parts = entry.path.split("/")
        if kept:
            last = kept[-1]
            if last.path == entry.path and last.is_folder and entry.is_folder:
                continue
            if last.path == entry.path:
                raise MalformedError(f"{shorten(entry.path)} is in the zip twice; {_REPACK}.")
            if not last.is_folder and parts[: len(before)] == before:
                raise MalformedError(f"{shorten(last.path)} is both a file and a folder in the zip; {_REPACK}.")
        shared = 0
        for left, right in zip(before, parts, strict=False):
            if left != right:
                break
            shared += 1
        folders += len(parts) - shared - (not entry.is_folder)
        if folders > max_entries:
            raise TooLargeError(f"The zip has more than the {max_entries} folders allowed; leave some out.")
        kept.append(entry)
        before = parts
    return kept


def shorten(name: str) -> str:
    """A name from an archive as it may stand in a sentence."""
    return repr(name if len(name) <= 100 else name[:99] + "…")
