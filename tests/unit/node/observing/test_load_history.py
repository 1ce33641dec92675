"""The last hour of a node: what its processors did between two samples, and no more samples than fit."""

import pytest

from testmesh.node.observing.load_history import INTERVAL_S, KEPT, LoadHistory
from testmesh.node.working.admission import Processors, Sample


def sample(at: float, busy_s: float, memory: int | None = 25, cores: float = 2.0) -> Sample:
    return Sample(at, (Processors(cores, busy_s, 0.0),), memory)


def test_cpu_is_the_part_that_was_used_since_the_sample_before() -> None:
    history = LoadHistory(100)
    assert history.cpu(sample(100.0, 50.0)) is None
    history.add(sample(100.0, 50.0), 1, 2)
    history.add(sample(110.0, 60.0), 3, 4)
    assert [(m.age, m.running, m.waiting, m.cpu) for m in history.moments(115.0)] == [
        (15.0, 1, 2, None),
        (5.0, 3, 4, 0.5),
    ]
    assert history.cpu(sample(112.0, 64.0)) == 1.0


def test_so_soon_after_a_sample_that_it_says_little_the_one_before_is_compared_with() -> None:
    history = LoadHistory(100)
    history.add(sample(100.0, 0.0), 0, 0)
    history.add(sample(110.0, 10.0), 0, 0)
    assert history.cpu(sample(110.5, 10.5)) == pytest.approx(0.5)


def test_with_a_quota_its_processors_count() -> None:
    history = LoadHistory(None)
    machine = Processors(8.0, 0.0, 0.0)
    history.add(Sample(100.0, (machine, Processors(0.5, 0.0, 0.0))), 0, 0)
    assert history.cpu(Sample(110.0, (machine, Processors(0.5, 2.5, 0.0)))) == 0.5


def test_what_cannot_be_measured_is_not_known() -> None:
    blind = LoadHistory(None)
    blind.add(Sample(100.0), 1, 0)
    blind.add(Sample(110.0), 1, 0)
    assert [moment.cpu for moment in blind.moments(110.0)] == [None, None]
    assert blind.cpu(Sample(120.0)) is None
    assert blind.memory(sample(120.0, 0.0)) is None
    assert LoadHistory(100).memory(sample(0.0, 0.0, memory=None)) is None


def test_memory_is_the_part_that_cannot_be_had_any_more() -> None:
    assert LoadHistory(100).memory(sample(0.0, 0.0, memory=25)) == 0.75


def test_the_parts_stay_within_0_and_1_whatever_the_kernel_counts() -> None:
    history = LoadHistory(100)
    history.add(sample(100.0, 50.0), 0, 0)
    assert history.cpu(sample(110.0, 49.0)) == 0.0
    assert history.cpu(sample(110.0, 90.0)) == 1.0
    assert history.memory(sample(110.0, 0.0, memory=101)) == 0.0


def test_an_hour_is_kept_and_a_sample_is_due_every_ten_seconds() -> None:
    history = LoadHistory(100)
    assert history.is_due(0.0)
    for number in range(KEPT + 5):
        history.add(sample(number * INTERVAL_S, 0.0), number, 0)
    last = (KEPT + 4) * INTERVAL_S
    assert not history.is_due(last + INTERVAL_S - 0.1)
    assert history.is_due(last + INTERVAL_S)
    moments = history.moments(last)
    assert (len(moments), moments[0].running, moments[-1].age) == (KEPT, 5, 0.0)
    assert KEPT * INTERVAL_S == 3600
