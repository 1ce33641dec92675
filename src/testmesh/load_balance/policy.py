"""PURE: the protocol of a placement policy, the records it decides on, and the board on which a round is played."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Protocol

_LEAST_AHEAD = 2
_AHEAD_A_CORE = 2
_PREPARED_WITHIN_S = 1.0  # what waits longer where processors are idle waits for its preparation
_MOST_PREPARING = 4  # times what may wait, where it waits for preparations
_PATIENCE_ALONE_S = 5.0  # how long an empty node is waited for


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """One live node as the placing node sees it. Modules are counted; times are seconds."""

    address: str
    slots: int  # the most that it runs at once; 0: it takes none
    assigned: int  # running or waiting there, whoever placed them
    cores: float = 1.0  # processors that it may use; more than 0
    queued: int = 0  # placed by the placing node, and not begun yet as far as it knows
    work: float = 0.0  # processor seconds that what is assigned will most likely take
    waited: float = 0.0  # how long the first of those queued has been waiting
    has: Set[str] = frozenset()  # environments and code that are there
    queued_for: Mapping[str, int] = field(default_factory=dict)  # of those queued, by what they need first
    quiet: float = math.inf  # how long nothing has begun there of what the placing node placed

    @property
    def ahead(self) -> int:
        """How many may wait there: few, so that none waits for a busy node while another has time for it."""
        return min(self.slots, max(_LEAST_AHEAD, _AHEAD_A_CORE * math.ceil(self.cores)))

    @property
    def room(self) -> int:
        """How many more it should be given now. How many of these run at once is its own decision, up to its slots."""
        may_wait = self.ahead * _MOST_PREPARING if self.is_preparing else self.ahead
        return min(self.slots + self.ahead - self.assigned, may_wait - self.queued)

    def room_for(self, need: str) -> int:
        """How many more of those that need this first: a preparation that takes long keeps only its own waiting."""
        if not self.is_preparing:
            return self.room
        return min(self.room, self.ahead - self.queued_for.get(need, 0))

    @property
    def delay(self) -> float:
        """How long it has work for; no less than what waits there has been waiting."""
        return max(self.work / self.cores, self.waited)

    @property
    def is_free(self) -> bool:
        """Whether a processor has nothing to do."""
        return self.slots > self.assigned < self.cores

    @property
    def is_busy(self) -> bool:
        """Whether what is queued there waits for processors, not for its preparation."""
        return self.assigned - self.queued >= self.cores

    @property
    def is_preparing(self) -> bool:
        """Whether something waits there for its preparation while processors are idle."""
        return self.waited > _PREPARED_WITHIN_S and not self.is_busy


def room_for(need: str, nodes: Iterable[NodeLoad]) -> int:
    """How many that need this first all nodes together should be given now."""
    return sum(max(0, node.room_for(need)) for node in nodes)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A module that waits to be placed. `avoid`: nodes that it was lost with; `alone`: on a node with nothing else."""

    evaluation: str
    project: str
    module: str
    avoid: frozenset[str] = frozenset()
    alone: bool = False
    work: float = 1.0  # processor seconds that it will most likely take
    needs: tuple[tuple[str, float], ...] = ()  # what a node must have, and the seconds to bring it to one that has not
    backlog: float = 0.0  # processor seconds of all that waits and needs the same environment
    waited: float = 0.0  # where it runs alone: seconds since its turn came

    @property
    def need(self) -> str:
        """What it needs first, and shares with most others: its environment, where that is known."""
        return self.needs[0][0] if self.needs else ""

    def lacking(self, node: NodeLoad) -> float:
        """Seconds until a node would have what it needs."""
        return sum(seconds for what, seconds in self.needs if what not in node.has)


@dataclass(frozen=True, slots=True)
class Placement:
    candidate: Candidate
    address: str


class Policy(Protocol):
    def place(self, candidates: Iterable[Candidate], nodes: Sequence[NodeLoad]) -> list[Placement]:
        """Give candidates, in their order, to nodes that have room. Who gets no place waits for the next call.

        No more candidates are taken from the iterable than are needed to fill the nodes.
        """
        ...


