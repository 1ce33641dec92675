"""Whole meshes in simulated time: what must hold of all nodes together."""

import statistics

import pytest

from testmesh.node.membership.membership import Health
from tests.support.simulation import Process, Simulation


@pytest.mark.parametrize("size", [3, 8, 30, 100])
def test_after_a_join_every_view_is_equal_within_10_s(size: int) -> None:
    simulation = Simulation(seed=size)
    nodes = simulation.mesh(size)

    newcomer = simulation.start("newcomer:1", nodes[size // 2].address)

    simulation.run_until(lambda: simulation.agree([*nodes, newcomer]), at_most=10)


def test_a_join_is_known_to_all_within_10_s_even_where_a_third_of_the_messages_is_lost() -> None:
    simulation = Simulation(seed=5)
    nodes = simulation.mesh(8)
    simulation.loss = 0.3

    newcomer = simulation.start("newcomer:1", nodes[0].address)

    everybody = [*nodes, newcomer]
    simulation.run_until(
        lambda: all(p.health_of(q.address) is not None for p in everybody for q in everybody), at_most=10
    )


def test_a_mesh_of_200() -> None:
    """The short form of what tests.simulate does for half an hour."""
    simulation = Simulation(seed=200)
    nodes = simulation.mesh(200)
    nodes.append(simulation.start("newcomer:1", nodes[100].address))
    simulation.run_until(lambda: simulation.agree(nodes), at_most=10)
    simulation.pause_for(nodes[7], 1.0)
    before = [node.pings_sent for node in nodes]

    simulation.run(5)

    assert {(now.pings_sent - sent) / 5 for now, sent in zip(nodes, before, strict=True)} <= {1.8, 2.0, 2.2}
    assert simulation.deaths() == []
    simulation.crash(nodes[0])
    simulation.run_until(lambda: all_see(nodes[1:], nodes[0], Health.DEAD), at_most=3)


def test_forty_that_join_sixty_at_once_are_known_to_all_and_a_death_is_noticed_meanwhile() -> None:
    simulation = Simulation(seed=50)
    nodes = simulation.mesh(60)
    joining = [simulation.start(f"new-{i}:1", nodes[0].address) for i in range(40)]
    simulation.run(0.1)
    simulation.crash(nodes[7])

    left = [node for node in (*nodes, *joining) if node is not nodes[7]]
    simulation.run_until(lambda: simulation.agree(left), at_most=10)


def test_five_nodes_that_start_at_once_and_know_one_address_form_one_mesh() -> None:
    simulation = Simulation(seed=3)
    nodes = [simulation.start(f"n{i}:1", "n0:1") for i in range(5)]

    simulation.run_until(lambda: simulation.agree(nodes), at_most=10)


def test_a_node_whose_bootstrap_comes_up_minutes_later_finds_it() -> None:
    simulation = Simulation()
    early = simulation.start("early:1", "late:1")
    simulation.run(300)
    late = simulation.start("late:1")

    simulation.run_until(lambda: simulation.agree([early, late]), at_most=10)
    assert early.joins_sent > 100


def test_pings_per_node_and_second_are_constant_as_the_mesh_grows() -> None:
    rates: dict[int, list[float]] = {}
    for size in (3, 10, 60):
        simulation = Simulation(seed=size)
        nodes = simulation.mesh(size)
        before = [node.pings_sent for node in nodes]
        simulation.run(10)
        rates[size] = [(node.pings_sent - sent) / 10 for node, sent in zip(nodes, before, strict=True)]

    assert {rate for of_size in rates.values() for rate in of_size} == {1 / simulation.config.ping_interval}


@pytest.mark.parametrize("size", [2, 3, 4, 8, 20])
def test_a_process_that_is_gone_is_noticed_by_all_in_a_median_of_at_most_2_s(size: int) -> None:
    delays = []
    for seed in range(9):
        simulation = Simulation(seed)
        nodes = simulation.mesh(size)
        victim, gone_at = nodes[seed % size], simulation.now
        simulation.crash(victim)
        others = [node for node in nodes if node is not victim]
        simulation.run_until(lambda others=others, victim=victim: all_see(others, victim, Health.DEAD), at_most=10)  # type: ignore[misc]
        delays.append(max(change.at for change in simulation.deaths(victim.address)) - gone_at)

    assert statistics.median(delays) <= 2


@pytest.mark.parametrize("size", [2, 3, 4, 8, 20])
@pytest.mark.parametrize("how", ["stopped", "cut off"])
def test_a_silent_node_is_declared_dead_between_3_and_5_s(size: int, how: str) -> None:
    for seed in range(9):
        simulation = Simulation(seed)
        nodes = simulation.mesh(size)
        victim, silent_at = nodes[seed % size], simulation.now
        others = [node for node in nodes if node is not victim]
        if how == "stopped":
            simulation.pause(victim)
        else:
            simulation.partition([victim], others)
        simulation.run(6)
        delays = [change.at - silent_at for change in simulation.deaths(victim.address)]

        assert all_see(others, victim, Health.DEAD)
        assert min(delays) >= 3
        assert max(delays) <= 5


@pytest.mark.parametrize("size", [2, 3, 4, 8, 20])
@pytest.mark.parametrize("how", ["stopped", "cut off"])
def test_nobody_is_declared_dead_for_a_silence_of_2_s(size: int, how: str) -> None:
    suspicions = 0
    for seed in range(12):
        simulation = Simulation(seed)
        nodes = simulation.mesh(size)
        victim = nodes[seed % size]
        if how == "stopped":
            simulation.pause_for(victim, 2.0)
        else:
            simulation.partition([victim], [node for node in nodes if node is not victim])
            simulation.after(2.0, simulation.heal)
        simulation.run(10)

        assert simulation.deaths() == []
        assert simulation.agree(nodes)
        suspicions += any(change.after.health is Health.SUSPECT for change in simulation.changes)

    assert suspicions  # else this has shown nothing


@pytest.mark.parametrize(("size", "minutes"), [(2, 30), (4, 30), (30, 2)])  # at length: tests.simulate
def test_a_node_that_pauses_1_s_in_every_5_is_never_declared_dead(size: int, minutes: float) -> None:
    simulation = Simulation(seed=size)
    nodes = simulation.mesh(size)

    def pause() -> None:
        simulation.pause_for(nodes[-1], 1.0)
        simulation.after(5.0, pause)

    pause()
    simulation.run(minutes * 60)

    assert simulation.deaths() == []


@pytest.mark.parametrize("size", [2, 4, 8])
def test_a_busy_node_that_does_everything_1_to_2_s_late_is_suspected_and_never_declared_dead(size: int) -> None:
    simulation = Simulation(seed=size)
    nodes = simulation.mesh(size)
    at_once = nodes[-1].do
    nodes[-1].do = lambda action: simulation.after(  # type: ignore[method-assign]
        simulation.rng.uniform(1, 2), lambda: at_once(action)
    )

    simulation.run(300)

    assert simulation.deaths() == []
    assert any(change.after.health is Health.SUSPECT for change in simulation.changes)


@pytest.mark.parametrize("size", [2, 4, 30])
def test_a_node_that_stood_still_for_long_believes_nobody_dead_and_is_believed_alive_again(size: int) -> None:
    simulation = Simulation(seed=4)
    nodes = simulation.mesh(size)
    simulation.pause_for(nodes[0], 30)
    simulation.run(31)

    simulation.run_until(lambda: simulation.agree(nodes), at_most=10)
    assert {change.after.address for change in simulation.deaths()} == {nodes[0].address}


@pytest.mark.parametrize("size", [2, 5, 12])
def test_the_sides_of_a_partition_lose_and_find_each_other(size: int) -> None:
    simulation = Simulation(seed=size)
    nodes = simulation.mesh(size)
    left, right = nodes[: size // 2], nodes[size // 2 :]
    simulation.partition(left, right)
    simulation.run_until(
        lambda: (
            all(all_see(left, node, Health.DEAD) for node in right)
            and all(all_see(right, node, Health.DEAD) for node in left)
        ),
        at_most=20,
    )
    simulation.run(60)
    simulation.heal()

    simulation.run_until(lambda: simulation.agree(nodes), at_most=10)


@pytest.mark.parametrize(("size", "cut_off"), [(4, 1), (30, 1), (30, 15)])
def test_when_a_partition_heals_nobody_is_declared_dead_by_old_news(size: int, cut_off: int) -> None:
    simulation = Simulation(seed=size)
    nodes = simulation.mesh(size)
    simulation.partition(nodes[:cut_off], nodes[cut_off:])
    simulation.run(60)
    simulation.changes.clear()
    simulation.heal()

    simulation.run_until(lambda: simulation.agree(nodes), at_most=10)
    assert simulation.deaths() == []


def test_a_partition_of_more_than_an_hour_heals() -> None:
    simulation = Simulation(seed=7)
    nodes = simulation.mesh(4)
    simulation.partition(nodes[:2], nodes[2:])
    simulation.run(1.1 * 3600)
    simulation.heal()

    simulation.run_until(lambda: simulation.agree(nodes), at_most=10)


@pytest.mark.parametrize("seed", range(8))
def test_a_quick_restart_is_one_change_of_processes_for_everybody(seed: int) -> None:
    """Else work that the new process was given would be taken for lost."""
    simulation = Simulation(seed)
    nodes = simulation.mesh(5)
    simulation.pause_for(nodes[2], 1.6)  # so that some suspect the old one
    simulation.run(1.5)
    simulation.crash(nodes[2])
    new = simulation.start(nodes[2].address, nodes[0].address)
    others = [node for node in nodes if node is not nodes[2]]
    simulation.run_until(lambda: simulation.agree([*others, new]), at_most=10)

    for node in others:
        seen = [c for c in simulation.changes if c.observer == node.address and c.after.address == new.address]
        assert [c.after.boot for c in seen if c.before and c.before.boot != c.after.boot] == [new.membership.me.boot]


def test_a_link_that_is_cut_in_one_direction_kills_nobody() -> None:
    simulation = Simulation(seed=6)
    nodes = simulation.mesh(4)
    simulation.cut = lambda source, target: (source, target) == (nodes[0].address, nodes[1].address)

    simulation.run(120)

    assert simulation.deaths() == []


def test_a_node_that_hears_but_is_not_heard_is_dead_to_the_others() -> None:
    simulation = Simulation(seed=6)
    nodes = simulation.mesh(4)
    simulation.cut = lambda source, target: source == nodes[0].address

    simulation.run(6)

    assert all_see(nodes[1:], nodes[0], Health.DEAD)


@pytest.mark.parametrize("away", [0.0, 0.4, 5.0, 4000.0])
@pytest.mark.parametrize("bootstrap", [True, False])
def test_a_restart_on_the_same_address_is_seen_by_all_as_another_process(away: float, bootstrap: bool) -> None:
    simulation = Simulation(seed=8)
    nodes = simulation.mesh(4)
    old = nodes[2]
    simulation.crash(old)
    simulation.run(away)
    new = simulation.start(old.address, *([nodes[0].address] if bootstrap or away > 3600 else []))

    others = [node for node in nodes if node is not old]
    simulation.run_until(lambda: simulation.agree([*others, new]), at_most=10)
    if away < 3600:
        for node in others:
            boots = [
                (change.before.boot, change.after.boot)
                for change in simulation.changes
                if change.observer == node.address and change.before and change.after.address == new.address
            ]
            assert (old.membership.me.boot, new.membership.me.boot) in boots


def test_who_leaves_is_left_for_all_at_once_and_never_dead() -> None:
    simulation = Simulation(seed=9)
    nodes = simulation.mesh(8)
    simulation.leave(nodes[3])
    others = [node for node in nodes if node is not nodes[3]]

    simulation.run_until(lambda: all_see(others, nodes[3], Health.LEFT), at_most=1)
    simulation.run(1)
    simulation.crash(nodes[3])
    simulation.run(30)
    assert all_see(others, nodes[3], Health.LEFT)
    assert simulation.deaths() == []


def test_a_node_that_left_comes_back_on_its_address() -> None:
    simulation = Simulation(seed=9)
    nodes = simulation.mesh(4)
    simulation.leave(nodes[3])
    simulation.run(1)
    simulation.crash(nodes[3])
    simulation.run(20)

    back = simulation.start(nodes[3].address, nodes[0].address)

    simulation.run_until(lambda: simulation.agree([*nodes[:3], back]), at_most=10)


def test_of_two_processes_that_claim_one_address_the_one_that_is_not_reached_there_gives_way() -> None:
    simulation = Simulation(seed=10)
    nodes = simulation.mesh(4)
    impostor = simulation.start(nodes[2].address, nodes[0].address, listens=False)

    simulation.run_until(lambda: impostor.evicted, at_most=10)

    simulation.run_until(lambda: simulation.agree(nodes), at_most=10)
    simulation.changes.clear()
    simulation.run(60)
    assert not any(node.evicted for node in nodes)
    assert simulation.changes == []


def test_all_but_one_gone_at_once_is_noticed_and_all_come_back() -> None:
    simulation = Simulation(seed=11)
    nodes = simulation.mesh(6)
    for node in nodes[1:]:
        simulation.crash(node)
    simulation.run_until(lambda: nodes[0].membership.live() == (), at_most=20)

    back = [simulation.start(node.address) for node in nodes[1:]]

    simulation.run_until(lambda: simulation.agree([nodes[0], *back]), at_most=20)


def test_with_a_tenth_of_the_messages_lost_nobody_dies() -> None:
    simulation = Simulation(seed=12, loss=0.1)
    nodes = simulation.mesh(5)

    simulation.run(300)

    assert simulation.deaths() == []
    assert simulation.agree(nodes)


def all_see(nodes: list[Process], of: Process, health: Health) -> bool:
    return all(node.health_of(of.address) is health for node in nodes)
