"""PURE. The staff's tests, laid over every project so that the grade comes from them alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testmesh.testing.pytest_config import CONFIG_NAMES, DEDICATED, config_file
from testmesh.testing.tree import Below, Tree, join, parent, wrapping_folder

TEST_FOLDERS = frozenset({"test", "tests", "testing"})  # names of folders that are never a project themselves
_COMPARED = 4 * 1024 * 1024  # bytes; larger files of one size that begin alike are called replaced
_SHOWN = 20  # names in a note


@dataclass(frozen=True, slots=True)
class Overlaid:
    """What laying the staff's files over one project does. Paths relative to the project, sorted."""

    tree: Tree  # the project as its modules will find it
    replaced: tuple[str, ...]  # files of the student that were there with other contents
    not_run: tuple[str, ...]  # test files of the student that remain, but give no grade
    kept_conftests: tuple[str, ...]  # conftest.py of the student that the staff's tests will load

    @property
    def detail(self) -> str:
        """One line for `Project.detail`, empty where there is nothing to tell."""
        notes = (
            ("replaced by the staff's tests", self.replaced),
            ("not run", self.not_run),
            ("the submission's own conftest.py stays", self.kept_conftests),
        )
        return "; ".join(f"{label}: {_listed(paths)}" for label, paths in notes if paths)


def overlay_root(paths: Iterable[str]) -> str:
    """The folder of the staff's zip that is laid over a project.

    The folder that wraps everything, unless it is named as a folder of tests: a zip of `tests` replaces `tests`.
    """
    folder = wrapping_folder(paths)
    return "" if folder.lower() in TEST_FOLDERS else folder


def overlay_project(project: Tree, test_files: Iterable[str], overlay: Tree) -> Overlaid:
    """Lay `overlay` (already below its `overlay_root`) over a project.

    Args:
        test_files: the student's own modules, paths relative to the project.
    """
    laid = overlay.files()
    theirs = project.files()
    removed = _in_the_way(laid, theirs) | theirs.keys() & set(outranked_configs(overlay))
    differing = {
        path for path in laid.keys() & theirs.keys() if theirs[path] != laid[path] or not _same(project, overlay, path)
    }
    kept = theirs.keys() - laid.keys() - removed
    needed_by = {folder for path in laid for folder in _folders_above(path)}
    return Overlaid(
        LaidOver(project, overlay, removed),
        tuple(sorted(differing | removed)),
        tuple(sorted(set(test_files) & kept)),
        tuple(sorted(path for path in kept if path.endswith("conftest.py") and _is_conftest_of(path, needed_by))),
    )


def outranked_configs(overlay: Tree) -> tuple[str, ...]:
    """Files that pytest would take its configuration from before the staff's; they are removed where they are there."""
    names: dict[str, set[str]] = {}
    for path in overlay.files():
        folder, _, name = path.rpartition("/")
        if name in CONFIG_NAMES:
            names.setdefault(folder, set()).add(name)
    outranked = []
    for folder, present in names.items():
        chosen = config_file(overlay, folder, present)
        before = CONFIG_NAMES[: CONFIG_NAMES.index(chosen)] if chosen else ()
        outranked += [join(folder, name) for name in before if name in DEDICATED and name not in present]
    return tuple(sorted(outranked))


class LaidOver:
    """A project with the staff's files over it, as a `Tree`."""

    def __init__(self, project: Tree, overlay: Tree, removed: frozenset[str] | set[str]) -> None:
        self._project, self._overlay = project, overlay
        self._laid = overlay.files()
        self._files = {path: size for path, size in project.files().items() if path not in removed} | dict(self._laid)

    def files(self) -> Mapping[str, int]:
        return self._files

    def read(self, path: str, limit: int) -> bytes:
        return (self._overlay if path in self._laid else self._project).read(path, limit)


def below_root(overlay: Tree) -> Below:
    """The staff's zip without the folder that wraps it."""
    return Below(overlay, overlay_root(overlay.files()))


def _in_the_way(laid: Mapping[str, int], theirs: Mapping[str, int]) -> set[str]:
    """The student's files where the staff has a folder, and files in folders where the staff has a file."""
    folders = {folder for path in laid for folder in _folders_above(path)}
    return {path for path in theirs if path in folders or not laid.keys().isdisjoint(_folders_above(path))}


def _is_conftest_of(path: str, folders: set[str]) -> bool:
    return path.rpartition("/")[2] == "conftest.py" and parent(path) in folders


def _folders_above(path: str) -> list[str]:
    """Every folder above a path, "" for the top included."""
    above = []
    while path:
        path = parent(path)
        above.append(path)
    return above


def _same(project: Tree, overlay: Tree, path: str) -> bool:
    """Whether two files of one size have the same contents."""
    mine, theirs = project.read(path, _COMPARED), overlay.read(path, _COMPARED)
    return mine == theirs and len(mine) < _COMPARED


def _listed(paths: tuple[str, ...]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
