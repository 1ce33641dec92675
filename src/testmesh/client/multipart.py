"""A multipart/form-data body that is read from the disk as it is sent: requests would hold all of it in memory."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

_CHUNK = 256 * 1024


class Multipart:
    """`files` are (field, file name, path). Can be iterated again, so that a request can be repeated.

    `sent` is told how many bytes were taken so far, each time some are.
    """

    def __init__(
        self,
        files: list[tuple[str, str, Path]],
        options: Mapping[str, Any] | None = None,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        self._boundary = uuid4().hex
        self._sent = sent
        self._parts: list[tuple[bytes, Path | bytes]] = [
            (self._head(f'name="{field}"; filename="{_quoted(name)}"', "application/zip"), path)
            for field, name, path in files
        ]
        if options:
            self._parts.append((self._head('name="options"', "application/json"), json.dumps(options).encode()))
        self._end = f"--{self._boundary}--\r\n".encode()

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    def __len__(self) -> int:
        sizes = (len(head) + _size(content) + 2 for head, content in self._parts)
        return sum(sizes) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        taken = 0
        for piece in self._pieces():
            yield piece
            taken += len(piece)
            if self._sent is not None:
                self._sent(taken)

    def _pieces(self) -> Iterator[bytes]:
        for head, content in self._parts:
            yield head
            if isinstance(content, bytes):
                yield content
            else:
                with content.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        yield chunk
            yield b"\r\n"
        yield self._end

    def _head(self, disposition: str, media_type: str) -> bytes:
        return (
            f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {media_type}\r\n\r\n"
        ).encode()


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _quoted(name: str) -> str:
    """As browsers write a file name: the three characters that would end it are percent-encoded."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
