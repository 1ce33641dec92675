"""Which box this machine gives a run, found by really making one at the start of the node.

full      a root of its own, where only what a run needs is there, and namespaces of its own for all else
portable  the machine's files, behind Landlock; processes and network of its own where the kernel gives them
none      a process group and limits
"""

import os
import random
import sys
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from testmesh.testing import landlock, namespaces, run_uid

Sandbox = Literal["full", "portable", "none"]

_OWN = namespaces.NEWPID | namespaces.NEWNET | namespaces.NEWIPC | namespaces.NEWUTS
FULL = namespaces.NEWUSER | namespaces.NEWNS | namespaces.NEWCGROUP | _OWN


@dataclass(frozen=True, slots=True)
class IsolationLevel:
    """`loopback`: whether every module has one of its own. `cause`: why there is no better, or ""."""

    sandbox: Sandbox
    namespaces: int = 0  # flags of clone(2)
    fresh_proc: bool = False  # a /proc that has nothing but the run's own processes
    landlock: int = 0  # the version of its interface, 0 where it is not used
    own_uid: bool = False  # a user of its own for every run: the node is root
    cause: str = ""

    @property
    def loopback(self) -> Literal["private", "shared"]:
        return "private" if self.namespaces & namespaces.NEWNET else "shared"


# Tries one level: "" where it works, else why not.
TryLevel = Callable[[IsolationLevel], str]


def probe(try_level: TryLevel, wanted: str = "auto") -> IsolationLevel:
    """The best level that works here, not above `wanted`; its `cause` says why there is no better one.

    Takes some 50 ms where the first works.
    """
    cause = ""
    for level in levels(is_root=os.geteuid() == 0, landlock_abi=landlock.abi() if sys.platform == "linux" else 0):
        if wanted not in ("auto", level.sandbox) or (wanted == "none" and level.landlock):
            continue
        refused = try_level(level)
        if not refused:
            return replace(level, cause=cause or level.cause)
        cause = cause or refused
    return IsolationLevel("none", cause=cause)


def levels(is_root: bool, landlock_abi: int) -> Iterator[IsolationLevel]:
    """PURE: what to try, best first."""
    full = IsolationLevel("full", FULL, fresh_proc=True, own_uid=is_root)
    yield full
    yield replace(full, fresh_proc=False)
    portable = IsolationLevel("portable", landlock=landlock_abi, own_uid=is_root)
    if landlock_abi:
        yield replace(portable, namespaces=namespaces.NEWUSER | _OWN)
        if is_root:
            yield replace(portable, namespaces=_OWN)
        yield portable
    none = IsolationLevel("none")
    own = replace(none, namespaces=(0 if is_root else namespaces.NEWUSER) | _OWN)
    if landlock_abi and is_root:  # no promise, since root may change modes and owners; but much better than nothing
        yield replace(own, landlock=landlock_abi)
        yield replace(none, landlock=landlock_abi)
    yield own
    yield none


def new_uid(taken: Container[int]) -> int | None:
    """A user for one run of a node that is root, none of `taken`. None where this container has too few ids."""
    maps = [Path(f"/proc/self/{kind}_map").read_text(encoding="ascii") for kind in ("uid", "gid")]
    return run_uid.pick(maps[0], maps[1], random.getrandbits(28), taken)
