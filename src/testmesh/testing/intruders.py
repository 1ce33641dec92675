"""PURE. The student's files that would have a say in how the staff's tests run.

A grade that comes from the staff's tests alone takes more than replacing files of the same path:
- a `conftest.py` above the tests is loaded by them, and can change every outcome;
- pytest's configuration can deselect tests, load a plugin, look for other names;
- `tests/__init__.py` runs before the tests and changes what they are called and where they import from;
- `test_a/__init__.py` and `test_a.so` are imported in place of `test_a.py` beside them.
Names that pytest looks up by path are compared as a file system may that folds case.
"""

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testmesh.testing.pytest_config import CONFIG_NAMES, DEDICATED, config_file, read_settings, words
from testmesh.testing.toml_file import parse_toml
from testmesh.testing.tree import Tree, join, parent

TEST_FOLDERS = frozenset({"test", "tests", "testing"})  # names of folders that are never a project themselves
INI = "pytest.ini"
_IMPORTED_FIRST = (".so", ".pyd", ".pyc")
_PACKAGING = frozenset({"pyproject.toml", "setup.cfg", "setup.py", "entry_points.txt"})
_MAX_PACKAGING, _MAX_READ = 20, 256 * 1024  # files that are looked at for a plugin; bytes of each
# What a project says of its own layout, which the staff cannot know. None of it selects or changes a test.
_KEPT_SETTINGS = (
    "pythonpath",
    "asyncio_mode",
    "asyncio_default_fixture_loop_scope",
    "asyncio_default_test_loop_scope",
    "DJANGO_SETTINGS_MODULE",
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Which settings of pytest the staff's tests run with."""

    ini: bytes | None  # what to write as the project's pytest.ini; None: the staff's own file counts as it is
    unused: tuple[str, ...] = ()  # names of the student's settings that do not count


def in_the_way(laid: Mapping[str, int], theirs: Iterable[str]) -> set[str]:
    """The student's files where the staff has a folder, and files in folders where the staff has a file."""
    folders = {folder for path in laid for folder in folders_above(path)}
    return {path for path in theirs if path in folders or not laid.keys().isdisjoint(folders_above(path))}


def intruders(project: Tree, staff: Tree, *, parse: bool = True) -> set[str]:
    """The student's files that are to be gone before the staff's tests run; none that the staff replaces.

    Args:
        parse: False, for speed, to go by names alone.
    """
    laid = staff.files()
    code = [path for path in laid if path.endswith(".py")]
    loading = {folder for path in code for folder in folders_above(path)}
    stems = {path.removesuffix(".py") for path in code}
    found = set()
    for path in project.files().keys() - laid.keys():
        folder, _, name = path.rpartition("/")
        if _is_imported_first(path, stems) or (folder in loading and _decides(project, folder, name, parse)):
            found.add(path)
    return found


def configuration(project: Tree, staff: Tree) -> Configuration:
    """pytest's settings for the staff's tests: the staff's where they have any, else nothing that selects tests."""
    own_name, own = read_settings(project, "", _names_at_top(project))
    name, staffs = read_settings(staff, "", _names_at_top(staff))
    if name is None:
        kept = {key: value for key in _KEPT_SETTINGS if (value := _one_line(own.get(key)))}
        unused = tuple(f"{key} ({own_name})" for key in own if key not in kept)
        return Configuration(_ini(kept), unused)
    if name in DEDICATED or name == "pyproject.toml":  # the student's that come before it are removed or replaced
        return Configuration(None)
    return Configuration(_ini({key: str(value) for key, value in staffs.items()}))


def warnings(project: Tree, staff: Tree, *, parse: bool = True) -> list[tuple[str, list[str]]]:
    """What stays of the student's and is worth a look, since the tests share a process with it: label and names."""
    laid = staff.files()
    theirs = project.files()
    kept = sorted(theirs.keys() - laid.keys())
    importing = {"", *(parent(path) for path in laid if path.endswith(".py"))}
    shadows = [path for path in kept if _module_name(path, importing) in sys.stdlib_module_names]
    packaging = [path for path in kept if parse and path.rpartition("/")[2] in _PACKAGING][:_MAX_PACKAGING]
    plugins = [path for path in packaging if b"pytest11" in project.read(path, _MAX_READ)]
    services = _services(project) if parse and "pyproject.toml" in kept else []
    return [
        ("it declares a plugin of pytest", plugins),
        ("named like modules of Python's own", shadows),
        ("its pyproject.toml asks for services", services),
    ]


def folders_above(path: str) -> list[str]:
    """Every folder above a path, "" for the top included."""
    above = []
    while path:
        path = parent(path)
        above.append(path)
    return above


def _is_imported_first(path: str, stems: set[str]) -> bool:
    """Whether Python finds it where it looks for one of the modules, which are given by path without `.py`."""
    folder, _, name = path.rpartition("/")
    stem = name.partition(".")[0]
    if stem == "__init__" and folder in stems:
        return True
    return name.endswith(_IMPORTED_FIRST) and join(folder, stem) in stems


def _decides(project: Tree, folder: str, name: str, parse: bool) -> bool:
    """Whether pytest takes orders from this file, in a folder that it passes on the way to the staff's tests."""
    folded = name.casefold()
    if folded == "conftest.py" or folded in DEDICATED:
        return True
    if folded.partition(".")[0] == "__init__":
        return not TEST_FOLDERS.isdisjoint(folder.casefold().split("/"))
    # The file at the top may be needed to install the project; a pytest.ini is laid before it.
    return bool(folder) and parse and name in CONFIG_NAMES and config_file(project, folder, [name]) is not None


def _names_at_top(tree: Tree) -> list[str]:
    files = tree.files()
    return [name for name in CONFIG_NAMES if name in files]


def _one_line(value: object) -> str:
    given = words(value) or ()
    return shlex.join(given) if all(word.isprintable() for word in given) else ""


def _ini(settings: Mapping[str, str]) -> bytes:
    lines = [f"{key} = " + "\n    ".join(value.strip().splitlines()) for key, value in settings.items()]
    return "\n".join(["[pytest]", *lines, ""]).encode()


def _module_name(path: str, importing: set[str]) -> str:
    """The name by which code imports it from one of the folders, else ""."""
    folder, _, name = path.rpartition("/")
    if name == "__init__.py":
        folder, _, name = folder.rpartition("/")
        return name if folder in importing else ""
    return name.removesuffix(".py") if folder in importing and name.endswith(".py") else ""


def _services(project: Tree) -> list[str]:
    try:
        value: object = parse_toml(project.read("pyproject.toml", _MAX_READ + 1))
    except ValueError:
        return []
    for key in ("tool", "testmesh", "services"):
        value = value.get(key) if isinstance(value, dict) else None
    tables = value if isinstance(value, list) else []
    commands = [table.get("command") for table in tables if isinstance(table, dict)]
    return [command for command in commands if isinstance(command, str) and command.isprintable()]
