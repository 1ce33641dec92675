"""Wall clocks that jump, or were wrong from the beginning: nothing but what people read may depend on them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement

from tests.faults.cluster import Cluster
from tests.faults.cluster_node import ClusterNode
from tests.faults.corpus import PASSING, Expected, Work, mixed, sleepers, work
from tests.faults.model import scenario
from tests.faults.scenarios.clock import HOUR
from tests.faults.scenarios.process import GONE, nobody_died
from tests.support.mesh import zip_of
from tests.support.wheels import make_project

_YEAR = 365 * 24 * HOUR
_SLACK_S = 2.0
_BUILD_S = 6
_KEPT = 3


@contextmanager
def timed(cluster: Cluster) -> Iterator[list[str]]:
    """Evaluations that are put into the list within it last no longer than it, and more than nothing."""
    found: list[str] = []
    begun = time.monotonic()
    yield found
    took = time.monotonic() - begun + _SLACK_S
    for evaluation in found:
        for node in cluster.answering():
            shown = cluster.document(evaluation, node.number)["_run_info"]["eval_time"]
            if not 0 < shown <= took:
                cluster.break_("clock", f"node {node.number}: {evaluation} took {shown} s, and that is not so")


def all_work(cluster: Cluster) -> None:
    """Nodes believe each other's signatures: what each is given in turn is copied, shared out, and ends everywhere."""
    for node in cluster.nodes:
        evaluation = cluster.submit(sleepers(6, seconds=1.0), at=node.number)
        document = cluster.wait_ended(evaluation)
        ran_on = {one["node"] for modules in document["module_results"].values() for one in modules.values()}
        if len(ran_on) < 2:
            cluster.break_("clock", f"what node {node.number} was given ran only on {ran_on}")


def nothing_ran_twice(cluster: Cluster) -> None:
    for evaluation in cluster.accepted:
        for modules in cluster.document(evaluation)["module_results"].values():
            for module, shown in modules.items():
                if shown["attempts"] != 1:
                    cluster.break_("clock", f"{evaluation} {module} ran {shown['attempts']} times")


# Jumps ----------------------------------------------------------------------------------------


@scenario(
    "clock-one-behind",
    "clock",
    "the clock of a worker jumps an hour ahead while an evaluation runs, and then two back",
    needs=("clock",),
)
def one_behind(cluster: Cluster) -> None:
    jumps(cluster, [1])


@scenario(
    "clock-owner",
    "clock",
    "the owner's clock jumps an hour ahead while its evaluation runs, and then two back",
    needs=("clock",),
)
def owner(cluster: Cluster) -> None:
    jumps(cluster, [0])


@scenario(
    "clock-all",
    "clock",
    "all clocks jump an hour ahead at once while an evaluation runs, and then two back",
    needs=("clock",),
)
def everybody(cluster: Cluster) -> None:
    jumps(cluster, [0, 1, 2])


def jumps(cluster: Cluster, numbers: list[int]) -> None:
    with timed(cluster) as measured:
        measured.append(cluster.submit(sleepers(10), at=0))
        cluster.wait_running(at=1)
        for shift in (HOUR, -HOUR):
            for number in numbers:
                cluster.jump_clock(number, shift)
            cluster.hold(2.0)
        cluster.wait_ended(measured[0])
    all_work(cluster)
    nothing_ran_twice(cluster)
    nobody_died(cluster)


@scenario(
    "clock-back-and-kill",
    "clock",
    "the clocks of two nodes jump an hour back while an evaluation runs, and the third is killed: they notice in time",
    needs=("clock",),
)
def back_and_kill(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8), at=0)
    cluster.wait_running(at=2)
    for number in (0, 1):
        cluster.jump_clock(number, -HOUR)
    cluster.hold(2.0)
    fault = cluster.kill(2)
    cluster.expect_death(fault, GONE)
    cluster.wait_ended(evaluation)


