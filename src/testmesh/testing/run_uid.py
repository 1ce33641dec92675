"""PURE: which user a run of a node that is root gets, so that nothing else on the machine is of that user.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

_HIGH, _HIGH_COUNT = 0x70000000, 1 << 28  # above what distributions and container engines hand out
_LOW, _LOW_COUNT = 60000, 5000  # containers in a user namespace have 65536 ids


def pick(uid_map: str, gid_map: str, random_number: int, taken: Container[int] = ()) -> int | None:
    """A number that is mapped here both as a user and as a group; None where no range of them is.

    `uid_map`, `gid_map`: the texts of /proc/self/uid_map and gid_map. `random_number`: of 28 bits or more.
    `taken`: those of the runs under way; the low range is so small that two would meet.
    """
    for first, count in ((_HIGH, _HIGH_COUNT), (_LOW, _LOW_COUNT)):
        if not (_covers(uid_map, first, count) and _covers(gid_map, first, count)):
            continue
        for step in range(count):
            number = first + (random_number + step) % count
            if number not in taken:
                return number
    return None


def _covers(id_map: str, first: int, count: int) -> bool:
    """Whether all of the range is in one line of the map (inside, outside, count), as the kernel shows it."""
    for line in id_map.splitlines():
        inside, _, length = map(int, line.split())
        if inside <= first and first + count <= inside + length:
            return True
    return False
