"""Runs a scenario, then the checks of the invariants."""

import sys
import time
import traceback
from pathlib import Path

from testmesh.local.nginx import find_nginx
from tests.faults import invariants
from tests.faults.cluster import Cluster
from tests.faults.model import Need, Record, Scenario
from tests.faults.namespaces import reason_for_none
from tests.faults.small_disk import reason_for_no_disk
from tests.faults.starting import cluster
from tests.faults.wall_clock import reason_for_no_clock


def what_is_missing() -> dict[Need, str]:
    """What this machine does not give, and why."""
    found: dict[Need, str] = {
        "network": reason_for_none(),
        "clock": reason_for_no_clock(),
        "disk": reason_for_no_disk(),
        "nginx": "" if find_nginx() else "Nginx is not installed",
    }
    return {need: reason for need, reason in found.items() if reason}


def reason_to_skip(scenario: Scenario, missing: dict[Need, str]) -> str:
    return "; ".join(missing[need] for need in sorted(scenario.needs) if need in missing)


def run_scenario(scenario: Scenario, folder: Path, built: Path, seed: int, missing: dict[Need, str]) -> Record:
    """`folder` is empty and this scenario's alone; the nodes' logs are left in it. `built`: see cluster()."""
    skipped = reason_to_skip(scenario, missing)
    if skipped:
        return Record(scenario.name, scenario.group, scenario.says, skipped=skipped)
    begun = time.monotonic()
    with cluster(
        folder,
        scenario.nodes,
        built,
        seed=seed,
        wired="network" not in missing,
        clocks="clock" in scenario.needs,
        disks=scenario.disks,
        settings=scenario.settings,
    ) as nodes:
        equal_after = _tried(scenario, nodes)
        found = nodes.findings
        return Record(
            scenario.name,
            scenario.group,
            scenario.says,
            broken=tuple(found.broken),
            duration=time.monotonic() - begun,
            evaluations=len(nodes.accepted),
            modules=sum(len(work.expected) for work in nodes.accepted.values()),
            noticed=tuple(found.noticed),
            moved=tuple(found.moved),
            equal_after=equal_after,
            replaced=len({change.key for change in nodes.watcher.replaced}),
            repeated=invariants.repeated(nodes),
        )


def _tried(scenario: Scenario, nodes: Cluster) -> float | None:
    """Whatever goes wrong is a finding, and the checks are made all the same."""
    try:
        scenario.run(nodes)
    except Exception as error:  # noqa: BLE001 - told as a finding
        traceback.print_exc(file=sys.stderr)
        nodes.break_("scenario", f"{type(error).__name__}: {error}")
    for node in nodes.nodes:
        if node.stopped:
            nodes.go_on(node.number)
    nodes.heal()
    invariants.all_end_somewhere(nodes)
    equal_after = invariants.stores_become_equal(nodes)
    invariants.all_know_all(nodes)
    invariants.results_are_as_expected(nodes)
    invariants.nothing_is_left(nodes)
    invariants.results_stood(nodes, scenario)
    invariants.nobody_was_declared_dead_in_vain(nodes, scenario)
    return equal_after