@scenario(
    "clock-owner-dies",
    "clock",
    "the owner's clock is an hour ahead when it is killed; whoever takes over says how long it took",
    needs=("clock",),
)
def owner_dies(cluster: Cluster) -> None:
    cluster.jump_clock(0, HOUR)
    with timed(cluster) as measured:
        measured.append(cluster.submit(sleepers(8), at=0))
        cluster.wait_running(at=1)
        cluster.kill(0)
        cluster.wait_ended(measured[0])
        cluster.start(0)
        cluster.wait_joined()


@scenario(
    "clock-restart",
    "clock",
    "all nodes are killed while an evaluation runs, and started with clocks an hour ahead",
    needs=("clock",),
)
def restart(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8), at=0)  # how long it takes is not asked: nobody is left who could know
    cluster.wait_running(at=1)
    for node in cluster.nodes:
        cluster.kill(node.number)
    for node in cluster.nodes:
        cluster.jump_clock(node.number, HOUR)
        cluster.start(node.number)
    cluster.wait_joined()
    cluster.wait_ended(evaluation)


@scenario(
    "clock-entrance",
    "clock",
    "the clock of the node that takes submissions jumps between them",
    needs=("clock",),
)
def entrance(cluster: Cluster) -> None:
    with timed(cluster) as measured:
        for number, shift in enumerate((0.0, HOUR, -HOUR, 0.0)):
            cluster.jump_clock(0, shift)
            measured.append(cluster.submit(sleepers(3, seconds=1.0), at=0, key=f"key {number}"))
        for evaluation in measured:
            cluster.wait_ended(evaluation)
    listed = [one["id"] for one in cluster[1].get("/evaluation")["evaluations"]]
    if sorted(listed) != sorted(cluster.accepted):
        cluster.break_("clock", f"the list is {listed}")
    nothing_ran_twice(cluster)
    nobody_died(cluster)


# Wrong from the beginning ---------------------------------------------------------------------


@scenario("clock-1970", "clock", "a node starts on the first of January 1970", needs=("clock",))
def long_ago(cluster: Cluster) -> None:
    starts_with(cluster, HOUR - time.time())


@scenario("clock-2040", "clock", "a node starts in the year 2040", needs=("clock",))
def far_ahead(cluster: Cluster) -> None:
    starts_with(cluster, 14 * _YEAR)


def starts_with(cluster: Cluster, shift: float) -> None:
    before = cluster.submit(mixed(projects=1), at=0)
    cluster.wait_running(at=1)
    cluster.terminate(2)
    cluster.jump_clock(2, shift)
    cluster.start(2)
    cluster.wait_joined()
    with timed(cluster) as measured:
        measured.append(cluster.submit(sleepers(4), at=0))
        measured.append(cluster.submit(sleepers(4), at=2))
        for evaluation in measured:
            cluster.wait_ended(evaluation)
    cluster.wait_ended(before)
    all_work(cluster)


# What goes by age -----------------------------------------------------------------------------


@scenario(
    "clock-retention",
    "clock",
    "of four evaluations three are kept: the last three, also where the clock was an hour behind for the last",
    needs=("clock",),
    settings={"MESH_KEEP_EVALUATIONS": str(_KEPT), "MESH_KEEP_DAYS": "1"},
)
def retention(cluster: Cluster) -> None:
    first = cluster[0].submit(work(PASSING).archive)  # not among those that must be there at the end
    cluster.wait_ended(first)
    for shift in (HOUR, 0.0, -HOUR):
        cluster.jump_clock(0, shift)
        cluster.wait_ended(cluster.submit(work(PASSING), at=0))
    for node in cluster.nodes:
        cluster.wait(partial(lists, node, set(cluster.accepted)), f"node {node.number} to keep the last", 20.0)
        totals = node.get("/stats")["all"]
        if totals["evaluations"] != _KEPT + 1 or totals["passed"] != 2 * (_KEPT + 1):
            cluster.break_("clock", f"node {node.number}: the totals of all are {totals}")


