from vector_clock import VectorClock


def test_a_tick_comes_after():
    clock = VectorClock()
    assert clock.before(clock.tick("a"))


def test_a_clock_is_not_before_itself():
    clock = VectorClock().tick("a")
    assert not clock.before(clock)


def test_independent_events_are_concurrent():
    assert VectorClock().tick("a").concurrent(VectorClock().tick("b"))


def test_a_merge_comes_after_both():
    left, right = VectorClock().tick("a"), VectorClock().tick("b")
    merged = left.merge(right).tick("a")
    assert left.before(merged)
    assert right.before(merged)
