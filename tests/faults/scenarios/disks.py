"""Disks that are full, files that are damaged, and what is thrown away on purpose."""

import contextlib
from collections.abc import Iterator
from functools import partial

from testmesh.node.membership.ownership import rendezvous
from tests.faults.cluster import Cluster
from tests.faults.cluster_node import ClusterNode
from tests.faults.corpus import FAILING, PASSING, mixed, sleepers, sleeping, work
from tests.faults.inside import has_archives, holders, recorded, said
from tests.faults.model import scenario
from tests.faults.scenarios.process import GONE

MIB = 1024 * 1024
DISK = 320 * MIB
REFILLED_WITHIN_S = 10.0
DAMAGED = "damaged"

# Full ---------------------------------------------------------------------------------------


@scenario(
    "full-owner",
    "disk",
    "the owner's disk is full in the middle of its evaluation: the others end it; later there is room again",
    needs=("disk",),
    disks={0: DISK},
)
def full_owner(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(14, 2.0), at=0)
    cluster.wait_running(at=0)
    cluster.wait_running(at=1)
    with _full(cluster, 0):
        cluster.wait_ended(evaluation, at=1, patience=60)
    cluster.wait(cluster[0].is_healthy, "node 0 to take work again", 10)
    cluster.wait_ended(cluster.submit(work(PASSING, FAILING), at=0))


@scenario(
    "full-worker",
    "disk",
    "a worker's disk is full while it runs modules: the others end them; later there is room again",
    needs=("disk",),
    disks={2: DISK},
)
def full_worker(cluster: Cluster) -> None:
    evaluation = cluster.submit(mixed(projects=2), at=0)
    cluster.wait_running(at=2)
    with _full(cluster, 2):
        cluster.wait_ended(evaluation, at=0, patience=60)
    cluster.wait(cluster[2].is_healthy, "node 2 to take work again", 10)
    again = cluster.submit(sleepers(30, 1.0), at=0)
    cluster.wait_running(at=2)
    cluster.wait_ended(again)


@scenario(
    "full-worker-new-owner",
    "disk",
    "a worker's disk is full, so that it cannot note who drives the evaluation once the owner is killed: it ends",
    needs=("disk",),
    disks={2: DISK},
)
def full_worker_new_owner(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(14), at=0)
    cluster.wait_running(at=2)
    with _full(cluster, 2):
        cluster.kill(0)
        cluster.wait_ended(evaluation, at=1, patience=60)


@scenario(
    "full-copy",
    "disk",
    "the node whose turn it is to take a copy has no room, at the submission and when one is made again: another does",
    nodes=4,
    needs=("disk",),
    disks={3: DISK},
)
def full_copy(cluster: Cluster) -> None:
    others, full = [cluster[number].address for number in (1, 2, 3)], cluster[3].address
    with _full(cluster, 3):
        evaluation = ""
        while not evaluation or rendezvous(evaluation, others)[0] != full:
            evaluation = cluster.submit(sleepers(1, 10.0), at=0)
        first = set(holders(cluster, evaluation, 0))
        (copied,) = first - {0}
        if copied == 3:
            cluster.break_("disk", "a node whose disk is full promised to keep a copy")
        fault = cluster.kill(copied)
        cluster.expect_death(fault, GONE)
        new = cluster.wait(lambda: set(holders(cluster, evaluation, 0)) - first, "a new copy", 20)
        if new == {3}:
            cluster.break_("disk", "a node whose disk is full promised to keep a new copy")
        cluster.kill(0)
        cluster.wait_ended(evaluation, at=(new - {3}).pop())


@contextlib.contextmanager
def _full(cluster: Cluster, number: int) -> Iterator[None]:
    """Its disk has no byte left, and it takes no work."""
    cluster.fill_disk(number)
    try:
        _expect_full(cluster, number)
        yield
    finally:
        cluster.free_disk(number)


def _expect_full(cluster: Cluster, number: int) -> None:
    answer = cluster[number].request("POST", "/evaluation", files={"file": ("class.zip", work(PASSING).archive)})
    if answer.status_code != 507:
        cluster.break_("disk", f"node {number}, its disk full, answered {answer.status_code} {answer.text}")


# Damaged ------------------------------------------------------------------------------------


@scenario(
    "truncated-log",
    "disk",
    "kill -9 of the owner, and its database's write-ahead log loses its second half",
)
def truncated_log(cluster: Cluster) -> None:
    _some_history(cluster)
    evaluation = cluster.submit(sleepers(10), at=1)
    cluster.wait_running(at=1)
    cluster.kill(1)
    cluster[1].damage("mesh.db-wal", keep=0.5)
    cluster.start(1)
    cluster.wait_joined()
    _expect_refilled(cluster, 1)
    cluster.wait_ended(evaluation)


@scenario(
    "spoilt-log",
    "disk",
    "kill -9 of the owner, and its database's write-ahead log is another file's bytes",
)
def spoilt_log(cluster: Cluster) -> None:
    _some_history(cluster)
    evaluation = cluster.submit(sleepers(10), at=1)
    cluster.wait_running(at=1)
    cluster.kill(1)
    (cluster[1].data / "mesh.db-wal").write_bytes(b"not a log" * 1000)
    _expect_mended(cluster, 1, "mesh.db")
    cluster.wait_ended(evaluation)


