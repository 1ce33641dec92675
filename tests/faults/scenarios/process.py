"""Processes that end or stand still."""

from tests.faults.cluster import Cluster
from tests.faults.corpus import mixed, sleepers
from tests.faults.model import scenario

GONE = (0.0, 2.0)  # seconds until a process that ended is noticed
SILENT = (3.0, 5.0)  # until a node is that says nothing


def nobody_died(cluster: Cluster) -> None:
    """E to the letter, also where the cable was cut for the whole 2 s that are no death."""
    numbers = {node.address: node.number for node in cluster.nodes}
    for node in cluster.nodes:
        for death in node.deaths():
            cluster.break_("E", f"node {node.number} declared node {numbers.get(death.address)} dead")


@scenario("kill-worker", "process", "kill -9 of a node that runs modules of another's evaluation")
def kill_worker(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8))
    cluster.wait_running(at=2)
    fault = cluster.kill(2)
    cluster.expect_death(fault, GONE)
    cluster.wait_ended(evaluation)


@scenario("kill-owner", "process", "kill -9 of the owner while its evaluation runs")
def kill_owner(cluster: Cluster) -> None:
    evaluation = cluster.submit(mixed(projects=1), at=0)
    cluster.wait_running(at=1)
    fault = cluster.kill(0)
    cluster.expect_death(fault, GONE)
    cluster.wait_ended(evaluation)


@scenario("stop-2s", "process", "a node's machine stands still for 2 s: no death", is_short=True)
def stop_short(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8))
    cluster.wait_running(at=1)
    cluster.stop(1)
    cluster.hold(2.0)
    cluster.go_on(1)
    cluster.wait_ended(evaluation)
    nobody_died(cluster)


@scenario("stop-30s", "process", "a node's machine stands still for 30 s: it is declared dead, and comes back")
def stop_long(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8))
    cluster.wait_running(at=1)
    fault = cluster.stop(1)
    cluster.expect_death(fault, SILENT)
    cluster.wait_ended(evaluation, at=0)
    cluster.hold(max(0.0, 30.0 - cluster.since(fault)))
    cluster.go_on(1)
    cluster.wait_joined()