@scenario(
    "clock-retention-2040",
    "clock",
    "evaluations are kept for 30 days, and a node starts in the year 2040: none is dropped",
    needs=("clock",),
    settings={"MESH_KEEP_DAYS": "30"},
)
def retention_far_ahead(cluster: Cluster) -> None:
    evaluations = [cluster.submit(work(PASSING), at=number) for number in (0, 1)]
    for evaluation in evaluations:
        cluster.wait_ended(evaluation)
    cluster.terminate(2)
    cluster.jump_clock(2, 14 * _YEAR)
    cluster.start(2)
    cluster.wait_joined()
    cluster.wait_ended(cluster.submit(work(PASSING), at=2))
    for evaluation in evaluations:
        cluster.document(evaluation, at=0)


def lists(node: ClusterNode, ids: set[str]) -> bool:
    return {one["id"] for one in node.get("/evaluation")["evaluations"]} == ids


# While something is built ---------------------------------------------------------------------


@scenario(
    "clock-build",
    "clock",
    f"all clocks jump an hour back while each node builds an environment for {_BUILD_S} s, and later two ahead",
    needs=("clock",),
)
def build(cluster: Cluster) -> None:
    links = cluster[0].folder.parent / "wheels"
    wheels_of("pytest", links)
    for node in cluster.nodes:
        cluster.terminate(node.number)
        node.environ |= {"PIP_FIND_LINKS": str(links), "PIP_NO_INDEX": "1"}
    cluster.start(*(node.number for node in cluster.nodes))
    cluster.wait_joined()
    known = {node.number: built(node.data) for node in cluster.nodes}
    with timed(cluster) as measured:
        measured.append(cluster.submit(slow_to_build(cluster[0].folder / "project"), at=0))
        cluster.wait(
            lambda: any((node.data / "environments").glob("*/*/work") for node in cluster.nodes), "a build to begin"
        )
        for shift in (-HOUR, HOUR):
            for node in cluster.nodes:
                cluster.jump_clock(node.number, shift)
            cluster.hold(_BUILD_S / 3)
        cluster.wait_ended(measured[0])
    if all(built(node.data) == known[node.number] for node in cluster.nodes):
        cluster.break_("clock", "no node has built an environment")
    nobody_died(cluster)


def built(data: Path) -> int:
    return len(list((data / "environments").glob("*/ready.json")))


def slow_to_build(folder: Path) -> Work:
    """Three modules of a project that is installed, which takes _BUILD_S."""
    make_project(folder, "slowly", build=f"import time\ntime.sleep({_BUILD_S})")
    files = {f"p/{path.name}": path.read_bytes() for path in folder.iterdir()}
    modules = [f"test_{number}.py" for number in range(3)]
    files |= {f"p/{module}": b"import slowly\n\ndef test_a():\n    assert slowly.value == 1\n" for module in modules}
    return Work(zip_of(files), {("p", module): Expected("passed", passed=1) for module in modules})


def wheels_of(name: str, folder: Path) -> None:
    """The distribution that is installed here, and what it needs, as wheels: no index is in reach of the nodes."""
    folder.mkdir(mode=0o755, exist_ok=True)
    pending, done = [name], set()
    while pending:
        found = distribution(pending.pop())
        if found.name in done:
            continue
        done.add(found.name)
        wheel(found, folder)
        needed = [Requirement(line) for line in found.requires or ()]
        pending += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]


def wheel(found: Distribution, folder: Path) -> None:
    paths = [str(path) for path in found.files or ()]
    info = next(path.partition("/")[0] for path in paths if path.partition("/")[0].endswith(".dist-info"))
    with ZipFile(folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl", "w") as archive:
        for path in paths:
            if ".." not in path and not path.endswith((".pyc", "/RECORD", "/INSTALLER", "/REQUESTED")):
                archive.write(str(found.locate_file(path)), path)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*archive.namelist(), f"{info}/RECORD"]))
