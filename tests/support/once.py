"""What is made once for all the processes that run tests side by side."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def made_once(root: Path, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` in `root`. Who asks for it first fills it with `make`, while the others wait."""
    folder, marker = root / name, root / f"{name}.made"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a try that failed
            folder.mkdir()
            make(folder)
            marker.touch()
    return folder
