"""PURE. A submission's files as detection sees them, wherever they are kept."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Protocol

MAC_EXTRAS = "__MACOSX"


class Tree(Protocol):
    """Regular files by path: relative, with forward slashes, without `.`, `..` or empty parts."""

    def files(self) -> Mapping[str, int]:
        """Path -> size in bytes."""
        ...

    def read(self, path: str, limit: int) -> bytes:
        """The first `limit` bytes of a file.

        Raises:
            KeyError: there is no such file.
        """
        ...


class MemoryTree:
    """A tree of bytes."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = dict(contents)

    def files(self) -> Mapping[str, int]:
        return {path: len(content) for path, content in self._contents.items()}

    def read(self, path: str, limit: int) -> bytes:
        return self._contents[path][:limit]


class Below:
    """What lies below one folder of a tree, with paths relative to that folder ("" is the whole tree).

    `below` shares the sorted paths, so that a view costs what it shows, not what the whole tree holds.
    """

    def __init__(self, tree: Tree, folder: str = "") -> None:
        self._tree = tree
        self._sizes = tree.files()
        self._ordered = sorted(self._sizes)
        self._prefix = f"{folder}/" if folder else ""

    def below(self, folder: str) -> "Below":
        view = object.__new__(Below)
        view._tree, view._sizes, view._ordered = self._tree, self._sizes, self._ordered
        view._prefix = f"{self._prefix}{folder}/" if folder else self._prefix
        return view

    def files(self) -> Mapping[str, int]:
        skip = len(self._prefix)
        return {path[skip:]: self._sizes[path] for path in self._paths()}

    def read(self, path: str, limit: int) -> bytes:
        return self._tree.read(self._prefix + path, limit)

    def _paths(self) -> list[str]:
        if not self._prefix:
            return self._ordered
        # "0" follows "/", so every path below `folder/` sorts before `folder0`.
        start = bisect_left(self._ordered, self._prefix)
        return self._ordered[start : bisect_left(self._ordered, self._prefix[:-1] + "0", start)]


def wrapping_folder(paths: Iterable[str]) -> str:
    """The one folder that wraps everything, or "".

    `__MACOSX` and names that begin with a dot say nothing about it.
    """
    folders = set()
    for path in paths:
        top, slash, _ = path.partition("/")
        if top.startswith(".") or top == MAC_EXTRAS:
            continue
        if not slash:
            return ""
        folders.add(top)
    return folders.pop() if len(folders) == 1 else ""


def parent(path: str) -> str:
    """The folder that a file or folder lies in, "" for the top."""
    return path.rpartition("/")[0]


def join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder and path else folder or path
