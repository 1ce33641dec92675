"""Cables between some nodes: cut on two sides or one, for a while or again and again, slow, late or out of order."""

from functools import partial

from tests.faults.cluster import Cluster
from tests.faults.cluster_node import ClusterNode
from tests.faults.corpus import FAILING, PASSING, mixed, sleepers, sleeping, work
from tests.faults.model import scenario
from tests.faults.scenarios.process import GONE, SILENT, nobody_died
from tests.faults.switch import Rule

_PROJECT = 20_000_000  # bytes
_SLOW = 600_000.0  # bytes per second: the project takes 33 s
_LATE = Rule(delay=(0.05, 0.35), duplicate=0.2)


def knows(node: ClusterNode, *others: ClusterNode) -> bool:
    """Whether these, and nobody else, are alive for it."""
    return set(node.get("/peers", timeout=5)) == {other.address for other in others}


def wait_apart(cluster: Cluster, *sides: tuple[int, ...]) -> None:
    """Until the nodes of each side know each other and nobody else."""
    for side in sides:
        nodes = [cluster[number] for number in side]
        for node in nodes:
            others = [other for other in nodes if other is not node]
            cluster.wait(partial(knows, node, *others), f"node {node.number} to be apart")


# Cut for good ---------------------------------------------------------------------------------


@scenario(
    "partition-worker",
    "network",
    "a worker is cut off from the owner and another node while it runs modules; later the cable is mended",
    needs=("network",),
    allows=("replaced",),
)
def partition_worker(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(6), at=0)
    cluster.wait_running(at=2)
    fault = cluster.isolate(2)
    cluster.expect_death(fault, SILENT)
    cluster.wait_ended(evaluation, at=0)
    cluster.heal()
    cluster.wait_joined()


@scenario(
    "partition-halves",
    "network",
    "four nodes fall in halves while an evaluation runs; each half is given another one, and finishes it",
    nodes=4,
    needs=("network",),
    allows=("replaced",),
)
def partition_halves(cluster: Cluster) -> None:
    shared = cluster.submit(sleepers(12), at=0)
    cluster.wait_running(at=1)
    cluster.wait_running(at=3)
    cluster.cut([0, 1], [2, 3])
    early = cluster.submit(work(PASSING, FAILING), at=1)  # the halves do not know yet that they are
    wait_apart(cluster, (0, 1), (2, 3))
    first, second = cluster.submit(mixed(projects=1), at=0), cluster.submit(mixed(projects=1), at=2)
    for evaluation in (early, first, shared):
        cluster.wait_ended(evaluation, at=0)
    cluster.wait_ended(second, at=3)
    cluster.heal()
    cluster.wait_joined()


@scenario(
    "partition-60s",
    "network",
    "the owner is alone for 60 s, and both sides are given another evaluation meanwhile",
    needs=("network",),
    allows=("replaced",),
)
def partition_long(cluster: Cluster) -> None:
    shared = cluster.submit(sleepers(8), at=0)
    cluster.wait_running(at=1)
    fault = cluster.isolate(0)
    cluster.expect_death(fault, SILENT)
    alone, others = cluster.submit(mixed(projects=1), at=0), cluster.submit(mixed(projects=1), at=1)
    cluster.wait_ended(alone, at=0)
    for evaluation in (shared, others):
        cluster.wait_ended(evaluation, at=2)
    cluster.hold(max(0.0, 60.0 - cluster.since(fault)))
    cluster.heal()
    cluster.wait_joined()


@scenario(
    "partition-heals-owner-dies",
    "network",
    "the owner is cut off and another node takes over; when the cable is mended that one is killed",
    nodes=4,
    needs=("network",),
    allows=("replaced",),
)
def partition_heals_owner_dies(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(16, seconds=6.0), at=0)
    cluster.wait_running(at=1)
    before = cluster[0].address
    fault = cluster.isolate(0)
    cluster.expect_death(fault, SILENT, room=False)
    cluster.wait(lambda: cluster.document(evaluation, at=1)["owner"] != before, "another node to take over")
    owner = cluster.document(evaluation, at=1)["owner"]
    cluster.heal()
    number = next(node.number for node in cluster.nodes if node.address == owner)
    cluster.kill(number)
    cluster.wait_ended(evaluation)
    cluster.start(number)
    cluster.wait_joined()


@scenario(
    "isolated-alone",
    "network",
    "a node is cut off from everybody and given two evaluations; one ends there, one when the cable is mended",
    needs=("network",),
    allows=("replaced",),
)
def isolated_alone(cluster: Cluster) -> None:
    cluster.isolate(2)
    early = cluster.submit(mixed(projects=1), at=2)  # it does not know yet that it is alone
    wait_apart(cluster, (0, 1), (2,))
    cluster.wait_ended(early, at=2)
    late = cluster.submit(sleepers(8), at=2)
    cluster.wait(lambda: cluster.document(late, at=2)["_run_info"]["running"], "it to run there")
    cluster.heal()
    cluster.wait_joined()
    cluster.wait_ended(late, at=0)


# Cut in one direction, or for a moment --------------------------------------------------------


