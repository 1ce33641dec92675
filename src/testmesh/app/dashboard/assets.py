"""The files that pages load: read once, named by a digest of all of them, so that browsers may keep them for good."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

PREFIX = "/dashboard/static"
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    kind: str
    etag: str


@dataclass(frozen=True, slots=True)
class Assets:
    """`version` is in every path, also in those by which scripts import each other."""

    version: str
    by_name: Mapping[str, Asset]

    def url(self, name: str) -> str:
        return f"{PREFIX}/{self.version}/{name}" if name in self.by_name else ""


def read_assets() -> Assets:
    """All of `static/`, by the name below it."""
    contents = dict(sorted(_read(files("testmesh.app.dashboard") / "static", "")))
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return Assets(digest.hexdigest()[:16], {name: _asset(name, content) for name, content in contents.items()})


def _asset(name: str, content: bytes) -> Asset:
    return Asset(content, _kind(name), hashlib.sha256(content).hexdigest()[:32])


def _read(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif _kind(entry.name):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _kind(name: str) -> str:
    return _KINDS.get(name[name.rfind(".") :], "")
