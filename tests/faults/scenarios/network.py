"""Cables that are cut or bad."""

from tests.faults.cluster import Cluster
from tests.faults.corpus import FAILING, PASSING, sleepers, sleeping, work
from tests.faults.model import scenario
from tests.faults.scenarios.process import SILENT
from tests.faults.switch import Rule


@scenario(
    "partition-owner",
    "network",
    "the owner is cut off from the two others while its evaluation runs; later the cable is mended",
    needs=("network",),
    allows=("replaced",),
    is_short=True,
)
def partition_owner(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8), at=0)
    cluster.wait_running(at=1)
    fault = cluster.isolate(0)
    cluster.expect_death(fault, SILENT)
    cluster.wait_ended(evaluation, at=1)
    cluster.wait_ended(evaluation, at=0)
    cluster.heal()


@scenario(
    "loss-30",
    "network",
    "of all frames between all nodes 30 % are lost while an evaluation runs",
    needs=("network",),
    allows=("replaced", "deaths"),
)
def loss(cluster: Cluster) -> None:
    cluster.degrade(Rule(loss=0.3))
    evaluation = cluster.submit(work(PASSING, FAILING, sleeping(1.0), projects=2))
    cluster.wait_ended(evaluation)
    assert cluster.frames()["lost"] > 0
