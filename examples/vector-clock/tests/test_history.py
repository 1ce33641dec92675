from sortedcontainers import SortedList

from vector_clock import VectorClock


def test_a_total_order_respects_causality():
    first = VectorClock().tick("a")
    second = first.tick("b")
    third = second.tick("a")
    events = SortedList([third, first, second], key=lambda clock: sum(clock.counts.values()))
    assert list(events) == [first, second, third]


def test_the_package_is_installed():
    from importlib.metadata import version

    assert version("vector-clock") == "1.0.0"
