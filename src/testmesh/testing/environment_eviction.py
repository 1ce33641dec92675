"""PURE. Which environments make room for others."""

from collections.abc import Iterable
from dataclasses import dataclass

_PACKAGES_SHARE = 4  # the packages' cache gets one in so many bytes of what environments and it may take together


@dataclass(frozen=True, slots=True)
class Stored:
    """An environment on disk: `size` in bytes, `last_used` in Unix seconds, `is_held` while something uses it."""

    key: str
    size: int
    last_used: float
    is_held: bool = False


def shares(size: int) -> tuple[int, int]:
    """What of the bytes that both may take together is for the environments, and what for the cache of packages."""
    packages = size // _PACKAGES_SHARE
    return size - packages, packages


def to_evict(stored: Iterable[Stored], limit: int, missing: int = 0) -> tuple[str, ...]:
    """Least recently used first, until what stays is within `limit` bytes and `missing` bytes are freed.

    What is held stays, so that neither may be reached.
    """
    stored = tuple(stored)
    surplus = max(sum(each.size for each in stored) - limit, missing)
    chosen = []
    for each in sorted(stored, key=lambda each: (each.last_used, each.key)):
        if surplus <= 0:
            break
        if not each.is_held:
            chosen.append(each.key)
            surplus -= each.size
    return tuple(chosen)
