"""One node a data folder: at its start a node clears away what it believes to be its own leftovers."""

import fcntl
import time
from pathlib import Path
from typing import IO

from testmesh.errors import SettingsError

_PATIENCE_S = 3.0
_LOOK_S = 0.1


def hold(data: Path) -> IO[bytes]:
    """Keeps every other node out of a data folder for as long as the file is open.

    Raises:
        SettingsError: another node has it, also after a while: one that was just killed may still be ending.
    """
    data.mkdir(parents=True, exist_ok=True)
    lock = (data / "lock").open("ab")
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise SettingsError(
                    f"MESH_DATA_DIR={data} is in use by another node; give each node a folder of its own"
                ) from None
            time.sleep(_LOOK_S)
        else:
            return lock
