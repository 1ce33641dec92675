"""Calls to a silent node hold up those to no other."""

import threading

from testmesh.node.messaging.calls import Calls
from tests.support.waiting import until


def test_at_most_two_calls_to_a_node_are_under_way_and_others_are_not_held_up() -> None:
    calls, go_on = Calls("test"), threading.Event()
    begun: list[str] = []

    def hang() -> None:
        begun.append("silent")
        go_on.wait(30)

    for _ in range(50):
        calls.submit("silent:1", hang)
    calls.submit("well:1", lambda: begun.append("well"))
    until(lambda: "well" in begun)
    assert begun.count("silent") <= 2
    go_on.set()
    until(lambda: len(begun) == 51)
    calls.stop()


def test_what_waits_for_a_node_that_is_gone_is_dropped() -> None:
    calls, go_on = Calls("test"), threading.Event()
    begun: list[int] = []

    def hang(number: int) -> None:
        begun.append(number)
        go_on.wait(30)

    for number in range(5):
        calls.submit("gone:1", lambda number=number: hang(number))  # type: ignore[misc]
    until(lambda: len(begun) == 2)
    calls.drop("gone:1")
    calls.submit("gone:1", lambda: begun.append(99))
    go_on.set()
    until(lambda: 99 in begun)
    assert sorted(begun) == [0, 1, 99]
    calls.stop()
