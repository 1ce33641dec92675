"""Processes that end at the worst moments; nodes that come, go, and come back with other data than they had."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import requests

from tests.faults.cluster import Cluster
from tests.faults.corpus import (
    ENDLESS_POISON,
    FAILING,
    PASSING,
    Work,
    counting,
    mixed,
    sleepers,
    sleeping,
    work,
)
from tests.faults.inside import has_archives, holders, recorded
from tests.faults.model import scenario
from tests.faults.scenarios.process import GONE

WAITS = "Waits for a node that has its files"

# At one moment of the work ------------------------------------------------------------------


@scenario(
    "kill-before-report",
    "process",
    "kill -9 of a worker whose modules have ended and whose owner, out of its reach, has not heard of it",
    needs=("network",),
)
def kill_before_report(cluster: Cluster) -> None:
    evaluation = cluster.submit(work(sleeping(1.5), projects=6), at=0)
    cluster.wait_running(at=2)
    cluster.cut([2], [0])
    ran = cluster.running_at(2)
    cluster.wait(lambda: _is_quiet(cluster, 2), "the modules of node 2 to end")
    fault = cluster.kill(2)
    cluster.expect_death(fault, (0.0, 5.0))  # the owner cannot see that its connections are refused
    cluster.heal()
    shown = cluster.wait_ended(evaluation, at=0)["module_results"]
    assert ran
    assert all(shown[project][module]["attempts"] > 1 for _, project, module in ran), "the reports had arrived"


@scenario(
    "kill-after-202",
    "process",
    "kill -9 of the node that takes submissions, right after its last 202, three times",
    is_short=True,
)
def kill_after_acknowledgement(cluster: Cluster) -> None:
    for count in (1, 3, 5):
        arbiter, node, *others = cluster[0].tree()  # looked up before, so that next to no time goes by afterwards
        cluster.disturbances.begin(0, now=time.time(), is_process=True)
        taken = [cluster.submit(work(PASSING, FAILING, ballast=1_000_000 + number), at=0) for number in range(count)]
        for process in (node, arbiter, *others):
            process.send(signal.SIGKILL)
        cluster[0].kill()
        for evaluation in taken:
            cluster.wait_ended(evaluation, at=1)
        cluster.start(0)
        cluster.wait_joined()


@scenario(
    "kill-before-the-end",
    "process",
    "kill -9 of the owner while the last module runs, and three times as the last one ends",
)
def kill_before_last_write(cluster: Cluster) -> None:
    for at, done, seconds in ((0, 3, 2.0), (1, 4, 1.0), (2, 4, 1.5), (0, 4, 0.7)):
        evaluation = cluster.submit(work(PASSING, FAILING, sleeping(0.2), sleeping(seconds)), at=at)
        cluster.wait(partial(_have_ended, cluster, evaluation, at, done), f"{done} of 4 modules to end")
        _power_cut(cluster, at)
        cluster.wait_ended(evaluation)
        cluster.start(at)
        cluster.wait_joined()


@scenario(
    "kill-node-process",
    "process",
    "kill -9 of only the process in which a node lives: all of the node ends",
)
def kill_node_process(cluster: Cluster) -> None:
    _kill_half(cluster, "worker")


@scenario("kill-arbiter", "process", "kill -9 of only the parent of a node's process: all of the node ends")
def kill_arbiter(cluster: Cluster) -> None:
    _kill_half(cluster, "arbiter")


def _kill_half(cluster: Cluster, which: str) -> None:
    evaluation = cluster.submit(sleepers(8, 4.0), at=0)
    for number in range(3):  # so that all have the environment at hand
        cluster.wait_running(at=number)
    fault = cluster.kill(2, only=which)
    cluster.expect_death(fault, GONE)
    with contextlib.suppress(requests.ConnectionError):
        cluster[2].get("/health", timeout=2)
        raise AssertionError("node 2 still answers")
    cluster.wait_ended(evaluation)


@scenario(
    "kill-while-draining", "process", "SIGTERM, and kill -9 of the owner while it waits for the modules that it runs"
)
def kill_while_draining(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(10, 4.0), at=0)
    cluster.wait_running(at=0)
    process = cluster[0].process
    assert process is not None
    cluster.disturbances.begin(0, now=time.time(), is_process=True)
    process.terminate()
    cluster.wait(lambda: cluster[0].request("GET", "/health", timeout=5).status_code == 503, "node 0 to drain")
    assert cluster[0].is_running
    cluster.kill(0)
    cluster.wait_ended(evaluation)


# Many at once -------------------------------------------------------------------------------


@scenario("kill-4-of-5", "process", "kill -9 of four nodes of five, the owner first, 10 s apart", nodes=5)
def kill_one_after_the_other(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(60, 6.0), at=0)
    cluster.wait_running(at=0)
    for number in range(4):
        fault = cluster.kill(number)
        # What ran there may have to wait for long: nobody has room, and what was lost three times runs alone.
        cluster.expect_death(replace(fault, running=frozenset()), GONE)
        if number < 3:
            cluster.hold(max(0.0, 10.0 - cluster.since(fault)))
    cluster.wait_ended(evaluation, at=4)


@scenario(
    "kill-4-of-5-at-once",
    "process",
    "kill -9 of all nodes at once but one without the files: it says for whom it waits, and goes on when one is back",
    nodes=5,
)
def kill_all_but_one(cluster: Cluster) -> None:
    evaluation = cluster.submit(work(sleeping(6.0), projects=2), at=0)
    cluster.wait(lambda: cluster.document(evaluation)["_run_info"]["running"] == 2, "both modules to run")
    known = recorded(cluster[0], evaluation)
    having = [node.number for node in cluster.nodes if has_archives(node, known)]
    survivor = max({1, 2, 3, 4} - set(having))
    _power_cut(cluster, *({0, 1, 2, 3, 4} - {survivor}))
    cluster.wait(lambda: _is_waiting(cluster, evaluation, survivor), f"node {survivor} to say that it waits", 30)
    back = next(number for number in holders(cluster, evaluation, survivor) if number != 0)
    cluster.start(back)
    cluster.wait_ended(evaluation, at=survivor)
    cluster.start(*({0, 1, 2, 3, 4} - {survivor, back}))
    cluster.wait_joined()


@scenario("kill-all", "process", "kill -9 of all nodes at once while an evaluation runs, then all are started, twice")
def kill_all(cluster: Cluster) -> None:
    for at in (0, 2):
        evaluation = cluster.submit(mixed(projects=1), at=at)
        # Whichever: of what ran before a node may have all, since it has it at hand.
        cluster.wait(lambda: any(cluster.running_at(number) for number in range(3)), "a module to run")
        _power_cut(cluster, 0, 1, 2)
        cluster.start(0, 1, 2)
        cluster.wait_joined()
        cluster.wait_ended(evaluation)


@scenario("kill-all-in-turn", "process", "kill -9 of all nodes at once; they are started again with 6 s between them")
def kill_all_in_turn(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(10), at=0)
    cluster.wait_running(at=1)
    _power_cut(cluster, 0, 1, 2)
    for number in (2, 1, 0):
        cluster.start(number)
        cluster.hold(6.0)
    cluster.wait_joined()
    cluster.wait_ended(evaluation)


# In good order ------------------------------------------------------------------------------


@scenario(
    "rolling-restart",
    "process",
    "each of four nodes is told to end and started again, one after the other, under load: none runs a module again",
    nodes=4,
    settings={"MESH_SANDBOX": "none"},  # the modules leave a line each time they run
)
def rolling_restart(cluster: Cluster) -> None:
    lines = cluster[0].folder.parent / "runs"
    lines.touch()
    lines.chmod(0o666)
    at_work = [True] * 4

    def others() -> list[int]:
        return [number for number in range(4) if at_work[number]]

    load = work(PASSING, counting(lines, 1.0), counting(lines, 2.5))
    with _submitting(cluster, others, load, every=1.2):
        for number in range(4):
            cluster.wait(lambda: cluster.running_at(number), f"node {number} to run something")  # noqa: B023
            at_work[number] = False
            status = cluster.terminate(number)
            if status:
                cluster.break_("drain", f"node {number} ended with {status}")
            cluster.start(number)
            cluster.wait_joined()
            at_work[number] = True
    for evaluation in tuple(cluster.accepted):
        cluster.wait_ended(evaluation)
    again = len(lines.read_text().split()) - 2 * len(cluster.accepted)
    if again:
        cluster.break_("drain", f"of {2 * len(cluster.accepted)} modules that count, {again} ran more than once")


# Nodes that come and go ---------------------------------------------------------------------


@scenario("join-five", "process", "five nodes join a mesh of one at the same moment, while it works", nodes=6)
def join_five(cluster: Cluster) -> None:
    everybody = range(6)
    _power_cut(cluster, *everybody)
    for number in everybody:
        cluster.wipe(number)
    cluster.start(0)
    cluster.wait(cluster[0].is_healthy, "node 0 to start")
    evaluation = cluster.submit(sleepers(12), at=0)
    cluster.wait_running(at=0)
    assert cluster[0].get("/peers") == []
    cluster.start(1, 2, 3, 4, 5)
    cluster.wait_joined()
    shown = cluster.wait_ended(evaluation)["module_results"]
    if len({result["node"] for modules in shown.values() for result in modules.values()}) == 1:
        cluster.break_("join", "the nodes that joined were given no module")


@scenario(
    "empty-store",
    "process",
    "a holder comes back on its address with an empty disk, and has all again; then the owner, the other holder, goes",
)
def empty_store(cluster: Cluster) -> None:
    earlier = cluster.submit(work(PASSING, FAILING), at=0)
    cluster.wait_ended(earlier)
    evaluation = cluster.submit(sleepers(30, 4.0), at=0)
    victim = next(number for number in holders(cluster, evaluation, 0) if number != 0)
    cluster.wait_running(at=victim)
    cluster.kill(victim)
    cluster.wipe(victim)
    cluster.start(victim)
    cluster.wait_joined()
    _wait_holding(cluster, evaluation, victim)
    cluster.wait(lambda: cluster.document(earlier, victim) == cluster.document(earlier, 0), "the records to come back")
    assert not cluster.document(evaluation, 0)["finished_at"], "too late to show anything"
    cluster.kill(0)
    cluster.wait_ended(evaluation, at=victim)


@scenario(
    "stale-store",
    "process",
    "a node comes back with the disk of some time ago: what ended since, and what runs, is not undone",
)
def stale_store(cluster: Cluster) -> None:
    cluster.wait_ended(cluster.submit(work(PASSING, FAILING), at=1))
    running = cluster.submit(sleepers(6, 1.5), at=1)
    cluster.wait_running(at=1)
    cluster.kill(1)
    snapshot = cluster[1].snapshot()  # of an owner, in the middle of its work
    cluster.start(1)
    cluster.wait_joined()
    cluster.wait_ended(running)
    cluster.wait_ended(cluster.submit(work(FAILING, sleeping(0.5)), at=1))
    evaluation = cluster.submit(sleepers(10), at=1)
    cluster.wait_running(at=2)
    cluster.kill(1)
    cluster.restore(1, snapshot)
    cluster.start(1)
    cluster.wait_joined()
    cluster.wait_ended(evaluation)


@scenario(
    "gone-for-good",
    "process",
    "one holder of an unfinished evaluation goes for good; once there is a new copy, the other one goes too",
    nodes=4,
)
def gone_for_good(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(30, 4.0), at=0)
    first = holders(cluster, evaluation, 0)
    other = next(number for number in first if number != 0)
    cluster.wait_running(at=other)
    cluster.kill(0)
    new = cluster.wait(lambda: set(holders(cluster, evaluation, other)) - set(first), "a new copy", 20).pop()
    _wait_holding(cluster, evaluation, new)
    assert not cluster.document(evaluation, other)["finished_at"], "too late to show anything"
    cluster.kill(other)
    cluster.wait_ended(evaluation)


# What modules and neighbours do -------------------------------------------------------------


@scenario(
    "module-kills-nodes",
    "process",
    "a module takes down every node that runs it: it ends as crashed, everything beside it as it should",
)
def module_kills_nodes(cluster: Cluster) -> None:
    beside = cluster.submit(work(PASSING, FAILING, sleeping(3.0), sleeping(1.0)), at=1)
    poison = cluster.submit(work(ENDLESS_POISON, PASSING), at=0)
    attempt = killed = 0
    while attempt >= 0:
        victim, attempt = cluster.wait(partial(_poisoned, cluster, poison, attempt), "it to run once more, or to end")
        if attempt > 0:
            killed += 1
            cluster.kill(victim)
            cluster.start(victim)
    cluster.wait_ended(beside)
    cluster.wait_joined()
    if killed != 4:
        cluster.break_("poison", f"it took down {killed} nodes, not 3 and the one where it ran alone")


@scenario("busy-processors", "process", "other programs burn all processors for 20 s while evaluations run: no death")
def busy_processors(cluster: Cluster) -> None:
    count = 3 * (os.cpu_count() or 1)
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        until = time.monotonic() + 20.0
        while time.monotonic() < until:
            cluster.wait_ended(cluster.submit(sleepers(6, 1.0)))
    finally:
        for process in burning:
            process.kill()
            process.wait()


# Helpers ------------------------------------------------------------------------------------


def _power_cut(cluster: Cluster, *numbers: int) -> None:
    """kill -9 of these with nothing asked before, so that little time goes by between them."""
    for number in numbers:
        cluster.disturbances.begin(number, now=time.time(), is_process=True)
        cluster[number].stop()
    for number in numbers:
        cluster[number].kill()


@contextlib.contextmanager
def _submitting(cluster: Cluster, where: Callable[[], list[int]], load: Work, *, every: float = 0.0) -> Iterator[None]:
    """A client that submits all the time, to the nodes in turn. Who gives no 202 has promised nothing."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        turn = 0
        while not ended.is_set():
            numbers = where()
            turn += 1
            try:
                cluster.submit(load, at=numbers[turn % len(numbers)])
            except requests.RequestException:
                ended.wait(0.05)
            except AssertionError as error:
                failed.append(error)
                return
            ended.wait(every)

    thread = threading.Thread(target=run, name="client")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    for error in failed:
        raise error


