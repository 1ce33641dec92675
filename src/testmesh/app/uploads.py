"""A multipart body, streamed to disk: never more of it in memory than a piece.

Werkzeug's sans-IO decoder is driven directly: its ready-made form parser knows neither of two parts with one name nor
of a part's bound, and keeps unknown parts too.
"""

import errno
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flask import Request
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from testmesh.errors import DiskFullError, MalformedError, QueueFullError, TooLargeError
from testmesh.settings import MIB

MAX_JSON = MIB  # of a JSON body, and of the part `options`
OVERHEAD = 2 * MIB  # what a body may have besides its files: options and the framing
CHUNK = 256 * 1024
MAX_RECEIVING = 64  # submissions whose bodies are being read at one time

_MAX_PARTS = 8
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,99}[0-9A-Za-z'()+_,./:=?-]")
_FILES = ("file", "tests")
_HINT = "send the zip as multipart/form-data, e.g. curl -F file=@project.zip"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A part that lies on disk, mode 600. `name` is what the client called it, its folders cut off."""

    path: Path
    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    file: StoredFile
    tests: StoredFile | None
    options: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """What a page's form has sent: files where some were chosen, and its text fields by name."""

    file: StoredFile | None
    tests: StoredFile | None
    fields: Mapping[str, str]


class Doors:
    """Lets MAX_RECEIVING submissions in at a time: each holds a thread for as long as its client takes to send it."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(MAX_RECEIVING)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Raises QueueFullError."""
        if not self._free.acquire(blocking=False):
            raise QueueFullError("Too many submissions are being sent to this node; send it again.", retry_after_s=5)
        try:
            yield
        finally:
            self._free.release()


def check_length(request: Request, limit: int) -> None:
    """Refuse a body that says it is over `limit` bytes before any of it is read.

    Raises:
        TooLargeError.
    """
    declared = request.content_length
    if declared is not None and declared > limit:
        raise TooLargeError(f"The body has {declared} bytes and this node takes {limit}; send less.")
    request.max_content_length = limit  # what comes without a length is counted


def read_json_body(request: Request) -> bytes:
    """Raises TooLargeError over MAX_JSON bytes."""
    check_length(request, MAX_JSON)
    body = bytearray()
    while piece := request.stream.read(CHUNK):  # a last read past the bound is what tells that there is more
        body += piece
    return bytes(body)


@contextmanager
def received(request: Request, folder: Path, max_upload: int) -> Iterator[Upload]:
    """Read the request's parts `file`, `tests` and `options`; inside the block the files are there to be taken.

    Whatever happens, none of them is left in `folder` afterwards: not after an error, a client that went away or a
    refusal further on.

    Raises:
        MalformedError, TooLargeError, DiskFullError.
    """
    with _parts_of(request, folder, max_upload, ()) as parts:
        yield parts.upload()


@contextmanager
def received_form(request: Request, folder: Path, max_upload: int, fields: Collection[str]) -> Iterator[Form]:
    """The same of a page's form with the text fields `fields`, none of whose parts must be there.

    A browser sends an empty text for what was left empty, and a part without a file name where no file was chosen.
    """
    with _parts_of(request, folder, max_upload, fields) as parts:
        yield parts.form()


@contextmanager
def _parts_of(request: Request, folder: Path, max_upload: int, fields: Collection[str]) -> Iterator["_Parts"]:
    boundary = request.mimetype_params.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise MalformedError(f"The Content-Type has no valid boundary; {_HINT}.")
    check_length(request, max_upload + OVERHEAD)
    with ExitStack() as cleanup:
        parts = _Parts(folder, max_upload, cleanup, fields)
        try:
            _decode(request.stream, boundary.encode(), parts)
        except ValueError:
            raise MalformedError(f"The multipart body is broken or incomplete; {_HINT}.") from None
        except OSError as error:
            raise _explain(error) from error
        yield parts


def _decode(stream: IO[bytes], boundary: bytes, parts: "_Parts") -> None:
    decoder = MultipartDecoder(boundary, max_form_memory_size=2 * CHUNK + MIB, max_parts=_MAX_PARTS)
    while True:
        piece = stream.read(CHUNK)
        decoder.receive_data(piece or None)
        event = decoder.next_event()
        while not isinstance(event, NeedData | Epilogue):
            if isinstance(event, Field | File):
                parts.begin(event)
            elif isinstance(event, Data):
                parts.write(event.data, last=not event.more_data)
            event = decoder.next_event()
        if isinstance(event, Epilogue):
            return


class _Parts:
    """What was read so far. The files that it makes are removed by `cleanup`."""

    def __init__(self, folder: Path, max_upload: int, cleanup: ExitStack, fields: Collection[str]) -> None:
        self._folder = folder
        self._known = fields
        self._texts: dict[str, bytearray] = {}
        self._text: bytearray | None = None  # what is being read, where it is no file
        self._left = max_upload
        self._max_upload = max_upload
        self._cleanup = cleanup
        self._files: dict[str, StoredFile] = {}
        self._current: _OpenFile | None = None

    def begin(self, part: Field | File) -> None:
        if part.name == "options" or part.name in self._known:
            if part.name in self._texts:
                raise MalformedError(f"There are two parts '{part.name}'; send one.")
            self._text = self._texts[part.name] = bytearray()
        elif self._known and part.name in _FILES and isinstance(part, File) and not part.filename:
            self._text = bytearray()
        elif part.name not in _FILES:
            raise MalformedError(f"A part named {_shown(part.name)} is not known; known are file, tests and options.")
        elif part.name in self._files:
            raise MalformedError(f"There are two parts '{part.name}'; put the projects into one zip.")
        elif not isinstance(part, File) or not part.filename:
            raise MalformedError(f"The part '{part.name}' has no file name; {_HINT}.")
        else:
            self._text, self._current = None, _OpenFile(part.name, part.filename, self._folder, self._cleanup)

    def write(self, data: bytes, last: bool) -> None:
        if self._text is not None:
            if len(self._text) + len(data) > MAX_JSON:
                raise TooLargeError(f"A part that is no file is over {MAX_JSON} bytes.")
            self._text += data
            return
        assert self._current is not None  # noqa: S101 - the decoder begins a part before its data
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError(f"The upload is over {self._max_upload} bytes; send less, or raise MESH_MAX_UPLOAD.")
        self._current.write(data)
        if last:
            self._files[self._current.field] = self._current.finish()

    def upload(self) -> Upload:
        if "file" not in self._files:
            raise MalformedError(f"There is no part 'file'; {_HINT}.")
        return Upload(self._files["file"], self._files.get("tests"), bytes(self._texts.get("options", b"")))

    def form(self) -> Form:
        fields = {name: bytes(text).decode(errors="replace") for name, text in self._texts.items()}
        return Form(self._files.get("file"), self._files.get("tests"), fields)


class _OpenFile:
    def __init__(self, field: str, filename: str, folder: Path, cleanup: ExitStack) -> None:
        self.field = field
        self._filename = filename
        descriptor, path = tempfile.mkstemp(prefix="upload-", dir=folder)
        self._path = Path(path)
        cleanup.callback(self._path.unlink, missing_ok=True)
        self._file = cleanup.enter_context(os.fdopen(descriptor, "wb", buffering=0))
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def finish(self) -> StoredFile:
        self._file.close()
        return StoredFile(self._path, _base_name(self._filename), self._digest.hexdigest(), self._size)


def _base_name(filename: str) -> str:
    """The last part of a file name as any system writes it, without `.zip` and what cannot be shown."""
    last = re.split(r"[/\\]", filename)[-1]
    shown = "".join(letter for letter in last if letter.isprintable()).strip()
    stem = re.sub(r"\.zip$", "", shown, flags=re.IGNORECASE).strip(". ")
    return stem[:100] or "project"


def _explain(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError("This node's disk is full; send it to another node, or come back later.")
    return error


def _shown(name: str | None) -> str:
    return repr((name or "")[:40])
