"""PURE: each node in turn, whatever its load, as long as it has room."""

from collections.abc import Iterable, Sequence

from testmesh.load_balance.policy import Board, Candidate, NodeLoad, Placement


class RoundRobin:
    """Remembers the address it gave to last, so that nodes may come and go between calls."""

    def __init__(self) -> None:
        self._last = ""

    def place(self, candidates: Iterable[Candidate], nodes: Sequence[NodeLoad]) -> list[Placement]:
        board = Board(nodes)
        for candidate in candidates:
            if board.is_full:
                break
            choices = [node.address for node in board.choices(candidate)]
            if choices:
                self._last = next((address for address in choices if address > self._last), choices[0])
                board.put(candidate, self._last)
        return board.placements
