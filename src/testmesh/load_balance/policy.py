"""PURE: the protocol of a placement policy, and the records it decides on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """One live node as the placing node sees it. All are counts of modules."""

    address: str
    slots: int  # how many it runs at once; 0: it takes none
    assigned: int  # running or waiting there, whoever placed them

    @property
    def room(self) -> int:
        """How many more it should be given now: its slots and a few ahead, so that it never waits for its next."""
        return self.slots + max(1, self.slots // 2) - self.assigned if self.slots else 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A module that waits to be placed. `avoid`: nodes that it was lost with; `alone`: on a node with nothing else."""

    evaluation: str
    project: str
    module: str
    avoid: frozenset[str] = frozenset()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    candidate: Candidate
    address: str


class Policy(Protocol):
    def place(self, candidates: Iterable[Candidate], nodes: Sequence[NodeLoad]) -> list[Placement]:
        """Give candidates, in their order, to nodes that have room. Who gets no place waits for the next call."""
        ...


class Board:
    """The loads while one round of placing goes on: what every policy needs besides its choice."""

    def __init__(self, nodes: Sequence[NodeLoad]) -> None:
        self._loads = {node.address: node for node in sorted(nodes, key=lambda node: node.address)}
        self._emptying = False
        self.placements: list[Placement] = []

    @property
    def is_full(self) -> bool:
        return all(node.room <= 0 for node in self._loads.values())

    def choices(self, candidate: Candidate) -> list[NodeLoad]:
        """Nodes with room, by address; those to avoid only where there is no other node at all.

        Where a module must run alone and no node is empty, the least busy one gets nothing more, so that it will be.
        """
        nodes = [node for node in self._loads.values() if node.address not in candidate.avoid]
        nodes = nodes or list(self._loads.values())
        if not candidate.alone:
            return [node for node in nodes if node.room > 0]
        empty = [node for node in nodes if node.assigned == 0]
        if nodes and not empty and not self._emptying:
            self._emptying = True
            self._fill(min(nodes, key=lambda node: (node.assigned, node.address)))
        return empty

    def put(self, candidate: Candidate, address: str) -> None:
        node = self._loads[address]
        if candidate.alone:
            self._fill(node)
        else:
            self._loads[address] = replace(node, assigned=node.assigned + 1)
        self.placements.append(Placement(candidate, address))

    def _fill(self, node: NodeLoad) -> None:
        self._loads[node.address] = replace(node, assigned=node.assigned + max(0, node.room))
