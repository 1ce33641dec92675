"""What a project asks to have installed: its requirements.txt, else its pyproject.toml. PURE.

A project that has only a setup.py or a setup.cfg gets pytest alone: it is importable from its folder, which is the
tests' working directory, and what it would install is known only by running it. `.` in a requirements.txt installs it.
"""

import contextlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.testing.pyproject import Pyproject
from testmesh.testing.requirement_lines import (
    Line,
    LocalPath,
    decode,
    inside,
    logical_lines,
    option_of,
    parse_editable,
    parse_requirement,
    refused,
)

MAX_FILE = 256 * 1024  # bytes of one requirements or project file
MAX_FILES = 20  # a requirements.txt and what it includes
MAX_REQUIREMENTS = 1000
MAX_SPECIFIER = 200  # characters of a requires-python
TEST_EXTRAS = ("test", "tests", "testing")


class ProjectFiles(Protocol):
    """A project's files, by paths relative to it with forward slashes."""

    def read(self, path: str, limit: int) -> bytes | None:
        """At most `limit` + 1 bytes; None where no regular file is inside the project at that path."""
        ...

    def exists(self, path: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class RequirementSet:
    """What is installed, in a normal form: equal sets compare equal.

    `lines` and `constraints` are requirement lines; `paths` are installed from the project's own files.
    `requires_python` is a version specifier, "" for any. `without_project` is what remains of a pyproject.toml's
    requirements when the project itself cannot be packed as one distribution.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    paths: tuple[LocalPath, ...] = ()
    requires_python: str = ""
    without_project: "RequirementSet | None" = None


def read_requirements(files: ProjectFiles, *, allow_vcs: bool, always: Sequence[str] = ("pytest",)) -> RequirementSet:
    """Read what the project asks for; `always` is installed besides, at the version the project pins it to.

    Raises:
        EnvironmentFailedError: a file or a line cannot be understood; the line is quoted.
        InfrastructureError: the service's policy refuses a line or the number of them.
    """
    project_file = _read(files, "pyproject.toml")
    if files.exists("requirements.txt"):
        reader = _Reader(files, allow_vcs, list(always))
        reader.add_file("requirements.txt", is_constraints=False)
        return reader.result(_requires_python(project_file))
    if project_file is None:
        return RequirementSet(lines=tuple(sorted(always)))
    return _from_pyproject(files, Pyproject.parse(project_file, _read(files, "setup.cfg") or ""), allow_vcs, always)


def _from_pyproject(
    files: ProjectFiles, pyproject: Pyproject, allow_vcs: bool, always: Sequence[str]
) -> RequirementSet:
    if pyproject.requires_python:
        _check_specifier(pyproject.requires_python)
    own, groups = [*TEST_EXTRAS], []
    for text in pyproject.groups(TEST_EXTRAS):
        named = pyproject.own_extras(text)
        own.extend(named or ())
        groups.extend([_declared(text)] if named is None else [])
    alone = _Reader(files, allow_vcs, list(always))
    for line in [*map(_declared, pyproject.runtime_and_extras(own)), *groups]:
        alone.add(line)
    without_project = alone.result(pyproject.requires_python)
    if not pyproject.is_package and not (files.exists("setup.py") and not pyproject.is_virtual):
        return without_project
    whole = _Reader(files, allow_vcs, list(always))
    for line in groups:
        whole.add(line)
    whole.add_path(LocalPath(".", tuple(sorted(set(pyproject.extras(own))))), _declared("."))
    return whole.result(pyproject.requires_python, without_project)


@dataclass(slots=True)
class _Reader:
    """Gathers the lines of one project."""

    files: ProjectFiles
    allow_vcs: bool
    lines: list[str]
    constraints: list[str] = field(default_factory=list)
    paths: list[LocalPath] = field(default_factory=list)
    seen: set[tuple[str, bool]] = field(default_factory=set)

    def result(self, requires_python: str, without_project: RequirementSet | None = None) -> RequirementSet:
        return RequirementSet(
            lines=tuple(sorted(set(self.lines))),
            constraints=tuple(sorted(set(self.constraints))),
            paths=tuple(sorted(set(self.paths))),
            requires_python=requires_python,
            without_project=without_project,
        )

    def add_file(self, path: str, *, is_constraints: bool) -> None:
        """A requirements or constraints file and what it includes; a file is read once, so cycles end."""
        if (path, is_constraints) in self.seen:
            return
        self.seen.add((path, is_constraints))
        if len(self.seen) > MAX_FILES:
            raise InfrastructureError(f"{path}: requirements in more than {MAX_FILES} files are refused; use fewer")
        text = _read(self.files, path)
        if text is None:
            raise EnvironmentFailedError(f"{path}: the requirements file does not exist in the project")
        for line in logical_lines(text, path):
            option = option_of(line)
            if option is None:
                self.add(line, is_constraint=is_constraints)
            else:
                self._add_option(*option, line, is_constraints=is_constraints)

    def add(self, line: Line, *, is_constraint: bool = False) -> None:
        self._add_parsed(parse_requirement(line, allow_vcs=self.allow_vcs), line, is_constraint=is_constraint)

    def add_path(self, path: LocalPath, line: Line) -> None:
        if not self.files.exists(path.path):
            raise EnvironmentFailedError(f"{line.place}: there is no {path.path!r} in the project")
        self._check_build(path)
        self.paths.append(path)

    def _add_option(self, name: str, value: str, line: Line, *, is_constraints: bool) -> None:
        folder = posixpath.dirname(line.file)
        match name:
            case "-r" | "--requirement":
                self.add_file(inside(value, folder, line), is_constraints=is_constraints)
            case "-c" | "--constraint":
                self.add_file(inside(value, folder, line), is_constraints=True)
            case "-e" | "--editable":
                parsed = parse_editable(value, line, allow_vcs=self.allow_vcs)
                self._add_parsed(parsed, line, is_constraint=is_constraints)
            case _:
                raise refused(line, f"the option {name} is not taken; remove the line")

    def _add_parsed(self, parsed: str | LocalPath, line: Line, *, is_constraint: bool) -> None:
        if is_constraint and isinstance(parsed, LocalPath):
            raise refused(line, "a constraint names a version, not a path")
        if isinstance(parsed, LocalPath):
            self.add_path(parsed, line)
        else:
            (self.constraints if is_constraint else self.lines).append(parsed)
        if len(self.lines) + len(self.constraints) + len(self.paths) > MAX_REQUIREMENTS:
            raise InfrastructureError(f"{line.file}: more than {MAX_REQUIREMENTS} requirements are refused; use fewer")

    def _check_build(self, path: LocalPath) -> None:
        """What a folder declares that it needs is under the same policy; what its setup.py computes cannot be seen."""
        file = posixpath.normpath(posixpath.join(path.path, "pyproject.toml"))
        text = None if path.is_archive else _read(self.files, file)
        if text is None:
            return
        pyproject = Pyproject.parse(text, "")
        for needed in (
            *pyproject.build_requires,
            *pyproject.runtime_and_extras(path.extras),
            *pyproject.poetry_sources,
        ):
            parse_requirement(_declared(needed, file), allow_vcs=self.allow_vcs)


def _declared(text: str, file: str = "pyproject.toml") -> Line:
    # Blanks collapsed as in a requirements file: a line break in it must not become one in the list we write.
    return Line(" ".join(text.split()), file, 0)


def _read(files: ProjectFiles, path: str) -> str | None:
    data = files.read(path, MAX_FILE)
    if data is None:
        return None
    if len(data) > MAX_FILE:
        raise InfrastructureError(f"{path} is over {MAX_FILE // 1024} KiB, which is refused; make it shorter")
    return decode(data, path)


def _requires_python(project_file: str | None) -> str:
    """Of the pyproject.toml beside a requirements.txt, which counts only where it can be read."""
    if project_file is None:
        return ""
    try:
        text = Pyproject.parse(project_file, "").requires_python
        return _check_specifier(text) if text else ""
    except EnvironmentFailedError:
        return ""


def _check_specifier(text: str) -> str:
    with contextlib.suppress(InvalidSpecifier):
        if len(text) <= MAX_SPECIFIER:
            return str(SpecifierSet(text))
    raise EnvironmentFailedError(
        f"pyproject.toml: requires-python = {text[:100]!r} is no version specifier; write it as >=3.11"
    )