class Board:
    """The loads while one round of placing goes on: what every policy needs besides its choice."""

    def __init__(self, nodes: Sequence[NodeLoad]) -> None:
        self._loads = {node.address: node for node in sorted(nodes, key=lambda node: node.address)}
        self._open = {node.address for node in nodes if node.room > 0}
        self._emptying = False
        self._full_for: set[str] = set()  # no node takes more that needs these first
        self.placements: list[Placement] = []

    @property
    def is_full(self) -> bool:
        return not self._open

    def choices(self, candidate: Candidate) -> list[NodeLoad]:
        """Nodes with room, by address; those to avoid only where there is no other node at all.

        Where a module must run alone and no node is empty, the least busy one gets nothing more, so that it will be.
        Others may keep it busy for ever: after a while it is given the module all the same, and sees to it itself.
        """
        if not candidate.alone and self._is_full_for(candidate.need):
            return []
        nodes = [node for node in self._loads.values() if node.address not in candidate.avoid]
        nodes = nodes or list(self._loads.values())
        if not candidate.alone:
            return [node for node in _worthwhile(candidate, nodes) if self._takes(node, candidate)]
        open_ = [node for node in nodes if node.address in self._open]
        empty = [node for node in open_ if node.assigned == 0]
        if open_ and not empty and candidate.waited > _PATIENCE_ALONE_S:
            return [min(open_, key=_how_busy)]
        if nodes and not empty and not self._emptying:
            self._emptying = True
            self._close(min(nodes, key=_how_busy))
        return empty

    def put(self, candidate: Candidate, address: str) -> None:
        node = self._loads[address]
        brings = {what for what, _ in candidate.needs} - node.has
        node = self._loads[address] = replace(
            node,
            assigned=node.assigned + 1,
            queued=node.queued + 1,
            work=node.work + candidate.work,
            has=node.has | brings if brings else node.has,
            queued_for={**node.queued_for, candidate.need: node.queued_for.get(candidate.need, 0) + 1},
        )
        if candidate.alone:
            self._close(node)
        elif node.room <= 0:
            self._open.discard(address)
        self.placements.append(Placement(candidate, address))

    def _is_full_for(self, need: str) -> bool:
        """Known once for all that wait for it: they may be many."""
        if need in self._full_for:
            return True
        if any(self._loads[address].room_for(need) > 0 for address in self._open):
            return False
        self._full_for.add(need)
        return True

    def _takes(self, node: NodeLoad, candidate: Candidate) -> bool:
        return node.address in self._open and node.room_for(candidate.need) > 0

    def _close(self, node: NodeLoad) -> None:
        """Nobody is to wait for it."""
        self._open.discard(node.address)
        self._loads[node.address] = replace(node, work=math.inf)


def _how_busy(node: NodeLoad) -> tuple[int, str]:
    return (node.assigned, node.address)


def _worthwhile(candidate: Candidate, nodes: Sequence[NodeLoad]) -> list[NodeLoad]:
    """Nodes, with room or not, but for those that lack more than it costs to wait for the ones that lack less.

    Waiting costs the time in which these would have done all that they have, and all that waits for the same. Nodes
    that others keep full are not waited for.
    """
    lacking = {node.address: candidate.lacking(node) for node in nodes}
    levels = sorted(set(lacking.values()))
    if len(levels) == 1:
        return list(nodes)
    limit = math.inf
    for level in levels[1:]:
        better = [
            node
            for node in nodes
            if lacking[node.address] < level and (node.queued or node.room_for(candidate.need) > 0)
        ]
        if not better:
            continue
        work = candidate.backlog + sum(node.work for node in better)
        waiting = max(work / sum(node.cores for node in better), min(node.waited for node in better))
        if waiting < level:
            limit = level
            break
    return [node for node in nodes if lacking[node.address] < limit]