@scenario(
    "spoilt-database",
    "disk",
    "a node ends in order, the middle third of its database is overwritten, and it starts",
    is_short=True,
)
def spoilt_database(cluster: Cluster) -> None:
    _some_history(cluster)
    evaluation = cluster.submit(sleepers(10), at=0)
    assert cluster.terminate(1) == 0
    size = (cluster[1].data / "mesh.db").stat().st_size
    cluster[1].damage("mesh.db", keep=1.0, garbage=size // 3)
    _expect_mended(cluster, 1, "mesh.db")
    cluster.wait_ended(evaluation)


@scenario("empty-database", "disk", "kill -9 of the owner, and its database has no byte left, the log beside it all")
def empty_database(cluster: Cluster) -> None:
    _some_history(cluster)
    evaluation = cluster.submit(sleepers(10), at=1)
    cluster.wait_running(at=1)
    cluster.kill(1)
    cluster[1].damage("mesh.db", keep=0.0)
    _expect_mended(cluster, 1, "mesh.db")
    cluster.wait_ended(evaluation)


@scenario("spoilt-peers", "disk", "all nodes are killed; one finds the file of its peers damaged")
def spoilt_peers(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8), at=0)
    cluster.wait_running(at=1)
    for number in range(3):
        cluster.kill(number)
    cluster[2].damage("peers.json", keep=0.7)
    cluster.start(0, 1, 2)
    cluster.wait_joined()
    assert said(cluster[2], "peers.json cannot be used"), "it did not say so"
    _expect_aside(cluster[2], "peers.json")
    cluster.wait_ended(evaluation)


@scenario(
    "spoilt-archive",
    "disk",
    "the files of an evaluation are damaged on one of their two holders, which fetches them; then the other is killed",
    nodes=4,
)
def spoilt_archive(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(34, 4.0), at=0)
    known = recorded(cluster[0], evaluation)
    spoilt = next(number for number in holders(cluster, evaluation, 0) if number != 0)
    bystander = next(number for number in (1, 2, 3) if number != spoilt)
    cluster.wait_running(at=bystander)
    (digest,) = known.archives
    cluster[spoilt].damage(f"archives/{digest}.zip", keep=1.0, garbage=64)
    cluster.kill(bystander)  # so that the nodes look at their copies again
    cluster.wait(lambda: said(cluster[spoilt], "is damaged on this disk"), f"node {spoilt} to see it", 20)
    assert list((cluster[spoilt].data / "archives").glob("*.damaged"))
    cluster.wait(lambda: has_archives(cluster[spoilt], known), f"node {spoilt} to have it again", REFILLED_WITHIN_S)
    assert not cluster.document(evaluation, 0)["finished_at"], "too late to show anything"
    cluster.kill(0)
    cluster.wait_ended(evaluation, at=spoilt)


def _some_history(cluster: Cluster) -> None:
    """Enough records for a database of several pages."""
    for at in (0, 1):
        cluster.wait_ended(cluster.submit(work(PASSING, FAILING, projects=3), at=at))


def _expect_mended(cluster: Cluster, number: int, name: str) -> None:
    """It starts, says what it found, puts it aside, and has all its records again."""
    cluster.start(number)
    cluster.wait_joined()
    if not said(cluster[number], f"{name} is damaged"):
        cluster.break_("disk", f"node {number} did not say that its {name} is damaged")
    _expect_aside(cluster[number], name)
    _expect_refilled(cluster, number)


def _expect_aside(node: ClusterNode, name: str) -> None:
    assert list(node.data.glob(f"{name}.damaged*")), f"{name} was not set aside"


def _expect_refilled(cluster: Cluster, number: int) -> None:
    """Of what ended before: what runs goes on changing."""
    ids = [evaluation for evaluation in cluster.accepted if cluster.document(evaluation)["finished_at"]]
    for evaluation in ids:
        cluster.wait(
            partial(_are_equal, cluster, evaluation, number),
            f"node {number} to have evaluation {evaluation} again",
            REFILLED_WITHIN_S,
        )


def _are_equal(cluster: Cluster, evaluation: str, number: int) -> bool:
    other = next(node for node in cluster.answering() if node.number != number)
    return cluster.document(evaluation, number) == cluster.document(evaluation, other.number)


# Thrown away --------------------------------------------------------------------------------


@scenario(
    "pruned-while-away",
    "disk",
    "the nodes keep five evaluations; one is away while seven of twelve are pruned, and comes back with the others",
    settings={"MESH_KEEP_EVALUATIONS": "5"},
)
def pruned_while_away(cluster: Cluster) -> None:
    one = work(PASSING, sleeping(0.2), projects=2)
    for number in range(12):
        if number == 5:
            cluster.kill(2)
        cluster.wait_ended(cluster.submit(one, at=number % 2))
    cluster.start(2)
    cluster.wait_joined()
    newest = list(cluster.accepted)[-5:]
    wanted = {"failed": 0, "passed": 12 * 6, "projects": 2, "evaluations": 12}
    for node in cluster.nodes:
        cluster.wait(partial(_shows, node, newest, wanted), f"node {node.number} to list 5 and count 12", 15)
    for evaluation in tuple(cluster.accepted)[:-5]:
        answer = cluster[2].request("GET", f"/evaluation/{evaluation}", timeout=10)
        if answer.status_code != 404:
            cluster.break_("retention", f"{evaluation} was pruned, but node 2 answers {answer.status_code}")
        del cluster.accepted[evaluation]  # as it should be; the totals were looked at


def _shows(node: ClusterNode, newest: list[str], totals: dict[str, int]) -> bool:
    listed = [one["id"] for one in node.get("/evaluation")["evaluations"]]
    found: dict[str, int] = node.get("/stats")["all"]
    return sorted(listed) == sorted(newest) and found == totals
