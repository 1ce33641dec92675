"""`python -m tests.simulate`: meshes in simulated time, at length. The suite has a short form of the same.

    python -m tests.simulate                                the membership's table, and 200 random schedules of faults
    python -m tests.simulate --sizes 3,200 --minutes 30
    python -m tests.simulate --sizes "" --schedules 1000 --seed 1

A schedule that breaks an invariant is printed: `SimulatedMesh(<what is printed>).run()` breaks it again.
"""

import argparse
import logging
import random
import statistics
import sys
from collections import Counter
from urllib.parse import urlencode

from testmesh.node.membership.membership import Health
from testmesh.node.messaging.codec import encode
from testmesh.node.messaging.wire import UPDATES
from tests.support.simulated_mesh import Outcome, SimulatedMesh, random_schedule
from tests.support.simulation import Process, Simulation

_COLUMNS = (
    ("nodes", 6),
    ("pings/node/s", 13),
    ("join s", 7),
    ("false deaths", 13),
    ("gone: median, max s", 20),
    ("silent: min, median, max s", 27),
    ("ping bytes", 11),
    ("join bytes", 11),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate")
    parser.add_argument("--sizes", default="3,4,8,30,100,200", help="of the meshes in the membership's table")
    parser.add_argument("--minutes", type=float, default=30, help="simulated, for the false deaths")
    parser.add_argument("--schedules", type=int, default=200, help="random schedules of faults for whole nodes")
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule; the next has the next")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sizes = [int(size) for size in arguments.sizes.split(",") if size]
    if sizes:
        _say("".join(name.rjust(width) for name, width in _COLUMNS))
    for size in sizes:
        row = membership_row(size, arguments.minutes)
        _say("".join(cell.rjust(width) for cell, (_, width) in zip(row, _COLUMNS, strict=True)))
    return run_schedules(arguments.seed, arguments.schedules) if arguments.schedules else 0


def membership_row(size: int, minutes: float) -> list[str]:
    simulation = Simulation(seed=size)
    nodes = simulation.mesh(size)
    newcomer = simulation.start("newcomer:1", nodes[size // 2].address)
    join = simulation.run_until(lambda: simulation.agree([*nodes, newcomer]), 60)
    nodes.append(newcomer)
    simulation.run(10)
    simulation.changes.clear()
    before = sum(node.pings_sent for node in nodes)
    simulation.run(20)
    rate = (sum(node.pings_sent for node in nodes) - before) / 20 / len(nodes)
    pause_now_and_then(simulation, nodes[1])
    simulation.run(minutes * 60)
    deaths = len(simulation.deaths())
    gone = [noticed for seed in range(9) for noticed in notice(size, seed, silent=False)[-1:]]
    silent = [noticed for seed in range(9) for noticed in notice(size, seed, silent=True)]
    ping = len(urlencode({"updates": encode(UPDATES, simulation.longest_ping)}))
    return [
        str(size),
        f"{rate:.2f}",
        f"{join:.2f}",
        str(deaths),
        f"{statistics.median(gone):.2f}, {max(gone):.2f}",
        f"{min(silent):.2f}, {statistics.median(silent):.2f}, {max(silent):.2f}",
        str(ping),
        str(len(encode(UPDATES, nodes[0].membership.all_members()))),
    ]


def pause_now_and_then(simulation: Simulation, node: Process) -> None:
    """1 s in every 5."""
    simulation.pause_for(node, 1.0)
    simulation.after(5.0, lambda: pause_now_and_then(simulation, node))


def notice(size: int, seed: int, *, silent: bool) -> list[float]:
    """After how many seconds each of the others believes a node dead that is stopped, or killed; ascending."""
    simulation = Simulation(seed)
    nodes = simulation.mesh(size)
    victim, since = nodes[seed % size], simulation.now
    (simulation.pause if silent else simulation.crash)(victim)
    others = [node for node in nodes if node is not victim]
    simulation.run_until(lambda: all(n.health_of(victim.address) is Health.DEAD for n in others), 20)
    first: dict[str, float] = {}
    for change in simulation.deaths(victim.address):
        first.setdefault(change.observer, change.at - since)
    return sorted(first.values())


def run_schedules(seed: int, count: int) -> int:
    """The exit status."""
    outcomes: list[Outcome] = []
    broken = 0
    for number in range(seed, seed + count):
        schedule = random_schedule(random.Random(number))
        try:
            outcomes.append(SimulatedMesh(schedule).run())
        except AssertionError as error:
            broken += 1
            _say(f"seed {number}: {error}\n  {schedule!r}")
    replaced: Counter[int] = sum((outcome.replaced for outcome in outcomes), Counter())
    rows = [
        ("schedules", count),
        ("broken", broken),
        ("evaluations acknowledged", sum(outcome.acknowledged for outcome in outcomes)),
        ("not acknowledged", sum(outcome.refused for outcome in outcomes)),
        ("modules", sum(outcome.modules for outcome in outcomes)),
        ("runs that came to their end", sum(outcome.runs for outcome in outcomes)),
        ("modules lost with more than 3 nodes (crashed)", sum(outcome.crashed for outcome in outcomes)),
        ("results replaced once on a node", replaced[1]),
        ("results replaced more often", sum(found for times, found in replaced.items() if times > 1)),
        ("of these by an attempt of the same number", sum(outcome.ties for outcome in outcomes)),
    ]
    for name, value in rows:
        _say(f"{name:48}{value:>8}")
    if outcomes:
        _say(f"{'what was known is known to all after healing, s':48}{_spread([o.spread_s for o in outcomes])}")
        _say(f"{'all has ended and all stores are equal, s':48}{_spread([o.ended_s for o in outcomes])}")
    return 1 if broken else 0


def _spread(values: list[float]) -> str:
    values = sorted(values)
    return f"median {statistics.median(values):.2f}, 99 % {values[len(values) * 99 // 100]:.2f}, max {values[-1]:.2f}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
