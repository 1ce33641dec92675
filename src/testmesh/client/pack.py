"""Turning what a person names (folders and zips) into the one zip that is uploaded."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from testmesh.errors import TestmeshError

_FOLDERS = {"__MACOSX", "__pycache__", "node_modules", "site-packages"}
_HISTORIES = {".git", ".hg", ".svn", ".bzr"}
_CACHES = {".tox", ".nox", ".eggs", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints"}
_SKIPPED = frozenset(_FOLDERS | _HISTORIES | _CACHES)
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")


class PackError(TestmeshError):
    """What was named cannot be packed; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Packed:
    path: Path
    name: str  # the file name to upload it under: names the project where it is the archive's root
    left_out: tuple[str, ...] = ()  # links out of a folder, and special files


def pack(inputs: list[Path], target: Path) -> Packed:
    """One zip of all inputs. A single zip is taken as it is; else each input becomes a top-level folder of `target`.

    Raises:
        PackError: an input is missing, empty or no zip, or two cannot be told apart.
    """
    for path in inputs:
        if not path.is_dir() and not path.is_file():
            raise PackError(f"{path} is not there; give a folder, a zip file or a https://github.com URL")
    if len(inputs) == 1 and inputs[0].is_file():
        return Packed(inputs[0], inputs[0].name)
    names = _distinct_names(inputs)
    left_out: list[str] = []
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=1, strict_timestamps=False) as archive:
        for path, name in zip(inputs, names, strict=True):
            if not path.is_dir():
                _add_zip(archive, path, name)
                continue
            try:
                left_out += _add_folder(archive, path, name)
            except OSError as error:
                raise PackError(f"{error.filename or path} cannot be packed: {error.strerror}") from error
    return Packed(target, (names[0] if len(names) == 1 else target.stem) + ".zip", tuple(left_out))


def _add_folder(archive: ZipFile, folder: Path, name: str) -> list[str]:
    """Add its files; the paths that were left out."""
    top = folder.resolve()
    left_out = []
    count = 0
    for path in _files(top):
        relative = path.relative_to(top).as_posix()
        # A link out of a student's folder would upload whatever of the reader's own it points at.
        if not path.is_file() or not path.resolve().is_relative_to(top):
            left_out.append(f"{name}/{relative}")
            continue
        archive.write(path, f"{name}/{relative}")
        count += 1
    if not count:
        raise PackError(f"{folder} has no files to submit")
    return left_out


def _files(top: Path) -> Iterator[Path]:
    for current, folders, files in os.walk(top, onerror=_refuse):
        here = Path(current)
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not _is_elsewhere(here / name))
        yield from (here / name for name in sorted(files) if name != ".DS_Store")


def _is_elsewhere(folder: Path) -> bool:
    """A virtual environment, or a link."""
    return folder.is_symlink() or any((folder / mark).exists() for mark in _ENVIRONMENT_MARKS)


def _refuse(error: OSError) -> None:
    """os.walk passes over what it cannot list; a project without half of its files would be graded so."""
    raise error


def _add_zip(archive: ZipFile, path: Path, name: str) -> None:
    """Copy its entries below `name`, without the one folder that may wrap them all. The mesh checks them."""
    try:
        with ZipFile(path) as source:
            entries = [entry for entry in source.infolist() if not entry.filename.startswith("__MACOSX/")]
            prefix = _wrapper([entry.filename for entry in entries])
            for entry in entries:
                inner = entry.filename.removeprefix(prefix)
                if entry.is_dir() or not inner:
                    continue
                with source.open(entry) as content:
                    entry.filename = f"{name}/{inner}"
                    with archive.open(entry, "w") as target:
                        shutil.copyfileobj(content, target)
    except (BadZipFile, RuntimeError, NotImplementedError, OSError, ValueError) as error:
        raise PackError(f"{path} cannot be read as a zip: {error}") from error


def _wrapper(names: list[str]) -> str:
    tops = {name.split("/", 1)[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _distinct_names(inputs: list[Path]) -> list[str]:
    """The inputs' own names; where those collide (alice/project, bob/project) with the parent's before them."""
    short = [_name(path) for path in inputs]
    names = [
        name if short.count(name) == 1 else f"{path.resolve().parent.name}-{name}"
        for path, name in zip(inputs, short, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            raise PackError(f"two inputs would both be called {name!r}; rename one")
    return names


def _name(path: Path) -> str:
    resolved = path.resolve()
    return (resolved.name if path.is_dir() else resolved.stem) or "project"
