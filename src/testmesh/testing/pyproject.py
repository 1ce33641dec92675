"""A pyproject.toml as far as it says what to install. PURE."""

import configparser
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.toml_file import parse_toml

_POETRY_SOURCES = {"git": "git+", "url": "", "path": "", "file": ""}


@dataclass(frozen=True, slots=True)
class Pyproject:
    """Requirements are lines as they stand in the file, not yet checked.

    `is_package`: it describes something to build. `is_virtual`: it says of itself that there is nothing to build
    (`tool.uv.package = false`, poetry's `package-mode = false`).
    """

    name: str
    requires_python: str
    is_package: bool
    is_virtual: bool
    build_requires: tuple[str, ...]
    runtime: tuple[str, ...]
    poetry_sources: tuple[str, ...]  # what poetry takes from elsewhere than the index, as lines with a URL or a path
    all_extras: Mapping[str, tuple[str, ...]]  # by normal name
    all_groups: Mapping[str, tuple[Any, ...]]  # by normal name; a table in it includes another group

    @classmethod
    def parse(cls, text: str, setup_cfg: str) -> "Pyproject":
        """Read the file; `setup_cfg`, its text or "", adds the names of setuptools' extras.

        Raises:
            EnvironmentFailedError: it is not TOML.
        """
        try:
            document = parse_toml(text.encode())
        except ValueError as error:
            raise EnvironmentFailedError(f"pyproject.toml is not valid TOML: {str(error)[:200]}") from None
        project = _table(document, "project")
        poetry = _table(document, "tool", "poetry")
        is_virtual = _table(document, "tool", "uv").get("package") is False or poetry.get("package-mode") is False
        extras: dict[str, tuple[str, ...]] = dict.fromkeys(_setup_cfg_extras(setup_cfg), ())
        extras |= {canonicalize_name(name): () for name in _table(poetry, "extras")}
        optional = _table(project, "optional-dependencies")
        extras |= {canonicalize_name(name): _strings(lines) for name, lines in optional.items()}
        groups = _table(document, "dependency-groups")
        requires_python = project.get("requires-python")
        return cls(
            name=canonicalize_name(str(project.get("name", ""))),
            requires_python=requires_python if isinstance(requires_python, str) else "",
            is_package=not is_virtual and bool(project or poetry or "build-system" in document),
            is_virtual=is_virtual,
            build_requires=_strings(_table(document, "build-system").get("requires")),
            runtime=_strings(project.get("dependencies")),
            poetry_sources=tuple(_poetry_sources(_table(poetry, "dependencies"))),
            all_extras=extras,
            all_groups={canonicalize_name(name): _items(lines) for name, lines in groups.items()},
        )

    def extras(self, names: Collection[str]) -> tuple[str, ...]:
        """Those of the names that it has as extras."""
        return tuple(name for name in names if name in self.all_extras)

    def runtime_and_extras(self, names: Collection[str]) -> tuple[str, ...]:
        """What the project itself and these of its extras need, extras that name the project's others resolved."""
        lines = list(self.runtime)
        todo, done = list(self.extras(names)), set[str]()
        while todo:
            extra = todo.pop()
            if extra in done:
                continue
            done.add(extra)
            for line in self.all_extras[extra]:
                own = self.own_extras(line)
                todo.extend(self.extras(own) if own is not None else ())
                lines.extend([line] if own is None else ())
        return tuple(dict.fromkeys(lines))

    def groups(self, names: Collection[str]) -> tuple[str, ...]:
        """What these of its dependency groups need, included groups too; may name the project and its extras."""
        lines: list[str] = []
        todo, done = [name for name in names if name in self.all_groups], set[str]()
        while todo:
            group = todo.pop()
            if group in done:
                continue
            done.add(group)
            for item in self.all_groups.get(group, ()):
                if isinstance(item, str):
                    lines.append(item)
                elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
                    todo.append(canonicalize_name(item["include-group"]))
        return tuple(dict.fromkeys(lines))

    def own_extras(self, line: str) -> tuple[str, ...] | None:
        """The extras of `name[a,b]` where name is the project itself, else None."""
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            return None
        if not self.name or canonicalize_name(requirement.name) != self.name:
            return None
        return tuple(canonicalize_name(extra) for extra in requirement.extras)


def _table(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The table at a path; an empty one where something else or nothing is there."""
    for name in path:
        value = document.get(name)
        document = value if isinstance(value, dict) else {}
    return document


def _items(value: object) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else ()


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in _items(value) if isinstance(item, str))


def _poetry_sources(dependencies: Mapping[str, Any]) -> Iterator[str]:
    """Of `name = {git = "…"}` and its like; a name may have several, in a list."""
    for name, value in dependencies.items():
        for table in value if isinstance(value, list) else [value]:
            for kind, prefix in _POETRY_SOURCES.items():
                place = table.get(kind) if isinstance(table, dict) else None
                if isinstance(place, str):
                    yield f"{canonicalize_name(name)} @ {prefix}{place}"


def _setup_cfg_extras(text: str) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return []
    section = "options.extras_require"
    return [canonicalize_name(name) for name in parser.options(section)] if parser.has_section(section) else []
