"""PURE: the protocol of a placement policy, the records it decides on, and the board on which a round is played."""

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Protocol

_LEAST_AHEAD = 2
_AHEAD_A_CORE = 2


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

    @property
    def ahead(self) -> int:
        """How many may wait there: few, so that none waits for a busy node while another has time for it."""
        return min(self.slots, max(_LEAST_AHEAD, _AHEAD_A_CORE * math.ceil(self.cores)))

    @property
    def room(self) -> int:
        """How many more it should be given now. How many of these run at once is its own decision, up to its slots."""
        return min(self.slots + self.ahead - self.assigned, self.ahead - self.queued)

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
        self.placements: list[Placement] = []

    @property
    def is_full(self) -> bool:
        return not self._open

    def choices(self, candidate: Candidate) -> list[NodeLoad]:
        """Nodes with room, by address; those to avoid only where there is no other node at all.

        Where a module must run alone and no node is empty, the least busy one gets nothing more, so that it will be.
        """
        nodes = [node for node in self._loads.values() if node.address not in candidate.avoid]
        nodes = nodes or list(self._loads.values())
        if not candidate.alone:
            return [node for node in _worthwhile(candidate, nodes) if node.address in self._open]
        empty = [node for node in nodes if node.assigned == 0 and node.address in self._open]
        if nodes and not empty and not self._emptying:
            self._emptying = True
            self._close(min(nodes, key=lambda node: (node.assigned, node.address)))
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
        )
        if candidate.alone:
            self._close(node)
        elif node.room <= 0:
            self._open.discard(address)
        self.placements.append(Placement(candidate, address))

    def _close(self, node: NodeLoad) -> None:
        """Nobody is to wait for it."""
        self._open.discard(node.address)
        self._loads[node.address] = replace(node, work=math.inf)


def _worthwhile(candidate: Candidate, nodes: Sequence[NodeLoad]) -> list[NodeLoad]:
    """Nodes, with room or not, but for those that lack more than it costs to wait for the ones that lack less.

    Waiting costs the time in which these would have done all that they have, and all that waits for the same.
    """
    lacking = {node.address: candidate.lacking(node) for node in nodes}
    levels = sorted(set(lacking.values()))
    if len(levels) == 1:
        return list(nodes)
    limit = math.inf
    for level in levels[1:]:
        better = [node for node in nodes if lacking[node.address] < level]
        work = candidate.backlog + sum(node.work for node in better)
        waiting = max(work / sum(node.cores for node in better), min(node.waited for node in better))
        if waiting < level:
            limit = level
            break
    return [node for node in nodes if lacking[node.address] < limit]
