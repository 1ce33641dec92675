"""PURE. The staff's tests, laid over every project so that the grade comes from them alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testmesh.testing.intruders import INI, TEST_FOLDERS, Configuration, configuration, in_the_way, intruders, warnings
from testmesh.testing.notes import joined, listed
from testmesh.testing.pytest_config import CONFIG_NAMES, DEDICATED
from testmesh.testing.tree import MAC_EXTRAS, Below, Tree, wrapping_folder

_COMPARED = 4 * 1024 * 1024  # bytes; larger files of one size that begin alike are called replaced


@dataclass(frozen=True, slots=True)
class Layer:
    """What is done to a project's files before the staff's are written over them. Paths relative to the project."""

    removed: frozenset[str]  # files of the student that go, beside those that the staff replaces
    left_out: frozenset[str]  # those of them that would have a say in how the staff's tests run
    written: Mapping[str, bytes]  # files that neither sent
    unused_settings: tuple[str, ...]  # pytest's, of the student


@dataclass(frozen=True, slots=True)
class Overlaid:
    """What laying the staff's files over one project does."""

    tree: Tree  # the project as its modules will find it
    detail: str  # one line for `Project.detail`, empty where there is nothing to tell


def overlay_root(paths: Iterable[str]) -> str:
    """The folder of the staff's zip that is laid over a project.

    The folder that wraps everything, unless it is named as a folder of tests: a zip of `tests` replaces `tests`.
    """
    folder = wrapping_folder(paths)
    return "" if folder.lower() in TEST_FOLDERS else folder


def below_root(overlay: Tree) -> Below:
    """The staff's zip without the folder that wraps it."""
    return Below(overlay, overlay_root(overlay.files()))


def plan_layer(project: Tree, staff: Tree, *, parse: bool = True) -> Layer:
    """The one decision that detection and unpacking both follow. `staff` is already below its `overlay_root`.

    Args:
        parse: False, for speed, to look at names only; then what is said of pytest's settings is not true.
    """
    left_out = intruders(project, staff, parse=parse)
    settings = configuration(project, staff) if parse else Configuration(None)
    written = {} if settings.ini is None else {INI: settings.ini}
    laid = dict(staff.files()) | dict.fromkeys(written, 0)
    removed = left_out | in_the_way(laid, project.files())
    return Layer(frozenset(removed), frozenset(left_out), written, settings.unused)


def overlay_project(
    project: Tree, test_files: Iterable[str], staff: Tree, staff_modules: Iterable[str], *, parse: bool = True
) -> Overlaid:
    """Lay `staff` (already below its `overlay_root`) over a project.

    Args:
        test_files: the student's own modules, paths relative to the project.
        staff_modules: the staff's.
        parse: False, for speed, to tell only what names and contents tell.
    """
    layer = plan_layer(project, staff, parse=parse)
    laid, theirs = staff.files(), project.files()
    replaced = {
        path for path in laid.keys() & theirs.keys() if theirs[path] != laid[path] or not _same(project, staff, path)
    }
    # An empty file says nothing, and what the file at the top says is told setting by setting.
    left_out = {path for path in layer.left_out if theirs[path] and path not in DEDICATED}
    own_tests = set(test_files) - laid.keys() - layer.removed
    notes = [
        ("replaced by the staff's tests", replaced | (layer.removed - layer.left_out)),
        ("added by the staff's tests", set(staff_modules) - theirs.keys()),
        ("not run", own_tests),
        ("left out, since the staff's tests would obey it", left_out),
    ]
    told = [listed(label, sorted(filter(_is_told, paths))) for label, paths in notes]
    told.append(listed("pytest's settings that do not count", layer.unused_settings))
    told += [listed(label, names) for label, names in warnings(project, staff, parse=parse)]
    return Overlaid(_LaidOver(project, staff, layer), joined(told))


class _LaidOver:
    """A project with the staff's files over it, as a `Tree`."""

    def __init__(self, project: Tree, staff: Tree, layer: Layer) -> None:
        self._project, self._staff, self._written = project, staff, layer.written
        self._laid = staff.files()
        kept = {path: size for path, size in project.files().items() if path not in layer.removed}
        self._files = kept | dict(self._laid) | {path: len(content) for path, content in layer.written.items()}

    def files(self) -> Mapping[str, int]:
        return self._files

    def read(self, path: str, limit: int) -> bytes:
        if path in self._written:
            return self._written[path][:limit]
        return (self._staff if path in self._laid else self._project).read(path, limit)


def _is_told(path: str) -> bool:
    """Not of what systems and editors put into every zip."""
    parts = path.split("/")
    return not any(part in (MAC_EXTRAS, "__pycache__") or _is_hidden(part) for part in parts)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name not in CONFIG_NAMES


def _same(project: Tree, overlay: Tree, path: str) -> bool:
    """Whether two files of one size have the same contents."""
    mine, theirs = project.read(path, _COMPARED), overlay.read(path, _COMPARED)
    return mine == theirs and len(mine) < _COMPARED
