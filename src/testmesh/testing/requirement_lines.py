"""The lines of a requirements file, read as pip reads them but for what the service's policy refuses. PURE."""

import codecs
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from testmesh.errors import EnvironmentFailedError, InfrastructureError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*(?=:)|(?:git|hg|svn|bzr)(?=\+))", re.IGNORECASE)
_REMOTE = frozenset({"http", "https", "git+https", "git+http", "git+ssh", "hg+https", "svn+https", "bzr+https"})
_PATH = re.compile(r"(?P<path>[^\[\];]+)(?P<extras>\[[^\[\]]*\])?\s*(?:;\s*(?P<marker>.+))?")
_HASH = re.compile(r"--hash[= ](?P<hash>sha(?:256|384|512):[0-9A-Fa-f]{64,128})")
_ARCHIVE_NAME = re.compile(r"[A-Za-z0-9._+!-]+")
_EXTRA = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_EGG = re.compile(r"#egg=[A-Za-z0-9._-]+")  # the name that old tools wanted behind a path
_VARIABLE = re.compile(r"\$\{[A-Za-z0-9_]+\}")
_MAX_TEXT = 2000  # characters of a requirement without its hashes
_MAX_NAME, _MAX_PATH = 255, 4000  # bytes, as file systems have it
_SHOWN = 160  # characters of a line that a message quotes


@dataclass(frozen=True, slots=True, order=True)
class LocalPath:
    """A folder or archive inside the project that is installed, never editable.

    `path` is normal, relative to the project, with forward slashes; `.` is the project itself.
    """

    path: str
    extras: tuple[str, ...] = ()
    marker: str = ""

    @property
    def is_archive(self) -> bool:
        return self.path.lower().endswith(_ARCHIVES)


@dataclass(frozen=True, slots=True)
class Line:
    """A logical line and the place a message names."""

    text: str
    file: str
    number: int

    @property
    def place(self) -> str:
        text = self.text if len(self.text) <= _SHOWN else self.text[: _SHOWN - 1] + "…"
        return f"{self.file}, line {self.number}: {text!r}" if self.number else f"{self.file}: {text!r}"


def decode(data: bytes, file: str) -> str:
    """Text of a file that may come from Windows: byte order marks (PowerShell writes UTF-16), else UTF-8, else cp1252.

    Raises:
        EnvironmentFailedError: it is not text.
    """
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        text = "\0" if encoding else data.decode("cp1252", errors="replace")
    if "\0" in text:
        raise EnvironmentFailedError(f"{file} is not a text file; save it as UTF-8")
    return text.lstrip("\ufeff")


def logical_lines(text: str, file: str) -> Iterator[Line]:
    """Lines without comments, joined where a backslash continues them, blanks collapsed; empty ones left out."""
    parts: list[str] = []
    start = 1
    for number, physical in enumerate(text.splitlines(), 1):
        if not parts:
            start = number
        is_comment = physical.lstrip().startswith("#")
        continues = physical.endswith("\\") and not is_comment
        parts.append("" if is_comment else physical.removesuffix("\\"))
        if not continues:
            yield from _line("".join(parts), file, start)
            parts = []
    yield from _line("".join(parts), file, start)


def _line(text: str, file: str, number: int) -> Iterator[Line]:
    collapsed = " ".join(text.split())
    if collapsed.startswith("#"):
        return
    collapsed = collapsed.partition(" #")[0]
    if collapsed:
        yield Line(collapsed, file, number)


def option_of(line: Line) -> tuple[str, str] | None:
    """The option's name and value where the line is one: `-rX`, `-r X`, `--requirement=X`, `--requirement X`."""
    text = line.text
    if text.startswith("--"):
        name, _, value = text.replace("=", " ", 1).partition(" ")
        return name, _unquoted(value)
    if text.startswith("-"):
        return text[:2], _unquoted(text[2:].lstrip(" ="))
    return None


def parse_requirement(line: Line, *, allow_vcs: bool) -> str | LocalPath:
    """A requirement in its normal form (`name[extra]==1; marker`, hashes behind it), or a path in the project.

    Raises:
        InfrastructureError: the service's policy refuses it.
        EnvironmentFailedError: it is no requirement at all.
    """
    _check_text(line)
    text, *options = line.text.split(" -", 1)
    hashes = _hashes("-" + options[0], line) if options else ""
    if text.lower().split("[")[0].split(";")[0].strip().endswith(_ARCHIVES) and "://" not in text:
        return local_path(text, line)
    try:
        requirement = Requirement(text)
    except RecursionError:  # a marker of nothing but parentheses
        raise _no_requirement(line) from None
    except InvalidRequirement:
        return _no_name(text, line, allow_vcs=allow_vcs)
    if requirement.url and not _SCHEME.match(requirement.url):
        return local_path(requirement.url, line)
    if requirement.url:
        _check_direct(requirement.url, line, allow_vcs=allow_vcs)
    requirement.name = canonicalize_name(requirement.name)
    return f"{requirement}{hashes}"


