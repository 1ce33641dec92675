"""Each node in turn, across calls too."""

from testmesh.load_balance.policy import Candidate, NodeLoad
from testmesh.load_balance.round_robin import RoundRobin


def place(policy: RoundRobin, count: int, *nodes: NodeLoad) -> list[str]:
    return [p.address for p in policy.place([Candidate("e", "p", str(i)) for i in range(count)], nodes)]


A, B, C = (NodeLoad(f"{name}:1", 8, 0, cores=4.0) for name in "abc")


def test_the_nodes_take_turns_whatever_their_load() -> None:
    busy = NodeLoad("b:1", 8, 7, cores=4.0, work=100.0)
    assert place(RoundRobin(), 5, A, busy, C) == ["a:1", "b:1", "c:1", "a:1", "b:1"]


def test_the_next_call_goes_on_where_the_last_one_ended() -> None:
    policy = RoundRobin()
    assert [place(policy, 1, A, B, C) for _ in range(4)] == [["a:1"], ["b:1"], ["c:1"], ["a:1"]]


def test_nodes_may_come_and_go_between_calls() -> None:
    policy = RoundRobin()
    assert place(policy, 2, A, B, C) == ["a:1", "b:1"]
    assert place(policy, 2, A, C) == ["c:1", "a:1"]
    assert place(policy, 2, A, B, C) == ["b:1", "c:1"]


def test_a_full_node_is_passed_over() -> None:
    assert place(RoundRobin(), 4, A, NodeLoad("b:1", 2, 4), C) == ["a:1", "c:1", "a:1", "c:1"]
