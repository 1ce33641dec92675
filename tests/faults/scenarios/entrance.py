"""Through a real Nginx: whoever asks there does not notice that a node is gone."""

import contextlib
import itertools
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import requests

from testmesh.local import nginx
from tests.faults.cluster import Cluster
from tests.faults.cluster_node import ClusterNode
from tests.faults.corpus import PASSING, sleepers, work
from tests.faults.model import scenario
from tests.support.mesh import ROOT
from tests.support.ports import reserved_ports

_REQUESTS = 200
_LASTS_S = 20.0  # those requests
_BACK_S = 5.0  # until Nginx asks a node again that was gone
_POST_EVERY = 20  # requests
_DRAINING = 503
_BALLAST = 8_000_000  # bytes


class Entrance:
    """Nginx with default.conf before all nodes, in the first one's network: that stays where its node does not."""

    def __init__(self, cluster: Cluster, port: int) -> None:
        self._cluster = cluster
        self._url = f"http://127.0.0.1:{port}"

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        return self._cluster[0].session.request(
            method, f"{self._url}{path}", **{"timeout": 60, "headers": {"Connection": "close"}, **arguments}
        )

    def submit(self, archive: bytes, key: str) -> requests.Response:
        headers = {"Connection": "close", "Idempotency-Key": key}
        return self.request("POST", "/evaluation", files={"file": ("class.zip", archive)}, headers=headers)


@contextlib.contextmanager
def entrance(cluster: Cluster) -> Iterator[Entrance]:
    program = nginx.find_nginx()
    assert program is not None, "Nginx is not installed"
    folder = cluster[0].folder.parent / "nginx"
    configuration = (ROOT / "default.conf").read_text()
    namespace = cluster[0].namespace
    with reserved_ports(1) as (port,):
        nginx.prepare(folder, configuration, port, [node.address for node in cluster.nodes])
        with namespace.entered() if namespace else contextlib.nullcontext():
            process = subprocess.Popen(nginx.command(program, folder), stdin=subprocess.DEVNULL)
        found = Entrance(cluster, port)
        try:
            cluster.wait(lambda: process.poll() is not None or found.request("GET", "/stats").ok, "Nginx to answer", 20)
            assert process.poll() is None, (folder / "error.log").read_text()
            yield found
        finally:
            process.terminate()
            process.wait(20)


def ask_while(
    cluster: Cluster, through: Entrance, name: str, evaluation: str, hurt: Callable[[], object], tries: int = 1
) -> None:
    """200 requests, evenly spread; `hurt` is called after the first quarter. None of them may fail.

    tries   of a submission, with its key, where a node answers that it is leaving
    """
    failed: list[str] = []
    statuses: Counter[int] = Counter()
    paths = itertools.cycle(("/stats", "/evaluation", f"/evaluation/{evaluation}", "/peers", "/network"))
    small = work(PASSING)

    def ask(number: int, path: str) -> None:
        what = f"POST {number}" if number % _POST_EVERY == 0 else f"GET {path}"
        try:
            if number % _POST_EVERY == 0:
                for _ in range(tries):
                    answer = through.submit(small.archive, f"{name}-{number}")
                    if answer.status_code != _DRAINING:
                        break
            else:
                answer = through.request("GET", path)
        except requests.RequestException as error:
            failed.append(f"{what}: {type(error).__name__}")
            return
        statuses[answer.status_code] += 1
        if answer.status_code not in (200, 202):
            failed.append(f"{what}: {answer.status_code} {answer.text[:200]}")
        elif answer.status_code == 202:
            cluster.accept(answer.json()["id"], small)

    begun = time.monotonic()
    with ThreadPoolExecutor(16) as threads:
        for number, path in zip(range(_REQUESTS), paths, strict=False):
            cluster.hold(max(0.0, begun + number * _LASTS_S / _REQUESTS - time.monotonic()))
            threads.submit(ask, number, path)
            if number == _REQUESTS // 4:
                hurt()
    if failed or statuses.total() != _REQUESTS:
        cluster.break_("entrance", f"{name}: {len(failed)} of {_REQUESTS} failed: {failed[:5]}; {dict(statuses)}")


@scenario(
    "entrance-kill",
    "client",
    "each node in turn is killed, the first and the owner too, while 200 requests a time come through Nginx",
    nodes=4,
    needs=("nginx",),
)
def entrance_kill(cluster: Cluster) -> None:
    with entrance(cluster) as through:
        for node in cluster.nodes:
            evaluation = cluster.submit(sleepers(6, seconds=2.0), at=node.number)  # which it then owns
            ask_while(cluster, through, f"kill-{node.number}", evaluation, partial(cluster.kill, node.number))
            cluster.start(node.number)
            cluster.wait_joined()
            cluster.hold(_BACK_S)


@scenario(
    "entrance-rolling",
    "client",
    "each node in turn gets SIGTERM and is started again, while 200 requests a time come through Nginx",
    nodes=4,
    needs=("nginx",),
)
def entrance_rolling(cluster: Cluster) -> None:
    with entrance(cluster) as through, ThreadPoolExecutor(1) as hands:
        for node in cluster.nodes:
            evaluation = cluster.submit(sleepers(6, seconds=2.0), at=node.number)
            end = partial(hands.submit, cluster.terminate, node.number)
            ask_while(cluster, through, f"terminate-{node.number}", evaluation, end, tries=5)
            cluster.wait(lambda node=node: not node.is_running, "it to end")  # type: ignore[misc]
            cluster.start(node.number)
            cluster.wait_joined()
            cluster.hold(_BACK_S)


@scenario(
    "entrance-upload",
    "client",
    "the node that takes an upload through Nginx is killed in the middle of it; the client sends it again",
    needs=("nginx",),
)
def entrance_upload(cluster: Cluster) -> None:
    given = work(PASSING, ballast=_BALLAST)
    whole = requests.Request("POST", "http://mesh", files={"file": ("class.zip", given.archive)}).prepare()
    assert isinstance(whole.body, bytes)
    body, form = whole.body, str(whole.headers["Content-Type"])
    arrived: list[int] = []

    def pieces() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        arrived.append(cluster.wait(partial(who_takes, cluster), "an upload to arrive").number)
        cluster.kill(arrived[0])
        yield body[len(body) // 2 :]

    with entrance(cluster) as through:
        headers = {"Connection": "close", "Idempotency-Key": "an upload", "Content-Type": form}
        status = 0
        with contextlib.suppress(requests.ConnectionError):  # or its answer
            status = through.request("POST", "/evaluation", data=pieces(), headers=headers).status_code
        if status not in (0, 502):
            cluster.break_("entrance", f"the upload to a node that is gone was answered with {status}")
        answer = through.submit(given.archive, "an upload")
        assert answer.status_code == 202, answer.text
        cluster.accept(answer.json()["id"], given)
        cluster.start(arrived[0])
        cluster.wait_joined()
        if left := list((cluster[arrived[0]].data).rglob("upload-*")):
            cluster.break_("F", f"node {arrived[0]} has left {left}")


def who_takes(cluster: Cluster) -> ClusterNode | None:
    """The node to which a part of an upload has come."""
    return next((node for node in cluster.answering() if any(node.data.rglob("upload-*"))), None)
