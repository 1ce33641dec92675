"""PURE. The projects and test modules of an archive, by the rules of the contract (docs: what is a project).

1. A single folder that wraps everything is stripped.
2. A module belongs to the nearest folder at or above it that holds a marker and is not named as a folder of tests;
   else to its top-level folder, unless so named; else to the whole archive.
3. pytest's own `testpaths`, `norecursedirs` and `python_files`, from that project's folder, bound the search.
"""

from collections.abc import Iterable, Iterator

from testmesh.errors import NothingToTestError
from testmesh.model import Project
from testmesh.testing.cohort import MAX_COMPARED, is_support
from testmesh.testing.expected_environment import EnvironmentReader
from testmesh.testing.intruders import TEST_FOLDERS
from testmesh.testing.known_modules import KnownModules
from testmesh.testing.module_reader import ModuleReader
from testmesh.testing.modules import Allowance
from testmesh.testing.overlay import below_root, overlay_project
from testmesh.testing.pytest_config import CONFIG_NAMES, MAX_CONFIG, Patterns, PytestConfig, read_config
from testmesh.testing.tree import MAC_EXTRAS, Below, Tree, join, parent, wrapping_folder

MARKERS = frozenset({"requirements.txt", "pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini"})
NEVER_SEARCHED = frozenset({"node_modules", "__pycache__", "site-packages", MAC_EXTRAS})
_MAX_CONFIGS = 8 * 1024 * 1024  # bytes of configuration files of one archive that are parsed
_MAX_GLOB_STEPS = 200_000  # names compared with globs of testpaths in one archive


def detect(
    tree: Tree, name: str, overlay: Tree | None = None, *, prefix: bool = False, parsed: KnownModules | None = None
) -> tuple[Project, ...]:
    """Find the projects of an archive, sorted by name, their modules by path.

    Args:
        name: of the project at the root, where no folder wraps the archive.
        overlay: the staff's tests; then the modules are theirs alone, the same for every project.
        prefix: the archive is a repository, its wrapping folder stripped already: `name` is the root's name, and goes
            before the paths of the others.
        parsed: test files that are known from other archives; those that are parsed here are added.

    Raises:
        NothingToTestError: there is no module at all.
    """
    wrapper = "" if prefix else wrapping_folder(tree.files())
    top = Below(tree, wrapper)
    search = _Search(top)
    found = search.modules()
    reader, environments = ModuleReader(parsed), EnvironmentReader()
    if overlay is None:
        if not found:
            raise NothingToTestError(
                "There is no test file in it; pytest looks for test_*.py and *_test.py, so name yours like that."
            )
        names = _names(found, wrapper or name, prefix)
        projects = []
        for root, modules in found.items():
            inside = top.below(root)
            plans, digests = reader.plans(inside, modules, search.config(root))
            digests |= reader.digests(inside, search.support_files(root, modules))
            compared = tuple(sorted(digests.items())[:MAX_COMPARED])
            environment = environments.digest(inside)
            place = join(wrapper, root)
            projects.append(Project(names[root], place, plans, test_files=compared, environment=environment))
        return tuple(sorted(projects, key=lambda project: project.name))

    staff = below_root(overlay)
    staff_search = _Search(staff)
    staff_modules = tuple(staff_search.all_below_top())
    if not staff_modules:
        raise NothingToTestError(
            "There is no test file in the staff's tests; pytest looks for test_*.py and *_test.py."
        )
    roots = {root: found.get(root, []) for root in (*found, *search.untested(found))}
    if not roots:
        raise NothingToTestError(
            "There is no Python file in it for the staff's tests to test; send the project's code."
        )
    names = _names(roots, wrapper or name, prefix)
    projects = []
    for root, modules in roots.items():
        project = top.below(root)
        laid = overlay_project(project, modules, staff, staff_modules, parse=search.affords(project))
        plans, _ = reader.plans(laid.tree, staff_modules, staff_search.config(""))
        environment = environments.digest(laid.tree)
        projects.append(Project(names[root], join(wrapper, root), plans, laid.detail, environment=environment))
    return tuple(sorted(projects, key=lambda project: project.name))


