"""Whole nodes in a simulated network: no schedule of faults breaks what is promised.

At length: python -m tests.simulate
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.simulated_mesh import Crash, Cut, Drain, Noise, Pause, Schedule, SimulatedMesh, Split, Step, Submit
from tests.support.simulated_mesh import random_schedule as schedule_of

_after = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 8.0])
_nodes = st.integers(0, 4)
_seconds = st.sampled_from([0.5, 2.0, 6.0, 30.0])
_submissions = st.builds(Submit, _after, _nodes, st.integers(1, 4))
_faults = st.one_of(
    st.builds(Crash, _after, _nodes, _seconds, st.sampled_from(["kept", "empty", "stale"]), st.integers(1, 3)),
    st.builds(Drain, _after, _nodes, _seconds),
    st.builds(Pause, _after, _nodes, _seconds),
    st.builds(Cut, _after, _nodes, _nodes, _seconds),
    st.builds(Split, _after, st.integers(1, 30), _seconds),
    st.builds(Noise, _after, st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.3]), st.just(0.5), _seconds),
)


def _begun(first: Submit, rest: list[Step]) -> tuple[Step, ...]:
    return (first, *rest)


_schedules = st.builds(
    Schedule,
    st.integers(3, 5),
    st.integers(0, 2**16),
    st.builds(_begun, _submissions, st.lists(_submissions | _faults, max_size=9)),
    st.sampled_from([1, 2]),
    st.sampled_from([0.3, 4.0]),
    st.sampled_from([0.0, 2.0, 10.0]),
)


@settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
@given(_schedules)
def test_no_schedule_of_faults_loses_doubles_or_changes_anything(schedule: Schedule) -> None:
    outcome = SimulatedMesh(schedule).run()

    assert outcome.spread_s <= 10


@pytest.mark.parametrize("seed", range(12))
def test_nor_does_a_longer_one(seed: int) -> None:
    schedule = schedule_of(random.Random(seed), steps=24)

    outcome = SimulatedMesh(schedule).run()

    assert outcome.spread_s <= 10, schedule


def test_an_end_is_never_known_without_the_results() -> None:
    """A holder dies, so the files are copied to n0, with the record of an evaluation that has just ended.

    Its results are still on their way when the owner's disk is lost: n0 must not believe that nothing is to be done.
    """
    steps = (Submit(0, 2, 2), Crash(0.1, 1, 60.0), Noise(0.5, 0.3, 0.0, 0.5, 30.0), Crash(5.0, 2, 0.0, "empty"))

    SimulatedMesh(Schedule(3, 4843, steps, slots=4, longest=0.3)).run()


def test_all_nodes_are_killed_in_the_middle_of_it_and_started_again() -> None:
    steps: tuple[Step, ...] = (
        Submit(0, 0, 5),
        Submit(0, 1, 5),
        *(Crash(1.0 if n == 0 else 0.0, n, 3.0) for n in range(3)),
    )

    outcome = SimulatedMesh(Schedule(3, 1, steps)).run()

    assert outcome.acknowledged == 2


@pytest.mark.parametrize("lost", range(3))
def test_a_disk_is_lost_right_after_the_acknowledgement(lost: int) -> None:
    steps = (Submit(0, 0, 5), Crash(0.2, lost, 5.0, "empty"))

    mesh = SimulatedMesh(Schedule(3, 1, steps))
    outcome = mesh.run()

    assert outcome.acknowledged == 1
    assert sum("archive of e0" in disk.archives for disk in mesh.disks) >= 2


def test_both_sides_of_a_partition_finish_a_module_and_one_result_stands_everywhere() -> None:
    steps = (Submit(0, 0, 5), Split(0.8, 0b001, 60.0))
    schedule = Schedule(3, 3, steps, slots=1, longest=3.0, heals_after=40.0)

    outcome = SimulatedMesh(schedule).run()

    assert outcome.runs > outcome.modules
    assert set(outcome.replaced) == {1}


def test_without_faults_and_stragglers_every_module_is_run_once() -> None:
    steps = tuple(Submit(1.0, node, 5) for node in range(5))

    outcome = SimulatedMesh(Schedule(5, 1, steps, heals_after=60.0, straggles=False)).run()

    assert (outcome.acknowledged, outcome.modules, outcome.runs) == (5, 25, 25)
    assert not outcome.replaced


def test_second_attempts_change_no_result() -> None:
    """Without faults, none is replaced on any node: the owner discards the later one, and it is stored nowhere."""
    steps = tuple(Submit(1.0, node, 5) for node in range(5))
    runs = 0
    for seed in range(5):
        outcome = SimulatedMesh(Schedule(5, seed, steps, longest=12.0, heals_after=60.0)).run()
        assert (outcome.acknowledged, outcome.modules) == (5, 25)
        assert not outcome.replaced
        runs += outcome.runs
    assert runs > 5 * 25, "some have run twice to their end"
