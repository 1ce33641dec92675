"""PURE. What pytest's own configuration says about which files are test modules.

Reads the files that pytest reads, in its order (`_pytest/config/findpaths.py`), from the project's folder alone.
A file that pytest would reject leaves the defaults: the run itself shows pytest's complaint.
"""

import configparser
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate

from testmesh.testing.toml_file import parse_toml
from testmesh.testing.tree import Tree, join

CONFIG_NAMES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
DEDICATED = frozenset(CONFIG_NAMES[:4])  # always the configuration where they are there, even if empty

# Bounds on what an upload can make us compute.
MAX_CONFIG = 256 * 1024  # bytes of one file
_MAX_PATTERNS, _MAX_PATTERN = 64, 256

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PytestConfig:
    """pytest's defaults, where the project's configuration says nothing else."""

    testpaths: tuple[str, ...] = ()
    norecursedirs: tuple[str, ...] = ("*.egg", ".*", "_darcs", "build", "CVS", "dist", "node_modules", "venv", "{arch}")
    python_files: tuple[str, ...] = ("test_*.py", "*_test.py")
    python_classes: tuple[str, ...] = ("Test",)
    python_functions: tuple[str, ...] = ("test",)


def read_config(tree: Tree, folder: str, present: Iterable[str] = CONFIG_NAMES) -> PytestConfig:
    """The configuration of the project in `folder`; `present` are the names of files in it."""
    _, values = read_settings(tree, folder, present)
    given = {key: patterns for key in PytestConfig.__slots__ if (patterns := words(values.get(key))) is not None}
    return PytestConfig(**given)


def read_settings(tree: Tree, folder: str, present: Iterable[str]) -> tuple[str | None, Values]:
    """The name of the file that pytest would take its configuration from, and all its settings as they stand there."""
    name = config_file(tree, folder, present)
    return name, (_load(tree, join(folder, name)) if name else None) or {}


def config_file(tree: Tree, folder: str, present: Iterable[str]) -> str | None:
    """The name of the file that pytest would take its configuration from."""
    names = frozenset(present)
    for name in CONFIG_NAMES:
        if name in names and (name in DEDICATED or _load(tree, join(folder, name)) is not None):
            return name
    return None


class Patterns:
    """Globs as pytest matches files and folders: by the name, or where they hold a slash by the whole path."""

    def __init__(self, patterns: Iterable[str]) -> None:
        usable = [pattern for pattern in patterns if len(pattern) <= _MAX_PATTERN][:_MAX_PATTERNS]
        self._names = [re.compile(translate(pattern)) for pattern in usable if "/" not in pattern]
        self._paths = [
            re.compile(translate(pattern if pattern.startswith("/") else f"*/{pattern}"))
            for pattern in usable
            if "/" in pattern
        ]

    def match(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return any(pattern.match(name) for pattern in self._names) or any(
            pattern.match("/" + path) for pattern in self._paths
        )


def _load(tree: Tree, path: str) -> Values | None:
    """pytest's settings in one file; None where it is not one that configures pytest."""
    content = tree.read(path, MAX_CONFIG + 1)
    try:
        if len(content) > MAX_CONFIG:
            return None
        if path.endswith(".toml"):
            return _load_toml(path, content)
        return _load_ini(path, content.decode("utf-8-sig"))
    except (ValueError, configparser.Error):
        return {}  # pytest stops at it, so no later file counts


def _load_toml(path: str, content: bytes) -> Values | None:
    document = parse_toml(content)
    if not path.endswith("pyproject.toml"):
        return _table(document, "pytest")
    pytest = _table(_table(document, "tool"), "pytest")
    native = {key: value for key, value in pytest.items() if key != "ini_options"}
    if native or "ini_options" in pytest:
        return native or _table(pytest, "ini_options")
    return None


def _table(document: Values, key: str) -> Values:
    table = document.get(key)
    return table if isinstance(table, dict) else {}


def _load_ini(path: str, text: str) -> Values | None:
    parser = configparser.RawConfigParser(default_section="\0", strict=True, empty_lines_in_values=True)
    parser.read_string(text)
    section = "tool:pytest" if path.endswith("setup.cfg") else "pytest"
    return dict(parser[section]) if section in parser else None


def words(value: object) -> tuple[str, ...] | None:
    """A setting that is a list, in either form; None where it is not one."""
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError:
            return None
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    return None
