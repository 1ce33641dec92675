"""PURE: where control groups are, and which version of them limits what.

Version 1 has a hierarchy a controller, version 2 one for all, and a machine can have both.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CONTROLLERS = {"memory": "memory", "pids": "processes"}  # with the limit that each is for


class Hierarchy:
    """Where a version of control groups is, and what it limits. `folder`: the node's own group in it."""

    __slots__ = ("folder", "is_read_only", "limits", "version")

    def __init__(self, version: int, folder: str, limits: Sequence[str], is_read_only: bool) -> None:
        self.version = version
        self.folder = folder
        self.limits = tuple(limits)
        self.is_read_only = is_read_only


def find(mountinfo: str, own: str) -> list[Hierarchy]:
    """The hierarchies that can limit something. `mountinfo`, `own`: the texts of /proc/self/mountinfo and /cgroup.

    A limit is in one hierarchy only: in version 1 where it has one, since its controller is not in version 2 then.
    """
    own_paths = {}  # of each controller of version 1, and of version 2 under ""
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        own_paths.update(dict.fromkeys(names.split(","), path))
    found: list[Hierarchy] = []
    left = dict(CONTROLLERS)
    for version, controllers, root, point, is_read_only in sorted(_mounts(mountinfo), key=lambda m: (m[0], m[4])):
        limits = [left[name] for name in (controllers if version == 1 else tuple(left)) if name in left]
        name = controllers[0] if version == 1 and controllers else ""
        folder = _folder(own_paths.get(name, ""), root, point)
        if limits and folder:
            found.append(Hierarchy(version, folder, limits, is_read_only))
            left = {name: limit for name, limit in left.items() if limit not in limits}
    return found


def _mounts(mountinfo: str) -> list[tuple[int, tuple[str, ...], str, str, bool]]:
    """(version, controllers of version 1, the group that is mounted, where, whether read-only)"""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), [*after.split(), "", "", ""][:3]
        if kind not in ("cgroup", "cgroup2") or len(fields) < 6:
            continue
        controllers = tuple(name for name in options.split(",") if name in CONTROLLERS) if kind == "cgroup" else ()
        is_read_only = "ro" in fields[5].split(",") or "ro" in options.split(",")
        found.append((1 if kind == "cgroup" else 2, controllers, _plain(fields[3]), _plain(fields[4]), is_read_only))
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
