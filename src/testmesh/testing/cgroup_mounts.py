"""PURE: where control groups are, and which version of them limits what.

Version 1 has a hierarchy a controller, version 2 one for all, and a machine can have both.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONTROLLERS = {"memory": "memory", "pids": "processes"}  # with the limit that each is for


class Hierarchy:
    """Where a version of control groups is, and what it limits. `folder`: the node's own group in it."""

    __slots__ = ("folder", "is_read_only", "limits", "version")

    def __init__(self, version: int, folder: str, limits: Sequence[str], is_read_only: bool) -> None:
        self.version = version
        self.folder = folder
        self.limits = tuple(limits)
        self.is_read_only = is_read_only


def find(mountinfo: str, own: str, controllers: Mapping[str, str] = CONTROLLERS) -> list[Hierarchy]:
    """The hierarchies that can limit something. `mountinfo`, `own`: the texts of /proc/self/mountinfo and /cgroup.

    A limit is in one hierarchy only: in version 1 where it has one, since its controller is not in version 2 then.
    """
    own_paths = {}  # of each controller of version 1, and of version 2 under ""
    for line in own.splitlines():
        _, of_line, path = line.split(":", 2)
        own_paths.update(dict.fromkeys(of_line.split(","), path))
    found: list[Hierarchy] = []
    left = dict(controllers)
    mounts = _mounts(mountinfo, controllers)
    for version, names, root, point, is_read_only in sorted(mounts, key=lambda m: (m[0], m[4])):
        limits = [left[name] for name in (names if version == 1 else tuple(left)) if name in left]
        name = names[0] if version == 1 and names else ""
        folder = _folder(own_paths.get(name, ""), root, point)
        if limits and folder:
            found.append(Hierarchy(version, folder, limits, is_read_only))
            left = {name: limit for name, limit in left.items() if limit not in limits}
    return found


def _mounts(mountinfo: str, wanted: Mapping[str, str]) -> list[tuple[int, tuple[str, ...], str, str, bool]]:
    """(version, controllers of version 1, the group that is mounted, where, whether read-only)"""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), [*after.split(), "", "", ""][:3]
        if kind not in ("cgroup", "cgroup2") or len(fields) < 6:
            continue
        names = tuple(name for name in options.split(",") if name in wanted) if kind == "cgroup" else ()
        is_read_only = "ro" in fields[5].split(",") or "ro" in options.split(",")
        found.append((1 if kind == "cgroup" else 2, names, _plain(fields[3]), _plain(fields[4]), is_read_only))
    return found


def _plain(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def _folder(own: str, root: str, point: str) -> str:
    """The folder of the group `own` where the group `root` is mounted on `point`; "" where it is not below it."""
    root = root.rstrip("/")
    if ".." in own.split("/") or not (own == root or own.startswith(f"{root}/")):
        return ""
    return (point + own[len(root) :]).rstrip("/")
