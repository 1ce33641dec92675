"""The folder where installers keep what they downloaded, emptied when it has grown over its share."""

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from testmesh.clock import Clock
from testmesh.testing.environment_shelf import discard

_LOOK_S = 60.0  # its size is measured at most this often: it may hold a hundred thousand files
_GONE = ".gone-"


class PackageCache:
    """Safe from any thread. `root` is this node's alone; installers use `folder` in it, within `in_use`."""

    def __init__(self, root: Path, limit: int, clock: Clock) -> None:
        self._root = root.absolute()
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._users = 0
        self._measured_at = float("-inf")
        self._root.mkdir(parents=True, exist_ok=True)
        for left in self._root.glob(_GONE + "*"):
            discard(left)

    @property
    def folder(self) -> Path:
        return self._root / "cache"

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """It is not emptied while any thread is in here."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
            self._keep_within_limit()

    def empty(self) -> None:
        """Remove it all, unless it is in use."""
        with self._lock:
            if self._users:
                return
            gone = self._root / f"{_GONE}{uuid.uuid4().hex[:8]}"
            try:
                self.folder.rename(gone)
            except OSError:
                return
        discard(gone)

    def _keep_within_limit(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            if self._users or now - self._measured_at < _LOOK_S:
                return
            self._measured_at = now
        if _size(self.folder) > self._limit:
            self.empty()


def _size(root: Path) -> int:
    """Bytes on disk below a folder, as far as it can be read."""
    size, pending = 0, [str(root)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as listed:
            for entry in listed:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
    return size
