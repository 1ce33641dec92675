"""What is made once for all the processes that run tests side by side."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

SHARED_FOLDER = "TESTMESH_TESTS_FOLDER"  # names one that all of them have in common; tests/conftest.py makes it


def shared_folder() -> Path | None:
    """None where tests are not run by pytest."""
    named = os.environ.get(SHARED_FOLDER)
    return Path(named) if named else None


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
