"""One wrong clock decides nothing."""

from testmesh.clock import FakeClock
from testmesh.node.membership.mesh_time import MeshTime

YEARS = 14 * 365 * 86_400.0


def test_alone_it_is_this_nodes_clock() -> None:
    clock = FakeClock(wall=5000.0)
    assert not MeshTime(clock).has_peers()
    assert MeshTime(clock).now() == 5000.0


def test_the_median_of_three_is_right_where_any_one_is_wrong() -> None:
    for mine, first, second in ((YEARS, 5000.0, 5001.0), (5000.0, YEARS, 5001.0), (5000.0, 5001.0, 0.0)):
        clock = FakeClock(wall=mine)
        time = MeshTime(clock)
        time.heard("a:1", first)
        time.heard("b:1", second)
        assert 5000.0 <= time.now() <= 5001.0


def test_of_two_the_earlier_counts_so_that_nothing_is_pruned_too_early() -> None:
    time = MeshTime(FakeClock(wall=YEARS))
    time.heard("a:1", 5000.0)
    assert time.now() == 5000.0


def test_what_was_heard_goes_on_by_the_monotonic_clock_and_is_forgotten_with_its_peer() -> None:
    clock = FakeClock(wall=5000.0)
    time = MeshTime(clock)
    time.heard("a:1", 4000.0)
    clock.advance(60.0)
    clock.jump(YEARS)
    assert time.now() == 4060.0
    time.forget("a:1")
    assert time.now() == 5060.0 + YEARS
