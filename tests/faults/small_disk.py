"""A disk of a given size as a folder, which can be made full and free again. Root only."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_FILLER = "filler"
_BLOCK = 4096


def reason_for_no_disk() -> str:
    """Why this machine gives no disk of our own, or ""."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "disks of the nodes' own need root and mount"


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """`folder` is one of `size` bytes until the context ends; what is on it goes with it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "testmesh-faults", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, leave: int = 0) -> None:
    """Until no more than `leave` bytes are free."""
    free_again(folder)
    with (folder / _FILLER).open("wb") as file:
        size, piece = 0, shutil.disk_usage(folder).free
        while (piece := min(piece, shutil.disk_usage(folder).free - leave)) >= _BLOCK:
            try:
                os.posix_fallocate(file.fileno(), size, piece)
                size += piece
            except OSError:  # the node wrote something meanwhile, and a piece is given whole or not at all
                piece //= 2


def free_again(folder: Path) -> None:
    (folder / _FILLER).unlink(missing_ok=True)
