"""Systems take turns, each in every repetition it is in."""

import random
from collections import Counter
from functools import partial

import pytest

from bench.figures.contest import Turn, median_ratio, repeated


def test_everybody_has_one_turn_a_repetition_and_the_seldom_ones_only_in_the_first() -> None:
    ran: list[str] = []
    turns = {"ours": Turn(lambda: ran.append("ours"), 5), "loop": Turn(lambda: ran.append("loop"), 2)}
    repeated(turns, 5, lambda _: None, random.Random(1))
    assert Counter(ran) == {"ours": 5, "loop": 2}
    assert {frozenset(ran[0:2]), frozenset(ran[2:4])} == {frozenset({"ours", "loop"})}


def order(seed: int) -> str:
    ran: list[str] = []
    turns = {name: Turn(partial(ran.append, name), 1) for name in "abc"}
    repeated(turns, 1, lambda _: None, random.Random(seed))
    return "".join(ran)


def test_the_order_is_drawn() -> None:
    assert len({order(seed) for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("above", "below", "ratio"),
    [
        ([2.0, 4.0, 9.0], [1.0, 1.0, 3.0], 3.0),  # of 2, 4 and 3
        ([2.0, 4.0, 6.0], [2.0], 2.0),  # the last figure stands
        ([12.0], [2.0, 3.0, 4.0], 4.0),
    ],
)
def test_the_ratio_is_the_median_of_the_repetitions(above: list[float], below: list[float], ratio: float) -> None:
    assert median_ratio(above, below) == ratio
