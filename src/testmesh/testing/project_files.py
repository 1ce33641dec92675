"""A project's folder as the installers see it: read, hashed and copied without what is no source."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

_NO_SOURCE = frozenset({".git", "__pycache__", "node_modules", "site-packages"})


class FolderFiles:
    """Reads a project's regular files; no link is followed out of it."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def read(self, path: str, limit: int) -> bytes | None:
        """At most `limit` + 1 bytes; None where no regular file is inside the project at that path."""
        file = self._inside(path)
        if file is None or not file.is_file():
            return None
        with file.open("rb") as stream:
            return stream.read(limit + 1)

    def exists(self, path: str) -> bool:
        file = self._inside(path)
        return file is not None and file.exists()

    def _inside(self, path: str) -> Path | None:
        try:
            file = (self._root / path).resolve()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, a loop of links
            return None
        return file if file == self._root or self._root in file.parents else None


def source_files(root: Path) -> Iterator[Path]:
    """Every regular file below a folder, or the file itself, in a fixed order; no caches, environments or links."""
    if root.is_file():
        yield root
        return
    for folder, names, files in os.walk(root):
        here = Path(folder)
        names[:] = sorted(
            name for name in names if name not in _NO_SOURCE and not (here / name / "pyvenv.cfg").exists()
        )
        for name in sorted(files):
            if stat.S_ISREG((here / name).lstat().st_mode):
                yield here / name


def tree_digest(root: Path) -> str:
    """SHA-256 (hexadecimal) over names, executable bits and contents of `source_files`: the same on every machine."""
    digest = hashlib.sha256()
    for file in source_files(root):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        name = os.fsencode(file.relative_to(root).as_posix())
        executable = b"x" if file.stat().st_mode & stat.S_IXUSR else b"-"
        digest.update(len(name).to_bytes(8, "big") + name + executable + content)
    return digest.hexdigest()


def copy_sources(root: Path, target: Path) -> None:
    """Copy `source_files` of a folder, or one file, to `target`, which does not exist yet."""
    if root.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root, target)
        return
    target.mkdir(parents=True)
    for file in source_files(root):
        copy = target / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
