"""How long an evaluation will take: never nonsense, and less with every module that ends."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.node.driving.eta import Capacity, OpenModule, seconds_left
from testmesh.node.driving.prediction import Prediction

LIMIT_S = 120.0


def waits(wall: float, cpu: float = 0.0) -> OpenModule:
    return OpenModule(Prediction(wall, cpu, known=True))


def runs(wall: float, ran: float, cpu: float = 0.0) -> OpenModule:
    return OpenModule(Prediction(wall, cpu, known=True), ran)


@pytest.mark.parametrize(
    ("modules", "cores", "slots", "expected"),
    [
        ([], 2, 8, 0.0),
        ([waits(5), waits(3)], 2, 8, 5.0),  # the longest
        ([waits(4, 4)] * 6, 2, 8, 12.0),  # processor time over processors
        ([waits(4, 4)], 0.5, 8, 8.0),
        ([waits(4, 8)], 1, 8, 8.0),
        ([waits(4)] * 6, 2, 2, 12.0),  # wall time over slots
        ([runs(5, 2)], 2, 8, 3.0),
        ([runs(4, 2, cpu=4), waits(2, 2)], 1, 8, 4.0),  # half of it is done
        ([runs(1, 20)], 2, 8, 5.0),  # over its prediction: a quarter of what it ran
        ([runs(1, 119)], 2, 8, 1.0),  # and it is ended at its limit
        ([runs(1, 500)], 2, 8, 0.0),
        ([waits(500)], 2, 8, 120.0),
        ([waits(0, 5)], 2, 8, 0.0),
    ],
)
def test_it_is_the_largest_of_the_three_bounds(
    modules: list[OpenModule], cores: float, slots: int, expected: float
) -> None:
    assert seconds_left(modules, Capacity(cores, slots), LIMIT_S) == pytest.approx(expected)


@pytest.mark.parametrize("capacity", [Capacity(0.0, 0), Capacity(2.0, 0), Capacity(0.0, 8)])
def test_where_nothing_takes_work_it_is_unknown(capacity: Capacity) -> None:
    assert seconds_left([waits(1)], capacity, LIMIT_S) is None


def test_evaluations_share_what_there_is() -> None:
    assert Capacity(2.0, 8).share(4) == Capacity(0.5, 2)
    assert Capacity(2.0, 3).share(4) == Capacity(0.5, 1)
    assert Capacity(2.0, 8).share(0) == Capacity(2.0, 8)


seconds = st.floats(0.0, 1e12)
predictions = st.builds(Prediction, seconds, seconds, st.booleans())
open_modules = st.builds(OpenModule, predictions, st.none() | seconds)
capacities = st.builds(Capacity, st.floats(1e-3, 1e4), st.integers(1, 10_000))


@given(st.lists(open_modules, max_size=8), capacities, seconds)
def test_it_is_never_negative_and_always_a_number(
    modules: list[OpenModule], capacity: Capacity, limit_s: float
) -> None:
    left = seconds_left(modules, capacity, limit_s)
    assert left is not None
    assert 0.0 <= left < math.inf


@given(st.lists(open_modules, min_size=1, max_size=8), capacities, seconds, st.data())
def test_it_falls_as_modules_end(
    modules: list[OpenModule], capacity: Capacity, limit_s: float, data: st.DataObject
) -> None:
    before = seconds_left(modules, capacity, limit_s)
    while modules:
        modules.pop(data.draw(st.integers(0, len(modules) - 1)))
        after = seconds_left(modules, capacity, limit_s)
        assert before is not None
        assert after is not None
        assert after <= before + 1e-9 * before
        before = after
    assert before == 0.0


@given(seconds, seconds, seconds)
def test_a_running_module_never_takes_longer_than_its_limit(wall: float, ran: float, limit_s: float) -> None:
    left = seconds_left([runs(wall, ran)], Capacity(1.0, 1), limit_s)
    assert left is not None
    assert left <= max(0.0, limit_s - ran)
