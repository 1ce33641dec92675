"""One node a data folder: at its start a node clears away what it believes to be its own leftovers."""

import fcntl
import time
from pathlib import Path
from typing import IO

from testmesh.errors import SettingsError

_PATIENCE_S = 3.0
_LOOK_S = 0.1
_PRIVATE = ("archives", "incoming", "packages", "code")
_SHOWN = ("environments", "work")
_DATABASE = "mesh.db"


def hold(data: Path) -> IO[bytes]:
    """Keeps every other node out of a data folder for as long as the file is open.

    Raises:
        SettingsError: another node has it, also after a while: one that was just killed may still be ending.
    """
    data.mkdir(parents=True, exist_ok=True)
    _make_private(data)
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


def _make_private(data: Path) -> None:
    """Other users may pass through, as runs do that have a user of their own, and find no more than those."""
    data.chmod(0o711)
    for names, mode in ((_PRIVATE, 0o700), (_SHOWN, 0o755)):
        for name in names:
            (data / name).mkdir(exist_ok=True)
            (data / name).chmod(mode)
    for file in data.glob(f"{_DATABASE}*"):
        file.chmod(0o600)  # a new one is made so, and the files beside it, which SQLite makes, get its mode
