"""Boxes of every level that this machine has, for tests that must hold at each."""

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from testmesh.testing.box_request import BoxLimits
from testmesh.testing.boxes import Boxes, open_boxes
from testmesh.testing.folders import remove_tree
from testmesh.testing.installers import find_uv
from testmesh.testing.isolation import IsolationLevel

LEVELS = ("full", "portable", "none", "shared")  # shared: none, without namespaces either
SHARED = IsolationLevel("none", cause="asked for by a test")
BoxesOf = Callable[[str], Boxes]


def reachable_python() -> Path:
    """An interpreter of this version that every user may run, if there is one: a run as another user needs it."""
    own = Path(sys.executable).resolve()
    if _is_reachable(own):
        return own
    other = Path(f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}")
    return other if other.exists() else own


def _is_reachable(file: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in file.parents)


def reachable_environment(folder: Path) -> Path:
    """The python of an environment with all that a node needs, which every user may run; this one's if it is such."""
    base, uv = reachable_python(), find_uv()
    if base == Path(sys.executable).resolve() or uv is None:
        return Path(sys.executable)
    environment = folder / "node-environment"
    if not (environment / "bin" / "python").exists():
        run = partial(subprocess.run, check=True, capture_output=True, timeout=300)
        run([uv, "venv", "--python", base, environment])
        requirements = Path(__file__).parents[2] / "requirements.txt"
        run([uv, "pip", "install", "--python", environment / "bin" / "python", "--requirement", requirements])
    return environment / "bin" / "python"


def open_level(name: str, work: Path, limits: BoxLimits | None = None) -> Boxes:
    """Skips the test where this machine does not have the level."""
    boxes = open_boxes(work, "none" if name == "shared" else name, limits, reachable_python())
    if name == "shared":
        return replace(boxes, level=SHARED)
    if boxes.level.sandbox != name:
        boxes.close()
        pytest.skip(f"level {name} cannot be had here: {boxes.level.cause}")
    return boxes


@contextlib.contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="testmesh-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        remove_tree(folder)


def descriptors_of(process: int | None = None) -> int:
    return len(os.listdir(f"/proc/{process or 'self'}/fd"))  # noqa: PTH208


def launchers() -> list[int]:
    """Launchers that are children of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in children if b"testmesh.testing.launcher" in _command_line(child)]


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
