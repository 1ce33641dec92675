"""Random faults, many at once, while random evaluations are submitted. All of it is drawn from one seed beforehand.

A run is made of rounds. Each begins with all nodes alike, and with one of them losing its disk or getting an old one
back; it ends when all faults are over, and everything submitted so far is done and the same everywhere. So the two
copies of what was acknowledged are never both lost with their disks.
"""

import contextlib
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import requests

from tests.faults import invariants
from tests.faults.cluster import Cluster
from tests.faults.cluster_node import ClusterNode
from tests.faults.corpus import CRASHING, FAILING, PASSING, UNIMPORTABLE, Work, sleepers, sleeping, work
from tests.faults.model import scenario
from tests.faults.switch import Rule
from tests.support.mesh import children

_SHORTEST_S, _LONGEST_S = 0.5, 8.0
_REST_S = 3.0  # a node that came back is let alone for so long
_CLIENT_PATIENCE_S, _CLIENT_WAITS_S = 120.0, 15.0
_PATIENCE_S = 120.0
_PROCESS = {"kill": 5, "kill-worker": 3, "terminate": 3, "stop": 4, "kill-all": 0.3}
_CABLE = {"cut": 3, "cut-one-way": 2, "partition": 3, "loss": 2, "late": 2}
_KINDS = {**_PROCESS, **_CABLE, "clock": 2}
_DISK = ("wipe", "stale")


@dataclass(frozen=True)
class Planned:
    """A fault. `nodes`: one, the two ends of a cable, one side of a partition. Seconds; `at` since its round began."""

    at: float
    kind: str
    nodes: tuple[int, ...]
    seconds: float
    amount: float = 0.0  # of loss, or a clock's error

    def __str__(self) -> str:
        amount = f" {self.amount:.2f}" if self.amount else ""
        return f"{self.at:7.2f} {self.kind:12} {list(self.nodes)} for {self.seconds:.2f} s{amount}"


@dataclass(frozen=True)
class Submission:
    at: float
    work: Work
    key: str


@dataclass(frozen=True)
class Round:
    disk: Planned
    faults: tuple[Planned, ...]
    submissions: tuple[Submission, ...]  # two before its disk is lost, one of them to that node


# Drawing --------------------------------------------------------------------------------------


def draw(seed: int, nodes: int, rounds: int, faults: int, submissions: int, every: float) -> list[Round]:
    """`faults` and `submissions` in each round, a fault `every` so many seconds on average."""
    rng = random.Random(seed)
    return [_round(rng, nodes, faults, submissions, every, f"{seed}-{number}") for number in range(rounds)]


def _round(rng: random.Random, nodes: int, faults: int, submissions: int, every: float, name: str) -> Round:
    disk = Planned(0.0, rng.choice(_DISK), (rng.randrange(nodes),), rng.uniform(_SHORTEST_S, _LONGEST_S))
    found: list[Planned] = [disk]
    now = 0.0
    while len(found) < faults:
        now += rng.expovariate(1 / every)
        drawn = _drawn(rng, nodes, now)
        if not any(_collide(drawn, other) for other in found) and _most_run(nodes, [*found, drawn]):
            found.append(drawn)
    times = [0.0, 0.0, *sorted(rng.uniform(0.0, now) for _ in range(submissions - 2))]
    given = tuple(Submission(at, _some_work(rng), f"{name}-{number}") for number, at in enumerate(times))
    return Round(disk, tuple(found[1:]), given)


