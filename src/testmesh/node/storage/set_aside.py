"""A damaged database gives way to a new one and is kept beside it for a while, for people to look at."""

import contextlib
import re
from pathlib import Path

_PARTS = ("-wal", "-shm", "")  # the database itself last: as long as it is there, it is found damaged again
_KEPT = 3


def set_aside(path: Path) -> Path:
    """Rename a database to `<name>.damaged-<n>`, with its log and index; of earlier ones the newest stay.

    No connection to it may be open. Raises OSError.
    """
    earlier = _numbers(path)
    number = max(earlier, default=0) + 1
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{part}").rename(_place(path, number, part))
    for old in sorted({*earlier, number})[:-_KEPT]:
        for part in _PARTS:
            with contextlib.suppress(OSError):
                _place(path, old, part).unlink()
    return _place(path, number, "")


def _place(path: Path, number: int, part: str) -> Path:
    return path.with_name(f"{path.name}.damaged-{number}{part}")


def _numbers(path: Path) -> list[int]:
    name = re.compile(re.escape(path.name) + r"\.damaged-([0-9]{1,9})(?:-wal|-shm)?")
    return [int(match[1]) for file in path.parent.iterdir() if (match := name.fullmatch(file.name))]
