"""Environments on disk: which are ready, since when and how big; put there and taken away whole.

    root/<key>/ready.json          written last; a folder without it is what a killed build left, and is rebuilt.
                                   `compiled`: all bytecode is there, which may come later
    root/<key>/<attempt>/env       the virtual environment that ready.json names
    root/<key>/<attempt>/work      the installer's files and copies of what is built, gone once it is ready
    root/.gone-<random>            what is being removed

ready.json has when it was built; its modification time is when it was last used. Every attempt has a folder of its own,
so that what an orphan of a killed node still writes spoils nothing.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testmesh.testing.environment_eviction import Stored
from testmesh.testing.folders import remove_tree

_MARKER = "ready.json"
_GONE = ".gone-"
_OPEN_TO_ALL = 0o755  # tests run as another user than the node may


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that is ready. `version` is its Python's, as in `3.11.7`; `pytest` its pytest's.

    `readable` is what a box must show, besides /usr and its own folder, for it to run; it was known before any foreign
    code ran.
    """

    key: str
    python: Path
    bin_dir: Path
    version: str
    pytest: str
    readable: tuple[Path, ...] = ()
    compiled: bool = field(default=True, compare=False)  # all bytecode is there


class EnvironmentShelf:
    """Safe from any thread, as long as one builds a key at a time. `root` belongs to this node alone."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._root.mkdir(parents=True, exist_ok=True)
        self._root.chmod(_OPEN_TO_ALL)

    @property
    def root(self) -> Path:
        return self._root

    def find(self, key: str) -> Environment | None:
        """The environment if it is ready and the interpreter that it is made of is still there, else None."""
        ready = _read(self._root / key / _MARKER)
        if ready is None:
            return None
        bin_dir = self._root / key / ready["attempt"] / "env" / "bin"
        python = bin_dir / "python"
        readable = tuple(Path(folder) for folder in ready["readable"])
        if not all(path.exists() for path in (python, *readable)):
            return None
        compiled = ready.get("compiled") is not False
        return Environment(key, python, bin_dir, ready["python"], ready["pytest"], readable, compiled)

    def begin(self, key: str) -> Path:
        """An empty folder for an attempt to build it; what was there is removed.

        Raises:
            OSError: as the system reports it, e.g. no space.
        """
        self.remove(key)
        attempt = self._root / key / uuid.uuid4().hex[:8]
        attempt.mkdir(parents=True)
        for folder in (attempt.parent, attempt):
            folder.chmod(_OPEN_TO_ALL)
        return attempt

    def publish(self, environment: Environment, attempt: Path, size: int, more: Mapping[str, object]) -> None:
        """It is ready. Whole or not at all, also after a loss of power; `more` is for people who read the file."""
        ready = {
            "attempt": attempt.name,
            "python": environment.version,
            "pytest": environment.pytest,
            "readable": [str(folder) for folder in environment.readable],
            "size": size,
            "compiled": environment.compiled,
        }
        self._write({**more, **ready}, environment.key)

    def compiled(self, key: str, size: int) -> None:
        """All bytecode of an environment that is ready is there, and it has this size now."""
        marker = self._root / key / _MARKER
        ready = _read(marker)
        if ready is not None:
            used = marker.stat().st_mtime
            self._write({**ready, "compiled": True, "size": size}, key)
            self.touch(key, used)

    def _write(self, ready: Mapping[str, object], key: str) -> None:
        marker = self._root / key / _MARKER
        part = marker.with_suffix(".part")
        with part.open("w", encoding="utf-8") as stream:
            json.dump(ready, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(marker)
        folder = os.open(marker.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def touch(self, key: str, now: float) -> None:
        """It is used at `now` (Unix seconds)."""
        with contextlib.suppress(OSError):  # a read-only disk does not hinder the use
            os.utime(self._root / key / _MARKER, (now, now))

    def stored(self) -> Iterator[Stored]:
        """What is ready."""
        for folder in self._root.iterdir():
            marker = folder / _MARKER
            ready = None if folder.name.startswith(_GONE) else _read(marker)
            with contextlib.suppress(OSError):  # removed meanwhile
                if ready is not None:
                    yield Stored(folder.name, ready["size"], marker.stat().st_mtime)

    def set_aside(self, key: str) -> Path | None:
        """Take it away in one step, so that the key can be built again at once; to be removed by `discard`."""
        aside = self._root / f"{_GONE}{uuid.uuid4().hex[:8]}"
        try:
            (self._root / key).rename(aside)
        except OSError:
            return None
        return aside

    def remove(self, key: str) -> None:
        aside = self.set_aside(key)
        if aside is not None:
            discard(aside)

    def sweep(self) -> None:
        """Remove what is not ready. To be called when nothing is being built."""
        for folder in self._root.iterdir():
            if folder.name.startswith(_GONE) or _read(folder / _MARKER) is None:
                discard(folder)


def discard(folder: Path) -> None:
    """Remove a folder of untrusted content. What cannot be removed now waits for the next sweep."""
    with contextlib.suppress(OSError):
        (folder / _MARKER).unlink()  # first: what is left of a removal that is cut short must not look ready
    with contextlib.suppress(OSError):
        remove_tree(folder)
    with contextlib.suppress(OSError):  # a stray file
        folder.unlink()


def _read(file: Path) -> dict[str, Any] | None:
    try:
        ready = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_whole = (
        isinstance(ready, dict)
        and all(isinstance(ready.get(name), str) for name in ("attempt", "python", "pytest"))
        and isinstance(ready.get("size"), int)
        and isinstance(ready.get("readable"), list)
    )
    return ready if is_whole else None
