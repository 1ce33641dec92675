"""What pytest an environment has, and whether it is that of another one. Its files may be of foreign making."""

import filecmp
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from testmesh.testing.environment_shelf import Environment
from testmesh.testing.requirements import RequirementSet

_OLDEST = (3, 11)  # what the launcher's code runs on
_PYTEST = frozenset(("pytest", "pluggy", "iniconfig", "packaging", "pygments"))
_DIST_INFO = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9.+!_]+)\.dist-info")
_OF_VIRTUALENV = re.compile(r"_virtualenv\..*|__pycache__|.*\.dist-info|.*\.virtualenv")


def belongs_to_this_user(interpreter: Path) -> bool:
    """And it is an ordinary one. A fork's /proc/self/exe leads to it past the read-only view that its box has of it."""
    return os.geteuid() != 0 and interpreter.stat().st_uid == os.geteuid()


def pytest_of(environment: Environment) -> RequirementSet | None:
    """pytest and what it needs, as the environment has them; None where this interpreter cannot be served."""
    if tuple(int(part) for part in environment.version.split(".")[:2]) < _OLDEST or sys.platform != "linux":
        return None
    lines: dict[str, str] = {}
    for entry in _site_packages(environment).glob("*.dist-info"):
        match = _DIST_INFO.fullmatch(entry.name)
        if match and canonicalize_name(match[1]) in _PYTEST:
            if canonicalize_name(match[1]) in lines:
                return None  # it is there twice
            try:
                lines[canonicalize_name(match[1])] = str(Version(match[2]))
            except InvalidVersion:
                return None
    if "pytest" not in lines:
        return None
    wanted = tuple(sorted(f"{name}=={version}" for name, version in lines.items()))
    return RequirementSet(lines=wanted, requires_python=f"=={environment.version}")


def _site_packages(environment: Environment) -> Path:
    major, minor = environment.version.split(".")[:2]
    return environment.bin_dir.parent / "lib" / f"python{major}.{minor}" / "site-packages"


def has_same_pytest(base: Environment, other: Environment) -> bool:
    """Whether whatever is importable from `base` is the same in the other one, byte by byte; no link is followed."""
    folder = _site_packages(other)
    return all(_is_same_entry(entry, folder / entry.name) for entry in _entries(_site_packages(base)))


def _is_same_entry(base: Path, other: Path) -> bool:
    if other.is_symlink():
        return False
    if not base.is_dir():
        return other.is_file() and filecmp.cmp(base, other, shallow=False)
    if not other.is_dir():
        return False
    mine, theirs = ({entry.name: entry for entry in _entries(folder)} for folder in (base, other))
    return mine.keys() == theirs.keys() and all(_is_same_entry(mine[name], theirs[name]) for name in mine)


def _entries(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.iterdir() if not _OF_VIRTUALENV.fullmatch(entry.name))