def _names(roots: Iterable[str], top_name: str, prefix: bool) -> dict[str, str]:
    """A name for every root, no two the same; a folder's path is its own, so only the root's name gives way."""
    names = {root: f"{top_name}/{root}" if prefix else root for root in roots if root}
    if "" in roots:
        top_name = top_name or "project"
        unique, number = top_name, 2
        while unique in names.values():
            unique, number = f"{top_name}-{number}", number + 1
        names[""] = unique
    return names


class _Search:
    """One walk over a tree (already without its wrapping folder)."""

    def __init__(self, tree: Below) -> None:
        self._tree, self._sizes = tree, tree.files()
        self._files: dict[str, list[str]] = {"": []}  # folder -> names of files in it
        self._folders: dict[str, list[str]] = {"": []}  # folder -> paths of folders in it
        for path in sorted(self._sizes):
            folder, _, file = path.rpartition("/")
            self._add_folder(folder)
            self._files[folder].append(file)
        self._roots: dict[str, str] = {"": ""}
        self._configs: dict[str, PytestConfig] = {}
        self._rules: dict[str, _Rules] = {}
        self._parsing = Allowance(_MAX_CONFIGS)
        self._steps_left = _MAX_GLOB_STEPS

    def _add_folder(self, folder: str) -> None:
        missing = []
        while folder not in self._files:
            missing.append(folder)
            folder = parent(folder)
        for new in reversed(missing):
            self._files[new], self._folders[new] = [], []
            self._folders[parent(new)].append(new)

    def modules(self) -> dict[str, list[str]]:
        """Project root -> its modules relative to it, sorted."""
        found: dict[str, list[str]] = {}
        for folder in self._searched_folders():
            root = self._root_of(folder)
            rules = self._rules_of(root)
            for name in self._files[folder]:
                path = join(folder, name)
                if name.endswith(".py") and not name.startswith(".") and rules.is_module(path):
                    found.setdefault(root, []).append(path[len(root) :].lstrip("/"))
        return {root: sorted(modules) for root, modules in sorted(found.items())}

    def all_below_top(self) -> list[str]:
        """Every module, all taken as one project's."""
        self._roots = dict.fromkeys(self._files, "")
        return self.modules().get("", [])

    def untested(self, found: Iterable[str]) -> list[str]:
        """Projects that hold Python files, but no tests of their own: only the staff's tests can grade them.

        The highest folder with a marker, else the top-level folder, unless that is one part of a project that
        spreads over several: then the whole archive.
        """
        found = set(found)
        if "" in found:
            return []
        holders = {
            folder
            for folder in self._searched_folders()
            if any(name.endswith(".py") and not name.startswith(".") for name in self._files[folder])
            and found.isdisjoint(_upward(folder))
        }
        tops = {folder.split("/")[0] for folder in holders}
        if not found and ("" in tops or not MARKERS.isdisjoint(self._files[""])):
            return [""]
        roots = set()
        for folder in holders - {""}:
            marked = [above for above in _upward(folder) if above and self._is_marked(above)]
            root = marked[-1] if marked else folder.split("/")[0]
            if root.lower() not in TEST_FOLDERS and not any(other.startswith(root + "/") for other in found):
                roots.add(root)
        if not found and len(roots) == 1 and not self._is_marked(next(iter(roots))):
            return [""]
        return sorted(root for root in roots if roots.isdisjoint(_upward(parent(root))))

    def config(self, root: str) -> PytestConfig:
        """pytest's configuration of a project; the defaults once the archive has had its share of parsing."""
        if root not in self._configs:
            present = [name for name in CONFIG_NAMES if name in self._files[root]]
            size = sum(min(self._sizes[join(root, name)], MAX_CONFIG) for name in present)
            affordable = self._parsing.take(size)
            self._configs[root] = read_config(self._tree, root, present) if affordable else PytestConfig()
        return self._configs[root]

    def support_files(self, root: str, modules: Iterable[str]) -> list[str]:
        """What pytest loads or reads on its way to these modules, relative to the root."""
        folders = {folder for module in modules for folder in _upward(parent(module))}
        names = {folder: self._files.get(join(root, folder), ()) for folder in folders}
        return sorted(join(folder, name) for folder in folders for name in names[folder] if is_support(name))

    def affords(self, project: Below) -> bool:
        """Whether the archive's share of parsing covers all of a project's configuration files, and spends it."""
        sizes = [size for path, size in project.files().items() if path.rpartition("/")[2] in CONFIG_NAMES]
        return self._parsing.take(2 * sum(min(size, MAX_CONFIG) for size in sizes))

    def _searched_folders(self) -> Iterator[str]:
        stack = [""] if "pyvenv.cfg" not in self._files[""] else []
        while stack:
            folder = stack.pop()
            yield folder
            rules = self._rules_of(self._root_of(folder))
            stack += [inner for inner in self._folders[folder] if self._is_searched(inner) and rules.enters(inner)]

    def _is_searched(self, folder: str) -> bool:
        name = folder.rpartition("/")[2]
        return not (
            name.startswith(".")
            or name in NEVER_SEARCHED
            or "pyvenv.cfg" in self._files[folder]
            or "history" in self._files.get(f"{folder}/conda-meta", ())  # a conda environment, as pytest tells it
        )

    def _is_marked(self, folder: str) -> bool:
        return folder.rpartition("/")[2].lower() not in TEST_FOLDERS and not MARKERS.isdisjoint(self._files[folder])

    def _root_of(self, folder: str) -> str:
        """The root of the project that a module in `folder` belongs to."""
        if folder not in self._roots:
            if self._is_marked(folder):
                root = folder
            elif "/" in folder:
                root = self._root_of(parent(folder))
            else:  # a top-level folder: a marker beside it makes the whole archive the nearest
                whole = not MARKERS.isdisjoint(self._files[""]) or folder.lower() in TEST_FOLDERS
                root = "" if whole else folder
            self._roots[folder] = root
        return self._roots[folder]

    def _rules_of(self, root: str) -> "_Rules":
        if root not in self._rules:
            config = self.config(root)
            self._rules[root] = _Rules(config, frozenset(self._expand(root, config.testpaths)))
        return self._rules[root]

    def _expand(self, root: str, testpaths: Iterable[str]) -> Iterator[str]:
        """The folders and files that the globs of testpaths name, as Python's glob does."""
        for testpath in list(testpaths)[:64]:
            places = {root}
            for part in testpath.split("/")[:16]:
                if part in ("", "."):
                    continue
                if part == "**":
                    places = {below for place in places for below in self._descendants(place)}
                elif any(magic in part for magic in "*?["):
                    pattern = Patterns([part])
                    inner = [path for place in places for path in self._children(place)]
                    self._steps_left -= len(inner)
                    places = {path for path in inner if self._steps_left > 0 and pattern.match(path)}
                else:
                    places = {path for place in places if self._exists(path := join(place, part))}
            if not testpath.startswith("/"):
                yield from places

    def _children(self, folder: str) -> list[str]:
        return [*self._folders.get(folder, []), *(join(folder, name) for name in self._files.get(folder, []))]

    def _descendants(self, folder: str) -> Iterator[str]:
        stack = [folder]
        while stack and self._steps_left > 0:
            place = stack.pop()
            yield place
            self._steps_left -= 1
            stack += self._children(place)

    def _exists(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return path in self._files or name in self._files.get(folder, ())


class _Rules:
    """How one project's configuration bounds the search; paths relative to the searched tree."""

    def __init__(self, config: PytestConfig, starts: frozenset[str]) -> None:
        self._starts = starts  # empty: the whole project, also where testpaths name nothing, as pytest does
        self._on_the_way = {folder for start in starts for folder in _upward(start)}
        self._not_entered = Patterns(config.norecursedirs)
        self._files = Patterns(config.python_files)

    def enters(self, folder: str) -> bool:
        return folder in self._on_the_way or not self._not_entered.match(folder)

    def is_module(self, path: str) -> bool:
        if path in self._starts:
            return True
        return self._files.match(path) and (not self._starts or not self._starts.isdisjoint(_upward(path)))


def _upward(path: str) -> Iterator[str]:
    """A path and every folder above it, "" last."""
    yield path
    while path:
        path = parent(path)
        yield path