@scenario(
    "one-way-to-worker",
    "network",
    "what the owner sends to a worker is lost, not what the worker sends: both live, through the third",
    needs=("network",),
    allows=("replaced",),
)
def one_way_to_worker(cluster: Cluster) -> None:
    one_way(cluster, 0, 1)


@scenario(
    "one-way-to-owner",
    "network",
    "what a worker sends to the owner is lost, not what the owner sends: both live, through the third",
    needs=("network",),
    allows=("replaced",),
)
def one_way_to_owner(cluster: Cluster) -> None:
    one_way(cluster, 1, 0)


def one_way(cluster: Cluster, source: int, target: int) -> None:
    running = cluster.submit(sleepers(10), at=0)
    cluster.wait_running(at=1)
    cluster.cut([source], [target], one_way=True)
    given = cluster.submit(mixed(projects=1), at=0)
    for evaluation in (running, given):  # though the cable stays as it is
        cluster.wait_ended(evaluation, at=0, patience=60.0)
    cluster.heal()


@scenario(
    "cut-2s",
    "network",
    "the cable of each node in turn, twice, is out for 2 s: no death",
    needs=("network",),
)
def cut_short(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(24))
    cluster.wait_running(at=1)
    for node in cluster.nodes * 2:  # the moment within the round of pings differs
        cluster.isolate(node.number)
        cluster.hold(2.0)
        cluster.heal()
        cluster.hold(2.0)
    cluster.wait_ended(evaluation)
    nobody_died(cluster)


@scenario(
    "flap-1s",
    "network",
    "a worker's cable is out for 1 s and in for 1 s, ten times: no death",
    needs=("network",),
)
def flap_quickly(cluster: Cluster) -> None:
    evaluations = [cluster.submit(sleepers(8), at=number) for number in (0, 1)]
    cluster.wait_running(at=1)
    flap(cluster, times=10, seconds=1.0)
    for evaluation in evaluations:
        cluster.wait_ended(evaluation)
    nobody_died(cluster)


@scenario(
    "flap-4s",
    "network",
    "a worker's cable is out for 4 s and in for 4 s, five times: it may be declared dead each time",
    needs=("network",),
    allows=("replaced",),
)
def flap_slowly(cluster: Cluster) -> None:
    evaluations = [cluster.submit(sleepers(12), at=number) for number in (0, 1)]
    cluster.wait_running(at=1)
    flap(cluster, times=5, seconds=4.0)
    for evaluation in evaluations:
        cluster.wait_ended(evaluation)


def flap(cluster: Cluster, times: int, seconds: float) -> None:
    for _ in range(times):
        cluster.isolate(1)
        cluster.hold(seconds)
        cluster.heal()
        cluster.hold(seconds)


# Bad ------------------------------------------------------------------------------------------


@scenario(
    "slow-link",
    "network",
    "a project of 20 MB comes to a node whose cable to the two others takes 33 s for it: no death",
    needs=("network",),
)
def slow_link(cluster: Cluster) -> None:
    everybody = [node.number for node in cluster.nodes]
    cluster.degrade(Rule(rate=_SLOW), [0], everybody)
    evaluation = cluster.submit(work(PASSING, FAILING, sleeping(1.0), projects=4, ballast=_PROJECT), at=0)
    cluster.wait_ended(evaluation, at=0, patience=180.0)
    cluster.wait_ended(evaluation, at=1)
    nobody_died(cluster)


@scenario(
    "slow-link-one-near",
    "network",
    "as slow-link, but one of the two others is near: that one has the copy, and hands it on",
    needs=("network",),
)
def slow_link_one_near(cluster: Cluster) -> None:
    cluster.degrade(Rule(rate=_SLOW), [0], [1])
    evaluation = cluster.submit(work(PASSING, FAILING, sleeping(1.0), projects=4, ballast=_PROJECT), at=0)
    cluster.wait_ended(evaluation, at=0, patience=180.0)
    nobody_died(cluster)


@scenario(
    "late-and-twice",
    "network",
    "every frame is 50 to 350 ms late, so that they overtake each other, and 20 % come twice: no death",
    needs=("network",),
)
def late_and_twice(cluster: Cluster) -> None:
    evaluations = [cluster.submit(sleepers(4), at=0)]
    cluster.wait_running(at=1)
    cluster.degrade(_LATE)
    evaluations += [cluster.submit(mixed(projects=1), at=number) for number in (1, 2)]
    for evaluation in evaluations:
        cluster.wait_ended(evaluation)
    cluster.heal()
    assert cluster.frames()["duplicated"] > 0
    nobody_died(cluster)


@scenario(
    "late-and-killed",
    "network",
    "every frame is 50 to 350 ms late and 20 % come twice, and the owner is killed",
    needs=("network",),
    allows=("replaced",),
)
def late_and_killed(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8), at=0)
    cluster.wait_running(at=1)
    cluster.degrade(_LATE)
    cluster.hold(2.0)
    fault = cluster.kill(0)
    cluster.expect_death(fault, (GONE[0], GONE[1] + 2.0), room=False)
    cluster.wait_ended(evaluation)
    cluster.heal()