def _drawn(rng: random.Random, nodes: int, at: float) -> Planned:
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    touched = {"partition": rng.randint(1, nodes // 2), "kill-all": nodes, "loss": 2, "late": 2}
    count = touched.get(kind, 2 if kind in _CABLE else 1)
    amount = {"loss": rng.uniform(0.1, 0.6), "clock": rng.choice((-3600.0, 3600.0, 86_400.0))}.get(kind, 0.0)
    return Planned(at, kind, tuple(rng.sample(range(nodes), count)), rng.uniform(_SHORTEST_S, _LONGEST_S), amount)


def _collide(one: Planned, other: Planned) -> bool:
    """They would undo each other: one process cannot be hurt twice at a time, nor one cable."""
    family = next(kinds for kinds in ({*_PROCESS, *_DISK}, set(_CABLE), {"clock"}) if one.kind in kinds)
    if other.kind not in family or one.at > other.at + other.seconds + _REST_S:
        return False
    return "partition" in (one.kind, other.kind) or len({*one.nodes} & {*other.nodes}) >= (
        2 if family == set(_CABLE) else 1
    )


def _most_run(nodes: int, faults: list[Planned]) -> bool:
    """Where the last fault begins, the nodes that do not run or do not answer are a minority, or all."""
    last = faults[-1]
    if last.kind not in _PROCESS or last.kind == "kill-all":
        return True
    down = [one for one in faults if one.kind in {*_PROCESS, *_DISK} and one.at + one.seconds + _REST_S > last.at]
    return len({node for one in down for node in one.nodes}) <= (nodes - 1) // 2


def _some_work(rng: random.Random) -> Work:
    return rng.choice(
        (
            sleepers(rng.randint(8, 16), seconds=rng.choice((1.0, 2.0, 3.0))),
            work(PASSING, FAILING, CRASHING, UNIMPORTABLE, sleeping(1.0), sleeping(2.0), sleeping(4.0)),
            work(PASSING, FAILING, sleeping(3.0), projects=3),
            work(PASSING, sleeping(1.5), sleeping(3.0), projects=2, ballast=300_000),
        )
    )


# Doing ----------------------------------------------------------------------------------------


class Nemesis:
    """Does what was drawn, each fault and each client in a thread of its own."""

    def __init__(self, cluster: Cluster, seed: int, rounds: list[Round]) -> None:
        self._cluster = cluster
        self._seed = seed
        self._rounds = rounds
        self._begun = time.monotonic()
        self._saying = threading.Lock()
        self._processes = [threading.Lock() for _ in cluster.nodes]
        self._may_be_down = threading.BoundedSemaphore((len(cluster.nodes) - 1) // 2)
        self._told = (cluster[0].folder.parent / "schedule.txt").open("w")

    def run(self) -> None:
        counts: Counter[str] = Counter()
        with self._told, ThreadPoolExecutor(32) as threads:
            self._say(f"seed {self._seed}")
            for number, each in enumerate(self._rounds):
                self._say(f"round {number + 1} of {len(self._rounds)}")
                self._do_round(each, threads)
                counts.update([each.disk.kind, *(fault.kind for fault in each.faults)])
                if self._cluster.findings.broken:
                    self._say(f"broken: {self._cluster.findings.broken}")
                    return
            self._say(f"{counts.total()} faults: {dict(counts)}")
            self._nothing_is_double()

    def _do_round(self, each: Round, threads: ThreadPoolExecutor) -> None:
        cluster, first, second, *others = self._cluster, *each.submissions
        lose = self._disk_fault(each.disk)
        self._submit(second)
        self._submit(first, cluster[each.disk.nodes[0]])
        begun = time.monotonic()
        running: list[Future[None]] = [threads.submit(lose)]
        todo: list[tuple[float, Callable[[], None]]] = [
            *((one.at, partial(self._do, one)) for one in each.faults),
            *((one.at, partial(self._submit, one)) for one in others),
        ]
        for at, do in sorted(todo, key=lambda one: one[0]):
            cluster.hold(max(0.0, begun + at - time.monotonic()))
            running.append(threads.submit(do))
        for future in running:
            future.result()
        cluster.heal()
        self._say("all faults are over")
        cluster.wait_joined(patience=_PATIENCE_S)
        cluster.healed_at = time.monotonic()
        invariants.all_end_somewhere(cluster)
        equal_after = invariants.stores_become_equal(cluster)
        if equal_after is not None:
            self._say(f"all is equal after {equal_after:.1f} s")

    def _disk_fault(self, fault: Planned) -> Callable[[], None]:
        """To be called when something was acknowledged that will be gone there."""
        node = self._cluster[fault.nodes[0]]
        if fault.kind == "wipe":
            return lambda: self._restarted(fault, node.kill, lambda: self._cluster.wipe(node.number))
        node.kill()
        snapshot = node.snapshot()
        node.start()
        self._cluster.wait_joined(patience=_PATIENCE_S)
        return lambda: self._restarted(fault, node.kill, lambda: self._cluster.restore(node.number, snapshot))

    def _do(self, fault: Planned) -> None:
        cluster, node = self._cluster, self._cluster[fault.nodes[0]]
        ends, others = fault.nodes[:1], fault.nodes[1:]
        match fault.kind:
            case "kill":
                self._restarted(fault, node.kill)
            case "kill-worker":
                self._restarted(fault, partial(self._kill_worker, node))
            case "terminate":
                self._restarted(fault, partial(self._terminate, node.number))
            case "kill-all":
                self._restarted(fault, partial(_each, ClusterNode.kill, [cluster[number] for number in fault.nodes]))
            case "stop":
                with self._hurt(fault.nodes):
                    self._during(fault, node.stop, node.go_on)
            case "clock":
                jump = partial(cluster.jump_clock, node.number)
                self._during(fault, lambda: jump(fault.amount), lambda: jump(0.0))
            case "partition":
                rest = [number for number in range(len(cluster.nodes)) if number not in fault.nodes]
                self._on_cable(fault, Rule(cut=True), fault.nodes, rest)
            case "cut":
                self._on_cable(fault, Rule(cut=True), ends, others)
            case "cut-one-way":
                self._on_cable(fault, Rule(cut=True), ends, others, one_way=True)
            case "loss":
                self._on_cable(fault, Rule(loss=fault.amount), ends, others)
            case "late":
                self._on_cable(fault, Rule(delay=(0.02, 0.3), duplicate=0.2), ends, others)
            case _:
                raise ValueError(fault.kind)

    def _restarted(
        self, fault: Planned, end: Callable[[], object], meanwhile: Callable[[], None] | None = None
    ) -> None:
        nodes = [self._cluster[number] for number in fault.nodes]

        def begin() -> None:
            end()
            if meanwhile is not None:
                meanwhile()

        with self._hurt(fault.nodes):
            self._during(fault, begin, partial(_each, ClusterNode.start, nodes))

    @contextlib.contextmanager
    def _hurt(self, nodes: Sequence[int]) -> Iterator[None]:
        """A node may take longer to end than was drawn: what comes next waits, so that most nodes run all the same."""
        with contextlib.ExitStack() as held:
            if len(nodes) == 1:
                held.enter_context(self._may_be_down)
            for number in sorted(nodes):
                held.enter_context(self._processes[number])
            yield

    def _on_cable(
        self,
        fault: Planned,
        rule: Rule,
        one: tuple[int, ...],
        other: Sequence[int],
        *,
        one_way: bool = False,
    ) -> None:
        degrade = partial(self._cluster.degrade, rule, one, other, one_way=one_way)
        self._during(fault, degrade, partial(self._cluster.heal, one, other))

    def _during(self, fault: Planned, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self._say(str(fault))
        begin()
        self._cluster.hold(fault.seconds)
        end()
        self._say(f"        over: {fault.kind} {list(fault.nodes)}")

    def _kill_worker(self, node: ClusterNode) -> None:
        if node.process is not None and children(node.process.pid):
            node.kill_worker()
        else:
            node.kill()  # it has just begun

    def _terminate(self, number: int) -> None:
        node = self._cluster[number]
        is_ready = node.is_healthy()  # else it knows nothing yet of signals, nor of work
        status = node.terminate()
        if is_ready and status != 0:
            self._cluster.break_("nemesis", f"node {number} ended with status {status} after SIGTERM")

    # Clients ---------------------------------------------------------------------------------

    def _submit(self, submission: Submission, first: ClusterNode | None = None) -> None:
        """As a careful client: with its key it asks one node after the other until one has taken it."""
        rng = random.Random(submission.key)
        until = time.monotonic() + _CLIENT_PATIENCE_S
        said = "no node answers"
        while time.monotonic() < until:
            nodes = self._cluster.answering()
            if not nodes:
                self._cluster.hold(0.2)
                continue
            node, first = first or rng.choice(nodes), None
            try:
                answer = node.request(
                    "POST",
                    "/evaluation",
                    files={"file": ("class.zip", submission.work.archive)},
                    headers={"Idempotency-Key": submission.key},
                    timeout=_CLIENT_WAITS_S,
                )
            except (requests.RequestException, OSError) as error:
                said = f"node {node.number}: {type(error).__name__}"
            else:
                if answer.status_code == 202:
                    self._cluster.accept(answer.json()["id"], submission.work)
                    self._say(f"        accepted by node {node.number}: {answer.json()['id']} ({submission.key})")
                    return
                said = f"node {node.number}: {answer.status_code} {answer.text[:200]}"
                if answer.status_code != 503:
                    self._cluster.break_("nemesis", f"{submission.key} was answered by {said}")
                    return
            self._say(f"        not accepted: {submission.key}: {said}")
            self._cluster.hold(0.2)
        self._cluster.break_("nemesis", f"{submission.key} was not accepted in {_CLIENT_PATIENCE_S:.0f} s: {said}")

    def _nothing_is_double(self) -> None:
        """One key, one evaluation: there is none but those that were acknowledged."""
        for node in self._cluster.answering():
            listed = [one["id"] for one in node.get("/evaluation?limit=500")["evaluations"]]
            if sorted(listed) != sorted(self._cluster.accepted):
                more, less = set(listed) - set(self._cluster.accepted), set(self._cluster.accepted) - set(listed)
                self._cluster.break_("A", f"node {node.number} lists {more} besides, and not {less}")

    def _say(self, text: str) -> None:
        with self._saying:
            line = f"{time.strftime('%H:%M:%S')} {time.monotonic() - self._begun:6.1f} {text}\n"
            self._told.write(line)
            self._told.flush()
            sys.stdout.write(line)
            sys.stdout.flush()


def _each(do: Callable[[ClusterNode], None], nodes: Iterable[ClusterNode]) -> None:
    for node in nodes:
        do(node)


def _run(cluster: Cluster, *, rounds: int, faults: int, submissions: int, every: float) -> None:
    schedule = draw(cluster.seed, len(cluster.nodes), rounds, faults, submissions, every)
    Nemesis(cluster, cluster.seed, schedule).run()


@scenario(
    "nemesis",
    "nemesis",
    "200 random faults on five nodes that are given 48 evaluations",
    nodes=5,
    needs=("network", "clock"),
    allows=("replaced", "deaths"),
)
def nemesis(cluster: Cluster) -> None:
    _run(cluster, rounds=8, faults=25, submissions=6, every=2.0)


@scenario(
    "nemesis-short",
    "nemesis",
    "15 random faults on four nodes that are given 8 evaluations",
    nodes=4,
    needs=("network", "clock"),
    allows=("replaced", "deaths"),
    is_short=True,
)
def nemesis_short(cluster: Cluster) -> None:
    _run(cluster, rounds=1, faults=15, submissions=8, every=0.6)