def _poisoned(cluster: Cluster, evaluation: str, before: int) -> tuple[int, int] | None:
    """The living node that runs its first module, and at which attempt after `before`; -1 where all has ended."""
    shown = cluster.document(evaluation)
    result = shown["module_results"]["p00"]["test_00.py"]
    if shown["finished_at"]:
        return -1, -1
    running = [node.number for node in cluster.answering() if node.address == result["node"]]
    is_new = result["verdict"] == "running" and result["attempts"] > before
    return (running[0], result["attempts"]) if running and is_new else None


def _is_quiet(cluster: Cluster, number: int) -> bool:
    return bool(cluster[number].get("/health", timeout=5)["running"] == 0)


def _have_ended(cluster: Cluster, evaluation: str, at: int, count: int) -> bool:
    return bool(cluster.document(evaluation, at)["_run_info"]["executed"] >= count)


def _is_waiting(cluster: Cluster, evaluation: str, at: int) -> bool:
    projects = cluster.document(evaluation, at)["projects"].values()
    return any(project["detail"].startswith(WAITS) for project in projects)


def _wait_holding(cluster: Cluster, evaluation: str, number: int) -> None:
    """Until a node has what it promised to keep; it may have to hear of the evaluation first."""
    other = next(node for node in cluster.answering() if node.number != number)
    wanted = recorded(other, evaluation)
    cluster.wait(lambda: has_archives(cluster[number], wanted), f"the files to be on {number}", 20)
