"""Evaluations take turns at a worker, each in the order of its own work."""

from testmesh.node.working.ready import ReadyQueue


def queue_of(*items: str) -> ReadyQueue[str]:
    """Items are called by their evaluation and their number."""
    queue: ReadyQueue[str] = ReadyQueue()
    for item in items:
        queue.add(item[0], int(item[1:]), item)
    return queue


def drained(queue: ReadyQueue[str]) -> list[str]:
    found = []
    while (first := queue.first()) is not None:
        assert queue.take_first() == first
        found.append(first)
    return found


def test_one_evaluation_keeps_its_order_whatever_was_ready_first() -> None:
    assert drained(queue_of("a3", "a1", "a2")) == ["a1", "a2", "a3"]


def test_evaluations_take_turns_the_oldest_work_first() -> None:
    assert drained(queue_of("b4", "b5", "a1", "a2", "a3")) == ["a1", "b4", "a2", "b5", "a3"]


def test_one_that_comes_later_does_not_wait_behind_a_long_one() -> None:
    queue = queue_of(*(f"a{number}" for number in range(5)))
    queue.take_first()
    queue.add("b", 9, "b9")
    assert drained(queue) == ["b9", "a1", "a2", "a3", "a4"]


def test_new_ones_without_end_do_not_overtake_one_that_waits_for_its_next_turn() -> None:
    queue = queue_of("a0", "a1")
    queue.take_first()
    taken = []
    for number in range(2, 8):
        queue.add(f"new{number}", number, f"new{number}")
        taken.append(queue.take_first())
    assert taken.index("a1") == 1, "behind the one that came before its turn"


def test_among_very_many_that_wait_each_has_its_turn_before_any_has_its_second() -> None:
    queue: ReadyQueue[str] = ReadyQueue()
    names = [f"e{number}" for number in range(1500)]
    for turn in range(2):
        for number, name in enumerate(names):
            queue.add(name, turn * len(names) + number, name)
    assert drained(queue) == names * 2


def test_work_that_comes_piece_by_piece_gets_no_more_turns() -> None:
    queue = queue_of("a1", "a2", "b3")
    found = []
    for number in range(10, 14):
        found += [queue.take_first(), queue.take_first()]
        queue.add("b", number, f"b{number}")
        queue.add("a", number + 10, f"a{number + 10}")
    assert [item[0] for item in found] == list("abababab")


def test_what_nobody_wants_any_more_is_taken_out() -> None:
    queue = queue_of("a1", "a2", "b3")
    assert queue.drop(lambda item: item != "a2") == ["a1", "b3"]
    assert drained(queue) == ["a2"]
    assert queue.drop(lambda _: True) == []
