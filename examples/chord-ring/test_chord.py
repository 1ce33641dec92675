import sys

import pytest

from chord import contains, finger_table, ring_hash, successor

NODES = [10, 103, 257, 770]


@pytest.mark.parametrize(
    ("begin", "end", "node", "inside"),
    [(10, 20, 15, True), (10, 20, 20, True), (10, 20, 10, False), (10, 20, 25, False), (1000, 10, 5, True), (1000, 10, 500, False)],
)
def test_contains(begin, end, node, inside):
    assert contains(begin, end, node) is inside


@pytest.mark.parametrize(("key", "node"), [(0, 10), (10, 10), (11, 103), (800, 10)])
def test_successor(key, node):
    assert successor(key, NODES) == node


def test_fingers_point_at_nodes():
    assert set(finger_table(10, NODES)) <= set(NODES)


@pytest.mark.skip(reason="stabilization is part of the second assignment")
def test_stabilize():
    raise AssertionError


@pytest.mark.skipif(sys.version_info < (3, 0), reason="needs Python 3")
def test_hashes_spread():
    assert len({ring_hash(str(number)) for number in range(1000)}) > 500


@pytest.mark.xfail(reason="two names may share a place on a ring of 1024")
def test_hashes_are_unique():
    assert len({ring_hash(str(number)) for number in range(1000)}) == 1000


@pytest.mark.xfail(reason="thought to be broken, works by now")
def test_the_ring_wraps():
    assert successor(1023, NODES) == 10
