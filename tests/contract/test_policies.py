"""What every placement policy keeps to, and what is each one's own."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.load_balance.policy import Candidate, NodeLoad, Placement, Policy
from testmesh.load_balance.round_robin import RoundRobin

POLICIES: list[Callable[[], Policy]] = [LeastLoaded, RoundRobin]

addresses = st.sampled_from([f"n{i}:1" for i in range(6)])
node_loads = st.lists(
    st.builds(
        NodeLoad,
        addresses,
        st.integers(1, 8),
        st.integers(0, 14),
        st.sampled_from([0.5, 1.0, 4.0]),
        st.integers(0, 5),
        st.sampled_from([0.0, 1.0, 9.0]),
        st.sampled_from([0.0, 1.0, 9.0]),
        st.frozensets(st.sampled_from(["environment", "code"])),
        st.sampled_from([{}, {"": 1}, {"environment": 2, "": 1}]),
    ),
    max_size=5,
    unique_by=lambda n: n.address,
)
candidates = st.lists(
    st.builds(
        Candidate,
        st.just("e"),
        st.just("p"),
        st.integers(0, 10**6).map(str),
        st.frozensets(addresses, max_size=3),
        st.booleans(),
        st.sampled_from([0.1, 2.0]),
        st.sampled_from([(), (("environment", 2.0), ("code", 0.2))]),
        st.sampled_from([0.0, 1.0, 9.0]),
        st.sampled_from([0.0, 9.0]),
    ),
    max_size=20,
    unique_by=lambda c: c.module,
)


def plain(count: int) -> list[Candidate]:
    return [Candidate("e", "p", str(number)) for number in range(count)]


def given_to(placements: list[Placement]) -> Counter[str]:
    return Counter(placement.address for placement in placements)


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> Policy:
    found: Policy = request.param()
    return found


@pytest.mark.parametrize("make", POLICIES)
@settings(deadline=None)
@given(candidates, node_loads)
def test_the_rules_hold_for_any_candidates_and_loads(
    make: Callable[[], Policy], waiting: list[Candidate], nodes: list[NodeLoad]
) -> None:
    placements = make().place(waiting, nodes)

    assert len({p.candidate.module for p in placements}) == len(placements), "nothing is placed twice"
    assert {p.candidate for p in placements} <= set(waiting)
    by_address = {node.address: node for node in nodes}
    for address, count in given_to(placements).items():
        assert count <= by_address[address].room, "never over a node's room"
        needs = Counter(p.candidate.need for p in placements if p.address == address and not p.candidate.alone)
        assert all(found <= by_address[address].room_for(need) for need, found in needs.items()), "for each need"
    for placement in placements:
        avoid, others = placement.candidate.avoid, [a for a in by_address if a not in placement.candidate.avoid]
        assert placement.address not in avoid or not others, "never where it is avoided, room elsewhere or not"
        if placement.candidate.alone and placement.candidate.waited:
            last = [p for p in placements if p.address == placement.address][-1]
            assert last == placement, "what has waited for long may be beside others, but nothing follows it"
        elif placement.candidate.alone:
            assert by_address[placement.address].assigned == 0
            assert given_to(placements)[placement.address] == 1, "alone is with nothing else"


@pytest.mark.parametrize("make", POLICIES)
@settings(deadline=None)
@given(st.integers(0, 40), node_loads)
def test_all_are_placed_while_there_is_room_in_their_order(
    make: Callable[[], Policy], count: int, nodes: list[NodeLoad]
) -> None:
    room = sum(max(0, node.room_for("")) for node in nodes)
    placements = make().place(plain(count), nodes)
    assert [p.candidate for p in placements] == plain(count)[:room]


@pytest.mark.parametrize("make", POLICIES)
@settings(deadline=None)
@given(candidates, node_loads, st.randoms())
def test_the_same_question_has_the_same_answer_whatever_the_order_of_the_nodes(make, waiting, nodes, rng) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(nodes)
    rng.shuffle(shuffled)
    assert make().place(waiting, nodes) == make().place(waiting, shuffled)


def test_without_nodes_nothing_is_placed(policy: Policy) -> None:
    assert policy.place(plain(3), []) == []


def test_an_avoided_node_is_better_than_none(policy: Policy) -> None:
    candidate = Candidate("e", "p", "m", avoid=frozenset({"a:1"}))
    assert given_to(policy.place([candidate], [NodeLoad("a:1", 2, 0)])) == {"a:1": 1}


def test_a_node_that_is_not_avoided_is_waited_for(policy: Policy) -> None:
    candidate = Candidate("e", "p", "m", avoid=frozenset({"a:1"}))
    assert policy.place([candidate], [NodeLoad("a:1", 2, 0), NodeLoad("b:1", 2, 4)]) == []


def test_candidates_behind_one_that_must_wait_are_placed(policy: Policy) -> None:
    stuck, free = Candidate("e", "p", "stuck", avoid=frozenset({"a:1"})), Candidate("e", "p", "free")
    placed = policy.place([stuck, free], [NodeLoad("a:1", 2, 0), NodeLoad("b:1", 2, 4)])
    assert [p.candidate for p in placed] == [free]


class TestAlone:
    ALONE = Candidate("e", "p", "alone", alone=True)

    def test_it_gets_an_empty_node_to_itself(self, policy: Policy) -> None:
        nodes = [NodeLoad("a:1", 4, 1), NodeLoad("b:1", 4, 0)]
        placed = policy.place([self.ALONE, *plain(20)], nodes)
        assert [p.candidate for p in placed if p.address == "b:1"] == [self.ALONE]
        assert given_to(placed)["a:1"] == nodes[0].room

    def test_where_none_is_empty_the_least_busy_is_given_nothing_more(self, policy: Policy) -> None:
        placed = policy.place([self.ALONE, *plain(20)], [NodeLoad("a:1", 4, 3), NodeLoad("b:1", 4, 1)])
        assert set(given_to(placed)) == {"a:1"}

    def test_one_node_at_a_time_is_emptied(self, policy: Policy) -> None:
        another = Candidate("e", "p", "another", alone=True)
        placed = policy.place([self.ALONE, another, *plain(20)], [NodeLoad("a:1", 4, 3), NodeLoad("b:1", 4, 1)])
        assert set(given_to(placed)) == {"a:1"}

    def test_after_a_while_it_is_given_to_the_least_busy_which_others_keep_busy(self, policy: Policy) -> None:
        nodes = [NodeLoad("a:1", 4, 3), NodeLoad("b:1", 4, 1), NodeLoad("c:1", 4, 1)]
        for waited, expected in ((4.9, {}), (5.1, {"b:1": 1})):
            assert given_to(policy.place([replace(self.ALONE, waited=waited)], nodes)) == expected
        placed = policy.place([replace(self.ALONE, waited=5.1, avoid=frozenset({"b:1"})), *plain(20)], nodes)
        assert given_to(placed)["c:1"] == 1, "nothing follows it"

    def test_an_empty_one_is_better_however_long_it_has_waited(self, policy: Policy) -> None:
        nodes = [NodeLoad("a:1", 4, 1), NodeLoad("b:1", 4, 0)]
        assert given_to(policy.place([replace(self.ALONE, waited=60.0)], nodes)) == {"b:1": 1}

    def test_it_comes_to_its_turn_though_others_never_stop_coming(self, policy: Policy) -> None:
        assigned = {"a:1": 4, "b:1": 3}
        for _ in range(20):
            placed = policy.place([self.ALONE, *plain(50)], [NodeLoad(a, 4, n) for a, n in assigned.items()])
            if any(p.candidate == self.ALONE for p in placed):
                return
            for address, count in given_to(placed).items():
                assigned[address] += count
            assigned = {address: max(0, n - 1) for address, n in assigned.items()}  # each node ends one
        pytest.fail("the module never ran")
