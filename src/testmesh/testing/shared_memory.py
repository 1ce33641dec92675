"""Shared memory that a run leaves in the machine's own place for it: at level portable it has none of its own.

Only what belongs to the run's own user can be told from others'; so this is for nodes that are root.
"""

from __future__ import annotations

import os
from contextlib import suppress

from testmesh.testing.folder_size import folder_size
from testmesh.testing.folders import remove_tree

_PLACE = "/dev/shm"  # noqa: S108 - it is what is looked after


def size_of(uid: int, at_most: int, place: str = _PLACE) -> int:
    """Bytes that a user has in shared memory; some number over `at_most` as soon as it is more."""
    size = 0
    for entry in _owned(uid, place):
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                size += folder_size(entry.path, at_most)
            else:
                size += entry.stat(follow_symlinks=False).st_blocks * 512
        if size > at_most:
            break
    return size


def remove_of(uid: int, place: str = _PLACE) -> None:
    """Remove what a user has there. None of its processes may be left. It raises nothing: it is the end of a run."""
    for entry in _owned(uid, place):
        with suppress(Exception):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)  # noqa: PTH108 - the launcher loads this, and no pathlib


def _owned(uid: int, place: str) -> list[os.DirEntry[str]]:
    found = []
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid == uid:
                    found.append(entry)
    return found
