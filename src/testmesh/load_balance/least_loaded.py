"""PURE: the node with the smallest share of its slots in use goes first."""

from collections.abc import Iterable, Sequence

from testmesh.load_balance.policy import Board, Candidate, NodeLoad, Placement


class LeastLoaded:
    """Join the shortest queue, measured relative to slots; ties go to the larger node, then by address."""

    def place(self, candidates: Iterable[Candidate], nodes: Sequence[NodeLoad]) -> list[Placement]:
        board = Board(nodes)
        for candidate in candidates:
            if board.is_full:
                break
            choices = board.choices(candidate)
            if choices:
                best = min(choices, key=lambda node: (node.assigned / node.slots, -node.slots, node.address))
                board.put(candidate, best.address)
        return board.placements
