"""Where things are written to: a terminal, a pipe or a file."""

import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType

from testmesh.client.api import ClientError
from testmesh.client.text import clean

_PIPE_WIDTH = 160  # a pipe has no width, and rich's 80 columns are too few for the grade table


class OutputClosedError(Exception):
    """Who read what is written here does so no more. No OSError, of which libraries would make exit codes of theirs."""


class _Output(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise OutputClosedError from None


def guarded(stream: TextIO) -> TextIO:
    """Standard output or standard error, so that a pipe that is closed is an `OutputClosedError`.

    A terminal that lacks a character shows another.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="replace")
    try:
        number = stream.fileno()
    except OSError:  # no file
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(number, "wb", closefd=False)),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def discard_output() -> None:
    """What is left in buffers goes nowhere: else Python would complain of it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def console_of(stream: TextIO) -> Console:
    """For standard output or standard error; plain where that is no terminal."""
    if not stream.isatty():
        return Console(file=stream, highlight=False, force_interactive=False, width=_PIPE_WIDTH)
    # FORCE_COLOR may ask for colours in a file, but a picture that moves is for terminals alone.
    moves = os.environ.get("TERM") not in ("dumb", "unknown")
    return Console(file=stream, highlight=False, force_interactive=moves)


def as_text(drawn: RenderableType) -> bytes:
    """As it looks in a pipe."""
    file = io.StringIO()
    Console(file=file, highlight=False, width=_PIPE_WIDTH, color_system=None).print(drawn)
    return file.getvalue().encode()


def write_out(content: bytes, target: Path | None) -> None:
    """To `target`, else to standard output; on a terminal without what could steer it, for names are from uploads.

    Raises:
        ClientError: the file cannot be written.
    """
    if target is not None:
        try:
            target.write_bytes(content)
        except OSError as error:
            raise ClientError(f"{target} cannot be written: {error.strerror}") from error
    elif sys.stdout.isatty():
        sys.stdout.write(clean(content.decode("utf-8-sig", errors="replace"), multiline=True))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
