"""PURE. Which modules may bind fixed ports, or talk to a server that does, and so must not share a loopback.

Read off words and imports, of the module and of every file of the project that it can import. A wrong "no" lets two
servers fight for a port and costs a student points; a wrong "yes" costs waiting. So whatever is not known is "yes".
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator

from testmesh.testing.modules import MAX_SOURCE, Allowance
from testmesh.testing.tree import Tree, join, parent

_MAX_IMPORTS, _MAX_CANDIDATES = 1000, 64  # of one file, of one import

# Looked for anywhere in a source, so a comment counts too: plain search is fast, and a "yes" only costs waiting.
# fmt: off
_SUSPECT = (
    b"socket", b"asyncore", b"asynchat", b"selectors", b"http.server", b"http.client", b"wsgiref", b"xmlrpc", b"smtp",
    b"ftplib", b"telnetlib", b"urlopen", b"urllib.request", b"subprocess", b"multiprocessing", b"ProcessPool",
    b"Popen", b"pexpect", b"import pty", b"os.system", b"os.popen", b"fork(", b"os.spawn", b"os.exec", b"posix_spawn",
    b"start_server", b"start_unix_server", b"create_server", b"open_connection", b"create_connection",
    b"create_datagram_endpoint", b"sock_", b"localhost", b"127.0.0.1", b"0.0.0.0", b"::1", b"import_module",
    b"__import__", b"runpy", b"exec(", b"pytest_plugins",
)
# fmt: on
_IMPORT = re.compile(rb"import\b[ \t]*(\([^)]{0,1000}\)|[^\n#;]*)")
# What stands before it in the last bytes: a statement begins, perhaps with the module's name.
_BEFORE, _STATEMENT = 200, re.compile(rb"(?:^|[\n;:])[ \t]*(?:from[ \t]+([.\w]+)[ \t]*)?\Z")
_JOINED = re.compile(rb"\\\r?\n")  # blanked first, so that an import is on one line

# Libraries that open no port by being used in a test.
# fmt: off
_HARMLESS = frozenset({
    "_pytest", "attr", "attrs", "bs4", "click", "colorama", "coverage", "dateutil", "faker", "freezegun",
    "hypothesis", "jinja2", "jsonschema", "lxml", "markupsafe", "matplotlib", "mock", "more_itertools", "mypy",
    "networkx", "nose", "numpy", "packaging", "pandas", "parameterized", "PIL", "pkg_resources", "pluggy",
    "pydantic", "pygments", "pytest", "pytest_mock", "pytz", "rich", "scipy", "setuptools", "simplejson", "six",
    "sklearn", "sortedcontainers", "sympy", "tabulate", "toml", "tomli", "tomlkit", "tqdm", "typeguard", "typer",
    "typing_extensions", "yaml", "zope",
})
# fmt: on


def port_users(tree: Tree, modules: Iterable[str], allowance: Allowance) -> frozenset[str]:
    """Those of a project's `modules` (paths in its tree) that may use a fixed port.

    Args:
        allowance: what may be read; beyond it every answer is yes.
    """
    modules = tuple(modules)
    graph = _ImportGraph(tree, allowance)
    used_by: dict[str, set[str]] = defaultdict(set)
    suspects = set()
    waiting, seen = list(modules), set(modules)
    while waiting:
        path = waiting.pop()
        used = graph.imports(path)
        if used is None:
            suspects.add(path)
            continue
        for other in used:
            used_by[other].add(path)
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    waiting = list(suspects)
    while waiting:
        for user in used_by[waiting.pop()]:
            if user not in suspects:
                suspects.add(user)
                waiting.append(user)
    return frozenset(suspects.intersection(modules))


class _ImportGraph:
    """Which files of a project a file can import, found by the end of their paths: any folder may be on sys.path."""

    def __init__(self, tree: Tree, allowance: Allowance) -> None:
        self._tree, self._allowance = tree, allowance
        self._sizes = {path: size for path, size in tree.files().items() if path.endswith(".py")}
        self._by_name: dict[str, list[str]] = defaultdict(list)  # last part of a dotted name -> files or folders
        self._children: dict[str, list[str]] = defaultdict(list)
        folders = set()
        for path in self._sizes:
            self._by_name[path.rpartition("/")[2][:-3]].append(path)
            folder = parent(path)
            self._children[folder].append(path)
            while folder and folder not in folders:
                folders.add(folder)
                self._by_name[folder.rpartition("/")[2]].append(folder)
                folder = parent(folder)

    def imports(self, path: str) -> set[str] | None:
        """The files that `path` may import; None where it is suspect itself, or more than can be followed."""
        if self._sizes[path] > MAX_SOURCE or not self._allowance.take(self._sizes[path]):
            return None
        source = _JOINED.sub(b" ", self._tree.read(path, MAX_SOURCE))
        if any(word in source for word in _SUSPECT):
            return None
        used = {conftest for conftest in self._conftests(path) if conftest != path}
        for count, dotted in enumerate(_dotted_names(source)):
            found = self._resolve(dotted, parent(path))
            if found is None or count >= _MAX_IMPORTS:
                return None
            used |= found
        return used

    def _conftests(self, path: str) -> Iterator[str]:
        folder = parent(path)
        while True:
            if join(folder, "conftest.py") in self._sizes:
                yield join(folder, "conftest.py")
            if not folder:
                return
            folder = parent(folder)

    def _resolve(self, dotted: str, folder: str) -> set[str] | None:
        """The files that importing a dotted name may run; None where it leads to a library that is not known."""
        if dotted.startswith("."):
            rest = dotted.lstrip(".")
            for _ in range(len(dotted) - len(rest) - 1):
                folder = parent(folder)
            return self._files_at(join(folder, rest.replace(".", "/")))
        parts = dotted.split(".")
        found: set[str] = set()
        if parts[-1] == "*" and len(parts) > 1:
            for place in self._by_name.get(parts[-2], []):
                found |= self._files_at(f"{place}/*")
        for end in range(1, len(parts) + 1):
            places = self._by_name.get(parts[end - 1], [])
            if len(places) > _MAX_CANDIDATES:
                return None
            wanted = "/".join(parts[:end])
            for place in places:
                if f"/{place.removesuffix('.py')}".endswith(f"/{wanted}"):
                    found |= self._files_at(place)
        known = found or parts[0] in self._by_name or parts[0] in sys.stdlib_module_names or parts[0] in _HARMLESS
        return found if known else None

    def _files_at(self, place: str) -> set[str]:
        """The file itself, or a package's own file; with `*` for its last part all that lies in it."""
        if place.endswith("/*"):
            return set(self._children.get(place[:-2], []))
        candidates = (place, f"{place}.py", f"{place}/__init__.py")
        return {path for path in candidates if path in self._sizes}


def _dotted_names(source: bytes) -> Iterator[str]:
    """`a.b` of `import a.b`; `a` and `a.b` of `from a import b`, with its dots where it is relative."""
    for match in _IMPORT.finditer(source):
        statement = _STATEMENT.search(source[max(0, match.start() - _BEFORE) : match.start()])
        if not statement:
            continue
        origin = statement[1].decode("utf-8", "replace") if statement[1] else ""
        if origin:
            yield origin
        names = re.sub(r"#[^\n]*", "", match[1].decode("utf-8", "replace")).strip().strip("()")
        for part in names.split(",") if names else ["*"] if origin else []:  # a list too long to read: anything of it
            if name := _first_word(part):
                yield f"{origin}.{name}" if origin.strip(".") else origin + name


def _first_word(text: str) -> str:
    words = text.split()
    return words[0] if words else ""