def parse_editable(value: str, line: Line, *, allow_vcs: bool) -> str | LocalPath:
    """What `-e` asks for; it is installed all the same, since environments are shared.

    Raises: as `parse_requirement`.
    """
    _check_text(line)
    if _SCHEME.match(value):
        return _no_name(value, line, allow_vcs=allow_vcs)
    return local_path(value, line)


def local_path(text: str, line: Line) -> LocalPath:
    """A path, perhaps with extras and a marker, checked to be inside the project.

    Raises: as `parse_requirement`.
    """
    match = _PATH.fullmatch(_EGG.sub("", text))
    if not match:
        raise _no_requirement(line)
    extras = tuple(sorted({part.strip() for part in (match["extras"] or "[]")[1:-1].split(",") if part.strip()}))
    if not all(_EXTRA.fullmatch(extra) for extra in extras):
        raise _no_requirement(line)
    path = LocalPath(inside(match["path"].strip(), "", line), tuple(canonicalize_name(e) for e in extras))
    if path.is_archive and not _ARCHIVE_NAME.fullmatch(posixpath.basename(path.path)):
        raise _no_requirement(line)
    try:
        marker = str(Marker(match["marker"])) if match["marker"] else ""
    except (InvalidMarker, RecursionError):
        raise _no_requirement(line) from None
    return replace(path, marker=marker)


def inside(path: str, folder: str, line: Line) -> str:
    """The normal form of a path that is relative to `folder` of the project.

    Raises:
        InfrastructureError: it leads out of the project, or has variables of the environment in it.
        EnvironmentFailedError: no file can have this path.
    """
    _check_variables(line)
    slashed = path.replace("\\", "/")
    normal = posixpath.normpath(posixpath.join(folder, slashed))
    if slashed.startswith(("/", "~")) or _SCHEME.match(slashed) or normal.split("/")[0] == "..":
        raise refused(line, "it leads out of the project; give a path inside it")
    name_bytes = max(len(name.encode()) for name in normal.split("/"))
    if name_bytes > _MAX_NAME or len(normal.encode()) > _MAX_PATH:
        raise EnvironmentFailedError(f"{line.place}: no file has so long a path")
    return normal


def refused(line: Line, why: str) -> InfrastructureError:
    return InfrastructureError(f"{line.place} is refused by this service's policy: {why}")


def _check_text(line: Line) -> None:
    _check_variables(line)
    if len(line.text.partition(" --hash")[0]) > _MAX_TEXT:
        raise refused(line, f"a requirement has at most {_MAX_TEXT} characters; write several lines")


def _check_variables(line: Line) -> None:
    """Installers would put in what this node's environment has."""
    if _VARIABLE.search(line.text):
        raise refused(line, "variables of the environment are not put in; write their value")


def _no_requirement(line: Line) -> EnvironmentFailedError:
    return EnvironmentFailedError(f"{line.place} is not a requirement; write it as name==version")


def _no_name(text: str, line: Line, *, allow_vcs: bool) -> str | LocalPath:
    """A URL or a path that stands without a name."""
    if _SCHEME.match(text):
        _check_direct(text, line, allow_vcs=allow_vcs)
        return text
    if text.startswith((".", "~")) or "/" in text or "\\" in text:
        return local_path(text, line)
    raise _no_requirement(line)


def _check_direct(url: str, line: Line, *, allow_vcs: bool) -> None:
    match = _SCHEME.match(url)
    scheme = match["scheme"].lower() if match else ""
    if scheme == "file" or len(scheme) == 1:
        raise refused(line, "it names a file outside the project; name the package and its version instead")
    if "://" not in url and "@" not in url:
        raise _no_requirement(line)
    if not allow_vcs:
        raise refused(line, "packages come from the index only; name the package and its version instead of a URL")
    if scheme not in _REMOTE:
        raise refused(line, f"only these kinds of URL are taken: {', '.join(sorted(_REMOTE))}")


def _hashes(options: str, line: Line) -> str:
    found = _HASH.findall(options)
    if _HASH.sub("", options).strip():
        raise refused(line, "the only option a requirement may have is --hash; remove the others")
    return "".join(f" --hash={value}" for value in sorted(found))


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
