"""PURE: which archives must be copied again, by whom and where to. The nodes agree without talking.

Records are everywhere, archives on MESH_REPLICAS nodes only: those named in `holders`. That list only grows, so it may
name nodes that are gone, or that came back with an empty disk. What counts is what the nodes say they have.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from testmesh.model import Evaluation
from testmesh.node.membership.ownership import rendezvous


@dataclass(frozen=True, slots=True)
class Bundle:
    """The archives that one evaluation needs, all of them in one place."""

    evaluation: str
    archives: frozenset[str]
    holders: frozenset[str]  # those that promised to keep them
    finished: bool
    submitted_at: float


Said = Mapping[str, Mapping[str, bool]]  # by node and archive: whether it is there; what was not asked is not in it


@dataclass(frozen=True, slots=True)
class Keep:
    """This node is to hold it: fetch what is missing here from `sources`."""

    bundle: Bundle
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """This node has it; `targets` are to take a copy, the next ones where one fails, until `wanted` have."""

    bundle: Bundle
    targets: tuple[str, ...]
    wanted: int


Step = Keep | Copy


def bundle_of(evaluation: Evaluation) -> Bundle | None:
    """None where there is nothing to be held: not fetched yet, or pruned."""
    if not evaluation.archives:
        return None
    return Bundle(
        evaluation.id,
        frozenset(evaluation.archives),
        frozenset(evaluation.holders),
        evaluation.finished_at is not None,
        evaluation.submitted_at,
    )


def with_holders(evaluation: Evaluation, *more: str) -> Evaluation:
    return replace(evaluation, holders=tuple(sorted({*evaluation.holders, *more})))


def questions(bundles: Iterable[Bundle], live: Collection[str], said: Said) -> dict[str, list[str]]:
    """Which node to ask for which archives: holders for what they promised, everybody for what no holder has."""
    asked: dict[str, dict[str, None]] = {}
    for bundle in bundles:
        holders = bundle.holders & set(live)
        lost = not any(_holds(node, bundle, said) for node in holders)
        for node in live if lost else holders:
            unknown = [digest for digest in sorted(bundle.archives) if digest not in said.get(node, {})]
            if unknown:
                asked.setdefault(node, {}).update(dict.fromkeys(unknown))
    return {node: list(digests) for node, digests in asked.items()}


def plan(bundles: Iterable[Bundle], me: str, live: Collection[str], said: Said, replicas: int) -> list[Step]:
    """What this node has to do, the most urgent first. `live` has this node in it."""
    return [step for bundle in sorted(bundles, key=_urgency) if (step := _step(bundle, me, live, said, replicas))]


def hand_over(bundles: Iterable[Bundle], me: str, live: Collection[str], said: Said, replicas: int) -> list[Copy]:
    """What must be copied before this node leaves the others, `live`: with unfinished evaluations so that there are
    `replicas` without it, with finished ones only where no other has it. It may be back in a moment.
    """
    steps = []
    others = [node for node in live if node != me]
    for bundle in sorted(bundles, key=_urgency):
        left = [node for node in others if node in bundle.holders and _holds(node, bundle, said)]
        wanted = (1 if bundle.finished else min(replicas, len(others))) - len(left)
        if wanted > 0 and others and _holds(me, bundle, said):
            steps.append(Copy(bundle, tuple(_targets(bundle, set(others) - set(left), said)), wanted))
    return sorted(steps, key=lambda step: (step.bundle.finished, step.wanted < replicas))


def missing(bundles: Iterable[Bundle], live: Collection[str], said: Said, replicas: int) -> tuple[int, int]:
    """How many have too few live holders, as far as is known, and how many of these have none."""
    counts = [sum(_holds(node, bundle, said) for node in bundle.holders & set(live)) for bundle in bundles]
    return sum(count < min(replicas, len(live)) for count in counts), sum(count == 0 for count in counts)


def _step(bundle: Bundle, me: str, live: Collection[str], said: Said, replicas: int) -> Step | None:
    having = [node for node in live if _holds(node, bundle, said)]
    holding = [node for node in having if node in bundle.holders]
    parts = [node for node in live if any(_has(node, digest, bundle, said) for digest in bundle.archives)]
    if not all(any(_has(node, digest, bundle, said) for node in parts) for digest in bundle.archives):
        return None  # it waits for somebody who is away
    sources = tuple(node for node in rendezvous(bundle.evaluation, having or parts) if node != me)
    if me in bundle.holders and me not in having:
        return Keep(bundle, sources)  # a promise is kept
    responsible = rendezvous(bundle.evaluation, holding or having or parts)[0]
    if responsible != me:
        return None
    if me not in holding:
        return Keep(bundle, sources)  # no holder is left: one that happens to have it becomes one, and copies then
    wanted = min(replicas, len(live)) - len(holding)
    return Copy(bundle, tuple(_targets(bundle, set(live) - set(holding), said)), wanted) if wanted > 0 else None


def _targets(bundle: Bundle, nodes: Collection[str], said: Said) -> list[str]:
    """First who has it anyway, then who promised once, then by the order that all agree on."""
    order = rendezvous(bundle.evaluation, nodes)
    return sorted(order, key=lambda node: (not _holds(node, bundle, said), node not in bundle.holders))


def _holds(node: str, bundle: Bundle, said: Said) -> bool:
    return all(_has(node, digest, bundle, said) for digest in bundle.archives)


def _has(node: str, digest: str, bundle: Bundle, said: Said) -> bool:
    """Who was not asked, or does not answer, is taken at its word."""
    return said.get(node, {}).get(digest, node in bundle.holders)


def _urgency(bundle: Bundle) -> tuple[bool, float, str]:
    return (bundle.finished, -bundle.submitted_at, bundle.evaluation)
