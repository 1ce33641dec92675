"""Files that the processes of a run hold open and that no folder names: memory or disk that nothing else counts.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from testmesh.testing.process_tree import descendants

_BLOCK = 512
_MEMORY = "/memfd:"


def unnamed_bytes(root: int, in_memory: bool, proc: str = "/proc") -> int:
    """What the processes below `root`, and it, hold: of memory (memfd_create) alone, or of files of any kind.

    Descriptors of processes that may not be looked at are left out, as are files that are mapped but not open.
    """
    seen: dict[tuple[int, int], int] = {}
    for pid in (root, *descendants(root, proc)):
        with suppress(OSError):
            for name in os.listdir(f"{proc}/{pid}/fd"):  # noqa: PTH208
                with suppress(OSError):
                    path = f"{proc}/{pid}/fd/{name}"
                    if in_memory and not os.readlink(path).startswith(_MEMORY):  # noqa: PTH115
                        continue
                    found = os.stat(path)  # noqa: PTH116
                    if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                        seen[found.st_dev, found.st_ino] = found.st_blocks * _BLOCK
    return sum(seen.values())
