"""PURE: who goes on with an evaluation whose owner is gone. The nodes agree without talking."""

import hashlib
from collections.abc import Iterable

from testmesh.model import Evaluation


def rendezvous(key: str, nodes: Iterable[str]) -> list[str]:
    """Nodes by highest random weight for a key (Thaler, Ravishankar 1996): the same order wherever it is computed."""
    return sorted(nodes, key=lambda node: hashlib.sha256(f"{key} {node}".encode()).digest(), reverse=True)


def successor(evaluation: Evaluation, live: Iterable[str]) -> str | None:
    """The live holder that drives it next. None: nobody can go on until a holder of its archives is back.

    Where no archive is stored yet (repositories that were not fetched) and no holder lives, any node will do.
    """
    present = set(live)
    holders = present & set(evaluation.holders)
    if not holders and not evaluation.archives:
        holders = present
    order = rendezvous(evaluation.id, holders)
    return order[0] if order else None


def waits_for(evaluation: Evaluation, live: Iterable[str]) -> tuple[str, ...]:
    """The holders without one of which it cannot go on. None: it can, or has ended."""
    if evaluation.finished_at is not None or not evaluation.archives:
        return ()
    return () if set(live) & set(evaluation.holders) else evaluation.holders
