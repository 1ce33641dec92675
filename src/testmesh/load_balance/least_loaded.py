"""PURE: the node that will begin it first goes first."""

from collections.abc import Iterable, Sequence

from testmesh.load_balance.policy import Board, Candidate, NodeLoad, Placement


class LeastLoaded:
    """Least expected delay: the work a node has for each of its processors, and what must be brought there first.

    Ties go to the node with the fewest modules a processor, then to the larger one, then by address.
    """

    def place(self, candidates: Iterable[Candidate], nodes: Sequence[NodeLoad]) -> list[Placement]:
        board = Board(nodes)
        for candidate in candidates:
            if board.is_full:
                break
            choices = board.choices(candidate)
            if choices:
                board.put(candidate, min(choices, key=lambda node: _order(candidate, node)).address)
        return board.placements


def _order(candidate: Candidate, node: NodeLoad) -> tuple[float, float, float, str]:
    delay = node.delay + candidate.lacking(node)
    return (delay, node.assigned / node.cores, -node.cores, node.address)
