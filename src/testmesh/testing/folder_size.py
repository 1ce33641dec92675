"""What a folder of untrusted content takes on disk, however deep, closed, linked or changing it is.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

import os
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_PER_ENTRY = 4096  # bytes that a name takes at least: an empty file takes an inode, and the walk has to end
_SEARCHABLE = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", 0)  # opens a folder of mode 000


def folder_size(path: str, at_most: int) -> int:
    """Bytes on disk of all below the folder `path`; some number over `at_most` as soon as it is over that.

    Links are not followed, a file with several names counts once, holes in a file take nothing, and every name takes at
    least 4 KiB. Folders that their owner closed (mode 000) are opened for the instant of the look. Not seen: files that
    are deleted but still open, folders of other users where this is not root, and what is moved behind the walk.

    Raises:
        OSError: there is no such folder.
    """
    walk = _Walk(path, at_most)
    try:
        while walk.size <= at_most and walk.step():
            pass
        return walk.size
    finally:
        walk.close()


class _Level:
    """A folder on the way from the root to where the walk is."""

    __slots__ = ("folders", "identity", "name")

    def __init__(self, name: str, identity: tuple[int, int]) -> None:
        self.name = name
        self.identity = identity
        self.folders: list[str] = []  # names of those not yet visited


class _Walk:
    """Depth first with two descriptors, however deep; the way back up is checked, as folders can be moved meanwhile."""

    def __init__(self, path: str, at_most: int) -> None:
        self.size = 0
        self._at_most = at_most
        self._linked: set[tuple[int, int]] = set()
        self._levels: list[_Level] = []
        self._root = _listable(os.open(path, _SEARCHABLE))
        self._here = os.dup(self._root)
        self._enter("")

    def close(self) -> None:
        os.close(self._root)
        os.close(self._here)

    def step(self) -> bool:
        """Visit one more folder or go back up; False at the end."""
        folders = self._levels[-1].folders
        if folders:
            name = folders.pop()
            with suppress(OSError):  # removed or replaced since it was listed, or another user's
                self._go(_open_folder(name, self._here))
                self._enter(name)
            return True
        self._levels.pop()
        if self._levels:
            self._go_up()
        return bool(self._levels)

    def _go(self, descriptor: int) -> None:
        os.close(self._here)
        self._here = descriptor

    def _enter(self, name: str) -> None:
        """Count what is in the folder where the walk has gone."""
        level = _Level(name, _identity(self._here))
        self._levels.append(level)
        with suppress(OSError):
            level.folders = _lend_access(self._here, self._count)

    def _count(self) -> list[str]:
        """Add what the folder's entries take; the names of those that are folders."""
        folders = []
        with os.scandir(self._here) as entries:
            for entry in entries:
                try:
                    stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                taken = max(stat.st_blocks * 512, _PER_ENTRY)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif stat.st_nlink > 1:
                    taken = taken if (stat.st_dev, stat.st_ino) not in self._linked else _PER_ENTRY
                    self._linked.add((stat.st_dev, stat.st_ino))
                self.size += taken
                if self.size > self._at_most:
                    break
        return folders

    def _go_up(self) -> None:
        """To the folder of the last level; where that has been moved away, to the nearest that is still in place."""
        with suppress(OSError):
            parent = _open_folder("..", self._here)
            if _identity(parent) == self._levels[-1].identity:
                self._go(parent)
                return
            os.close(parent)
        while self._levels:
            try:
                self._go(self._from_root())
            except OSError:
                self._levels.pop()
            else:
                return

    def _from_root(self) -> int:
        here = os.dup(self._root)
        for level in self._levels[1:]:
            try:
                below = _open_folder(level.name, here)
            finally:
                os.close(here)
            here = below
            if _identity(here) != level.identity:
                os.close(here)
                raise FileNotFoundError(level.name)
        return here


def _open_folder(name: str, parent: int) -> int:
    """A descriptor of a folder, to list it; either may be closed to its owner."""
    return _listable(_lend_access(parent, lambda: os.open(name, _SEARCHABLE, dir_fd=parent)))


def _listable(handle: int) -> int:
    """A descriptor to list the folder of `handle`, which is closed."""
    if not hasattr(os, "O_PATH"):
        return handle
    try:
        path = f"/proc/self/fd/{handle}"
        return _lend_access(handle, lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    finally:
        os.close(handle)


def _lend_access(folder: int, action: Callable[[], T]) -> T:
    """What `action` returns; where the folder's mode forbids it, with the mode changed meanwhile.

    Tests see the mode they set but for some microseconds, and cannot hide files by it.
    """
    try:
        return action()
    except PermissionError:
        path = f"/proc/self/fd/{folder}"  # no link can slip in
        mode = os.fstat(folder).st_mode & 0o7777
        os.chmod(path, mode | 0o700)  # noqa: PTH101
        try:
            return action()
        finally:
            os.chmod(path, mode)  # noqa: PTH101


def _identity(descriptor: int) -> tuple[int, int]:
    stat = os.fstat(descriptor)
    return stat.st_dev, stat.st_ino
