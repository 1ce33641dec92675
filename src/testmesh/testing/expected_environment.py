"""PURE. What a project's environment will be made of, as far as its files tell before anything is unpacked.

Equal digests most likely share an environment, so that a node which has it is a good place for the project.
"""

import hashlib
import json
import posixpath

from testmesh.errors import InfrastructureError, TestmeshError
from testmesh.testing.modules import Allowance
from testmesh.testing.requirements import read_requirements
from testmesh.testing.tree import Tree, parent

_MAX_READ = 256 * 1024  # bytes of requirements of one archive: reading one takes up to 8 us a byte
_MAX_HASHED = 16 * 1024 * 1024  # bytes of projects that are installed themselves, of one archive
_MAX_INSTALLED = 8  # folders and archives of one project
_NO_SOURCE = frozenset({".git", "__pycache__", "node_modules", "site-packages"})


class EnvironmentReader:
    """Reads the projects of one archive within bounds."""

    def __init__(self) -> None:
        self._reading, self._hashing = Allowance(_MAX_READ), Allowance(_MAX_HASHED)

    def digest(self, project: Tree) -> str:
        """32 hexadecimal digits; "" where it cannot be told, or the requirements cannot be met anyway."""
        files = _TreeFiles(project, self._reading)
        try:
            asked = read_requirements(files, allow_vcs=True)
        except TestmeshError:
            return ""
        if len(asked.paths) > _MAX_INSTALLED:
            return ""
        installed = []
        for path in asked.paths:
            content = self._content(project, path.path)
            if content is None:
                return ""
            installed.append([path.path if path.is_archive else "", path.extras, path.marker, content])
        described = [asked.lines, asked.constraints, asked.requires_python, installed]
        return hashlib.sha256(json.dumps(described).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _content(self, project: Tree, path: str) -> str | None:
        """Digest of a folder's files, or of one file; None where that is more than the archive's share."""
        sizes = project.files()
        below = "" if path == "." else f"{path}/"
        found = [path] if path in sizes else sorted(name for name in sizes if _is_source(name, below))
        if not self._hashing.take(sum(sizes[name] for name in found)):
            return None
        digest = hashlib.sha256()
        for name in found:
            content = hashlib.sha256(project.read(name, sizes[name])).digest()
            digest.update(name.removeprefix(below).encode("utf-8", "surrogatepass") + b"\0" + content)
        return digest.hexdigest()


class _TreeFiles:
    """A tree as `ProjectFiles`; what is beyond the allowance is refused."""

    def __init__(self, tree: Tree, allowance: Allowance) -> None:
        self._tree, self._sizes, self._allowance = tree, tree.files(), allowance
        self._folders: frozenset[str] | None = None

    def read(self, path: str, limit: int) -> bytes | None:
        path = posixpath.normpath(path)
        if path not in self._sizes:
            return None
        if not self._allowance.take(min(self._sizes[path], limit + 1)):
            raise InfrastructureError("The requirements of this archive are too long to be looked at in advance.")
        return self._tree.read(path, limit + 1)

    def exists(self, path: str) -> bool:
        path = posixpath.normpath(path)
        return path in self._sizes or path == "." or path in self._all_folders()

    def _all_folders(self) -> frozenset[str]:
        if self._folders is None:
            found: set[str] = set()
            for folder in {parent(path) for path in self._sizes}:
                while folder and folder not in found:
                    found.add(folder)
                    folder = parent(folder)  # noqa: PLW2901 - upwards
            self._folders = frozenset(found)
        return self._folders


def _is_source(name: str, below: str) -> bool:
    return name.startswith(below) and _NO_SOURCE.isdisjoint(name[len(below) :].split("/"))
