"""What is drawn for the nemesis: the same again from one seed, and never more than what the mesh must bear."""

import pytest

from tests.faults.scenarios.nemesis import Planned, Round, draw

NODES = 5
SEED = 20261121


@pytest.fixture(scope="module")
def rounds() -> list[Round]:
    return draw(SEED, nodes=NODES, rounds=8, faults=25, submissions=6, every=2.0)


def schedule(rounds: list[Round]) -> list[object]:
    """All but the zips, in which the time of their making stands."""
    return [
        (each.disk, each.faults, [(one.at, one.key, one.work.expected) for one in each.submissions]) for each in rounds
    ]


def test_one_seed_gives_one_schedule(rounds: list[Round]) -> None:
    assert schedule(draw(SEED, NODES, 8, 25, 6, 2.0)) == schedule(rounds)
    assert schedule(draw(SEED + 1, NODES, 8, 25, 6, 2.0)) != schedule(rounds)


def test_there_are_so_many_faults_and_submissions_as_asked_for(rounds: list[Round]) -> None:
    assert sum(1 + len(each.faults) for each in rounds) == 200
    assert len({one.key for each in rounds for one in each.submissions}) == 48


def test_only_a_minority_of_nodes_or_all_are_down_at_once(rounds: list[Round]) -> None:
    for each in rounds:
        hurt = [one for one in (each.disk, *each.faults) if one.kind in ("kill", "terminate", "stop", "wipe", "stale")]
        for one in hurt:
            down = [other for other in hurt if other.at <= one.at < other.at + other.seconds]
            numbers = [number for other in down for number in other.nodes]
            assert len(numbers) == len(set(numbers)) <= NODES // 2


def test_no_cable_has_two_faults_at_once(rounds: list[Round]) -> None:
    def cables(fault: Planned) -> set[frozenset[int]]:
        rest = set(range(NODES)) - set(fault.nodes) if fault.kind == "partition" else set(fault.nodes[1:])
        ends = fault.nodes if fault.kind == "partition" else fault.nodes[:1]
        return {frozenset((one, other)) for one in ends for other in rest}

    for each in rounds:
        bad = [one for one in each.faults if one.kind in ("cut", "cut-one-way", "partition", "loss", "late")]
        for number, one in enumerate(bad):
            for other in bad[:number]:
                assert one.at > other.at + other.seconds or not cables(one) & cables(other)
