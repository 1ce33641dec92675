"""The node with the smallest share of its slots in use goes first."""

from collections import Counter

from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.load_balance.policy import Candidate, NodeLoad


def place(count: int, *nodes: NodeLoad) -> list[str]:
    return [p.address for p in LeastLoaded().place([Candidate("e", "p", str(i)) for i in range(count)], nodes)]


def test_equal_nodes_get_equal_shares_in_turn() -> None:
    assert place(6, NodeLoad("c:1", 4, 0), NodeLoad("a:1", 4, 0), NodeLoad("b:1", 4, 0)) == ["a:1", "b:1", "c:1"] * 2


def test_the_load_is_relative_to_the_slots() -> None:
    assert Counter(place(6, NodeLoad("small:1", 2, 0), NodeLoad("large:1", 4, 0))) == {"small:1": 2, "large:1": 4}


def test_an_idle_node_catches_up_first() -> None:
    assert place(3, NodeLoad("busy:1", 4, 3), NodeLoad("idle:1", 4, 0)) == ["idle:1"] * 3


def test_of_two_idle_nodes_the_larger_goes_first() -> None:
    assert place(1, NodeLoad("a:1", 2, 0), NodeLoad("b:1", 8, 0)) == ["b:1"]
