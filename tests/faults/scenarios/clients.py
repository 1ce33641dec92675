"""What people who use the mesh see of its faults: submissions sent again, cut short or cancelled, and reads."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import requests

from tests.faults.cluster import Cluster
from tests.faults.cluster_node import ClusterNode
from tests.faults.corpus import FAILING, PASSING, Work, mixed, sleepers, sleeping, work
from tests.faults.model import scenario
from tests.support.mesh import wait_for

_BOUNDARY = "a-boundary-of-the-tests"


@scenario(
    "retry-after-202",
    "client",
    "the entrance is killed after its 202; the client sends the same again, with its key, to the others",
)
def retry_after_acknowledgement(cluster: Cluster) -> None:
    sent = work(PASSING, FAILING, sleeping(1.0))
    first = cluster.submit(sent, at=0, key="after")
    cluster.kill(0)
    for at in (1, 2, 1):
        again = cluster.submit(sent, at=at, key="after")
        if again != first:
            cluster.break_("A", f"node {at} knows key of evaluation {first} as {again}")
    cluster.wait_ended(first)
    _expect_count(cluster, 1)


@scenario(
    "retry-before-202",
    "client",
    "the entrance is killed while it takes a submission with a key, sooner or later; it is sent again to another node",
)
def retry_before_acknowledgement(cluster: Cluster) -> None:
    sent = work(PASSING, FAILING, ballast=4_000_000)
    delays = (0.0, 0.02, 0.04, 0.06, 0.09, 0.13)
    for number, delay in enumerate(delays):
        at, key = number % 3, f"before {number}"
        with ThreadPoolExecutor(1) as client:
            answer = client.submit(_posted, cluster[at], sent, key)
            cluster.hold(delay)
            cluster.disturbances.begin(at, now=time.time(), is_process=True)
            cluster[at].kill()
        first = _id_of(answer.result())
        again = cluster.submit(sent, at=(at + 1) % 3, key=key)
        if first is not None and first != again:
            cluster.accept(first, sent)
            cluster.break_("A", f"key {key!r} is {first} at node {at} and {again} at the next")
        cluster.start(at)
        cluster.wait_joined()
        if cluster.submit(sent, at=at, key=key) != again:
            cluster.break_("A", f"key {key!r} is not {again} at node {at}, once it is back")
    for evaluation in tuple(cluster.accepted):
        cluster.wait_ended(evaluation)
    _expect_count(cluster, len(delays))


@scenario("one-key-twice", "client", "two nodes get one key at the same moment, with the same submission")
def one_key_twice(cluster: Cluster) -> None:
    sent = work(PASSING, FAILING)
    for number in range(6):
        answers = _at_once([partial(_posted, cluster[at], sent, f"same {number}") for at in (0, 1)])
        found = {_id_of(answer) for answer in answers} - {None}
        if not found:
            found = {cluster.submit(sent, at=2, key=f"same {number}")}
        if len(found) != 1:
            cluster.break_("A", f"one key became {found}")
        for evaluation in found:
            cluster.accept(str(evaluation), sent)
    for evaluation in tuple(cluster.accepted):
        cluster.wait_ended(evaluation)
    _expect_count(cluster, 6)


@scenario(
    "one-key-two-bodies",
    "client",
    "two nodes get one key at the same moment, with different submissions: never do both become one evaluation",
)
def one_key_two_bodies(cluster: Cluster) -> None:
    both = (work(PASSING), work(FAILING, PASSING))
    for number in range(8):
        key, order = f"different {number}", (both if number % 2 else both[::-1])
        answers = _at_once([partial(_posted, cluster[at], sent, key) for at, sent in enumerate(order)])
        taken = [(found, sent) for answer, sent in zip(answers, order, strict=True) if (found := _id_of(answer))]
        if len(taken) > 1:
            cluster.break_("A", f"two different submissions with one key were acknowledged as {taken[0][0]}")
        for answer in answers:
            if answer is None or answer.status_code not in (202, 409):
                cluster.break_("A", f"an answer was {answer and answer.text}")
        if not taken:  # neither: then whoever tries again must get through
            taken = [(cluster.submit(both[0], at=2, key=key), both[0])]
        cluster.accept(*taken[0])
    for evaluation in tuple(cluster.accepted):
        cluster.wait_ended(evaluation)


@scenario(
    "dies-mid-upload",
    "client",
    "the entrance is killed when it has half of an upload: nothing is left of that",
)
def dies_mid_upload(cluster: Cluster) -> None:
    sent = work(PASSING, ballast=8_000_000)
    with _half_sent(cluster[0], sent):
        wait_for(lambda: _incoming(cluster[0]) > 1_000_000, what="half of the upload to be on node 0")
        cluster.kill(0)
    assert _incoming(cluster[0]), "what was to be cleared away was not there"
    cluster.start(0)
    cluster.wait_joined()
    _expect_count(cluster, 0)
    for node in cluster.nodes:
        left = [path for name in ("incoming", "archives") for path in (node.data / name).iterdir()]
        if left:
            cluster.break_("F", f"node {node.number} has left {left}")
    cluster.wait_ended(cluster.submit(sent))


@scenario(
    "cancel-and-kill",
    "client",
    "the owner is killed right after a cancellation that another node took, and after one that it took itself",
)
def cancel_and_kill(cluster: Cluster) -> None:
    for owner, told, must_hold in ((0, 1, True), (1, 1, False)):
        evaluation = cluster.submit(sleepers(10), at=owner)
        cluster.wait_running(at=2)
        cluster.cancelled.add(evaluation)
        answer = cluster[told].request("DELETE", f"/evaluation/{evaluation}", timeout=10)
        assert answer.status_code == 202, answer.text
        cluster.kill(owner)
        status = cluster.wait_ended(evaluation, at=2)["status"]
        if must_hold and status != "cancelled":
            cluster.break_("A", f"node {told} lives and had said 202 to a cancellation, but the evaluation is {status}")
        cluster.start(owner)
        cluster.wait_joined()


@scenario(
    "reads-during-kill",
    "client",
    "200 reads of the survivors, in turn, while a node is killed: none fails",
)
def reads_during_kill(cluster: Cluster) -> None:
    ended = cluster.submit(work(PASSING, FAILING), at=0)
    cluster.wait_ended(ended)
    running = cluster.submit(mixed(projects=1), at=0)
    cluster.wait_running(at=1)
    paths = (f"/evaluation/{ended}", f"/evaluation/{running}", "/stats", "/evaluation", "/network", "/peers")
    for number in range(200):
        if number == 40:
            killed = threading.Thread(target=cluster.kill, args=(0,))
            killed.start()
        path = paths[number % len(paths)]
        try:
            answer = cluster[1 + number % 2].request("GET", path, timeout=10)
        except requests.RequestException as error:
            cluster.break_("A", f"GET {path}: {error}")
        else:
            if answer.status_code != 200:
                cluster.break_("A", f"GET {path}: {answer.status_code} {answer.text}")
    killed.join()
    cluster.wait_ended(running)


# Helpers ------------------------------------------------------------------------------------


def _posted(node: ClusterNode, sent: Work, key: str) -> requests.Response | None:
    """Its answer, if there is one."""
    files = {"file": ("class.zip", sent.archive)}
    with contextlib.suppress(requests.RequestException):
        return node.request("POST", "/evaluation", files=files, headers={"Idempotency-Key": key}, timeout=30)
    return None


def _id_of(answer: requests.Response | None) -> str | None:
    """What was acknowledged, if it was."""
    return str(answer.json()["id"]) if answer is not None and answer.status_code == 202 else None


def _at_once(calls: Sequence[Callable[[], requests.Response | None]]) -> list[requests.Response | None]:
    barrier = threading.Barrier(len(calls))

    def call(one: Callable[[], requests.Response | None]) -> requests.Response | None:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(calls)) as clients:
        return list(clients.map(call, calls))


def _expect_count(cluster: Cluster, count: int) -> None:
    """Every node lists so many evaluations."""
    for node in cluster.answering():
        try:
            cluster.wait(partial(_lists, node, count), f"node {node.number} to list {count} evaluations", 10)
        except AssertionError as error:
            cluster.break_("A", str(error))


def _lists(node: ClusterNode, count: int) -> bool:
    listed = [one["id"] for one in node.get("/evaluation")["evaluations"]]
    return len(listed) == count == len(set(listed))


@contextlib.contextmanager
def _half_sent(node: ClusterNode, sent: Work) -> Iterator[None]:
    """A client that stops in the middle of its upload, and stays."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="class.zip"\r\n\r\n'.encode()
    body = head + sent.archive + f"\r\n--{_BOUNDARY}--\r\n".encode()
    request = (
        f"POST /evaluation HTTP/1.1\r\nHost: {node.address}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
    ).encode()
    with node.namespace.entered() if node.namespace else contextlib.nullcontext():
        connection = socket.create_connection((node.host, node.port), timeout=30)
    with connection:
        connection.sendall(request + body[: len(body) // 2])
        yield


def _incoming(node: ClusterNode) -> int:
    """Bytes of submissions that it is being sent."""
    return sum(path.stat().st_size for path in (node.data / "incoming").iterdir())
