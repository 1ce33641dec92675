"""Who goes on: the same answer everywhere, and little moves when a node goes."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.model import Source, SourceKind
from testmesh.node.membership.ownership import rendezvous, successor, waits_for
from tests.support.records import evaluation

NODES = [f"10.0.0.{i}:5001" for i in range(8)]
KEYS = [f"key-{i}" for i in range(200)]


@settings(deadline=None)
@given(st.text(max_size=10), st.permutations(NODES))
def test_the_order_is_the_same_wherever_it_is_computed(key: str, nodes: list[str]) -> None:
    assert rendezvous(key, nodes) == rendezvous(key, NODES)
    assert sorted(rendezvous(key, nodes)) == sorted(NODES)


def test_the_order_is_the_same_in_every_release() -> None:
    assert rendezvous("an evaluation", NODES[:4]) == [NODES[i] for i in (0, 3, 2, 1)]


@pytest.mark.parametrize("gone", NODES)
def test_only_the_keys_of_a_node_that_goes_move(gone: str) -> None:
    left = [node for node in NODES if node != gone]
    for key in KEYS:
        before = rendezvous(key, NODES)
        assert rendezvous(key, left) == [node for node in before if node != gone]


def test_keys_are_spread_over_the_nodes() -> None:
    firsts = [rendezvous(key, NODES)[0] for key in KEYS]
    assert set(firsts) == set(NODES)
    assert max(firsts.count(node) for node in NODES) < 3 * len(KEYS) / len(NODES)


class TestSuccessor:
    HELD = evaluation("e1", holders=(NODES[1], NODES[2]))
    OPEN = evaluation("e1", holders=(NODES[1],), sources=(Source(SourceKind.REPOSITORY, "r"),))

    def test_it_is_a_live_holder(self) -> None:
        assert successor(self.HELD, [NODES[0], NODES[2], NODES[5]]) == NODES[2]

    def test_without_a_live_holder_of_its_archives_nobody_goes_on(self) -> None:
        assert successor(self.HELD, [NODES[0], NODES[5]]) is None

    def test_where_no_archive_is_stored_any_node_goes_on_but_a_holder_of_the_record_before_others(self) -> None:
        assert successor(self.OPEN, [NODES[0], NODES[5]]) == rendezvous("e1", [NODES[0], NODES[5]])[0]
        assert successor(self.OPEN, [NODES[0], NODES[1], NODES[5]]) == NODES[1]

    def test_with_nobody_there_is_none(self) -> None:
        assert successor(self.OPEN, []) is None

    def test_all_agree_whatever_the_order_they_know_each_other_in(self) -> None:
        of = evaluation("e9", holders=tuple(NODES))
        assert len({successor(of, random.Random(i).sample(NODES, len(NODES))) for i in range(20)}) == 1


def test_what_has_files_waits_for_one_of_their_holders() -> None:
    one = evaluation("e1", holders=("a:1", "b:1"))
    assert waits_for(one, ["b:1", "c:1"]) == ()
    assert waits_for(one, ["c:1"]) == ("a:1", "b:1")
    assert waits_for(replace(one, finished_at=1.0), ["c:1"]) == ()
    assert waits_for(replace(one, sources=()), ["c:1"]) == ()
