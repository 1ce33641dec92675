"""Keeps pytest's search for its configuration inside the project.

pytest looks for a configuration file, a conftest.py and a setup.py in every folder above the tests, up to the root of
the disk. What lies above a project here is the node's own, and must not decide how a student's tests run. Where the
project has a configuration, pytest stops at it; where it has none, these arguments say what plain pytest would find if
nothing lay above (`determine_setup` in `_pytest/config/findpaths.py`).
"""

from collections.abc import Iterator
from pathlib import Path

from testmesh.testing.project_files import FolderFiles
from testmesh.testing.pytest_config import CONFIG_NAMES, config_file
from testmesh.testing.tree import join, parent

_NO_CONFIG = "/dev/null"


def root_arguments(project: Path, module: str) -> list[str]:
    """Arguments of pytest for a module, its path relative to the project's folder, which is the working directory."""
    tree = _FolderTree(project)
    folders = list(_upward(parent(module)))
    nearest_pyproject = None
    for folder in folders:
        present = [name for name in CONFIG_NAMES if tree.has(join(folder, name))]
        if config_file(tree, folder, present):
            return []
        if "pyproject.toml" in present and nearest_pyproject is None:
            nearest_pyproject = folder
    if nearest_pyproject is not None:
        root, config = nearest_pyproject, join(nearest_pyproject, "pyproject.toml")
    else:
        root = next((folder for folder in folders if tree.has(join(folder, "setup.py"))), "")
        config = _NO_CONFIG
    return ["-c", config, f"--rootdir={root or '.'}", f"--confcutdir={root or '.'}"]


class RootArguments:
    """They are the same for all modules of a folder: remembered for one project, whose files must not change.

    Safe from any thread.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self._known: dict[str, list[str]] = {}

    def of(self, module: str) -> list[str]:
        folder = parent(module)
        found = self._known.get(folder)
        if found is None:
            found = self._known[folder] = root_arguments(self._project, module)
        return list(found)


class _FolderTree(FolderFiles):
    """A folder as what `config_file` reads."""

    def files(self) -> dict[str, int]:
        return {}

    def read(self, path: str, limit: int) -> bytes:
        return super().read(path, limit) or b""

    def has(self, path: str) -> bool:
        return super().read(path, 0) is not None


def _upward(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = parent(folder)
    yield ""
