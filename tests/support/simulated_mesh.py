"""Schedules of faults for meshes of simulated nodes, and what must hold whatever the schedule.

    A  every acknowledged evaluation is on every node in the end, and has ended
    B  every module has one final result, the same on every node; on no node is one replaced but by a lower attempt
    C  the counts are those of a run without faults
    F  what any node knew at healing is known to all soon after it; in the end all stores are equal

A schedule does not destroy the last copy of what was acknowledged: a disk that would be lost with it stays.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from testmesh.model import Counts, Evaluation, ModulePlan, ModuleState, Project, Source, SourceKind, Verdict
from testmesh.node.driving.jobs import MAX_LOSSES
from testmesh.node.storage.replica import Changes, merge_evaluations, merge_modules
from tests.support.simulated_disk import Disk
from tests.support.simulated_node import SimulatedNode
from tests.support.simulated_worker import counts_of
from tests.support.simulation import Simulation

DiskFate = Literal["kept", "empty", "stale"]
_SETTLES_WITHIN_S = 240.0


@dataclass(frozen=True)
class Submit:
    """Steps have the seconds `after` the one before; nodes are numbers, taken modulo the size of the mesh."""

    after: float
    node: int
    modules: int


@dataclass(frozen=True)
class Crash:
    after: float
    node: int
    down: float
    disk: DiskFate = "kept"
    age: int = 1  # of a stale disk, in steps


@dataclass(frozen=True)
class Drain:
    after: float
    node: int
    down: float


@dataclass(frozen=True)
class Pause:
    after: float
    node: int
    seconds: float


@dataclass(frozen=True)
class Cut:
    """One way only."""

    after: float
    source: int
    target: int
    seconds: float


@dataclass(frozen=True)
class Split:
    """The nodes whose bit is set in `side`, and the others."""

    after: float
    side: int
    seconds: float


@dataclass(frozen=True)
class Noise:
    after: float
    loss: float
    doubling: float
    latency: float  # the longest of a message: beyond the shortest gap between two, they overtake each other
    seconds: float


Step = Submit | Crash | Drain | Pause | Cut | Split | Noise


@dataclass(frozen=True)
class Schedule:
    """One run: all that happens follows from it."""

    nodes: int
    seed: int
    steps: tuple[Step, ...]
    slots: int = 2
    longest: float = 4.0  # seconds that a module may take
    heals_after: float = 2.0  # seconds after the last step
    straggles: bool = True  # many modules take longer than predicted, and some run in vain


@dataclass
class Outcome:
    acknowledged: int = 0
    refused: int = 0
    spread_s: float = 0.0  # after healing: what was known then is known to all
    ended_s: float = 0.0  # after healing: all has ended, and all stores are equal
    replaced: Counter[int] = field(default_factory=Counter)  # results by how often they were replaced on one disk
    ties: int = 0  # results replaced by one of an attempt with the same number: three sides of a partition
    crashed: int = 0  # modules that were lost with too many nodes
    runs: int = 0
    modules: int = 0


def random_schedule(rng: random.Random, *, steps: int = 14) -> Schedule:
    nodes = rng.randint(3, 5)
    return Schedule(
        nodes,
        rng.getrandbits(32),
        tuple(_random_step(rng, first=i < 2) for i in range(rng.randint(3, steps))),
        rng.choice([1, 2, 4]),
        rng.choice([0.3, 2.0, 6.0]),
        rng.choice([0.0, 1.0, 5.0, 20.0]),
    )


def _random_step(rng: random.Random, *, first: bool) -> Step:
    after = rng.choice([0.0, 0.1, 0.5, 1.0, 3.0, 8.0])
    node, other = rng.randrange(5), rng.randrange(5)
    kinds = ["submit"] * 4 + ["crash"] * 3 + ["drain", "pause", "cut", "split", "noise"]
    kind = "submit" if first else rng.choice(kinds)
    match kind:
        case "submit":
            return Submit(after, node, rng.randint(1, 5))
        case "crash":
            fate: DiskFate = rng.choice(["kept", "kept", "empty", "stale"])
            return Crash(after, node, rng.choice([0.0, 0.2, 2.0, 10.0, 30.0]), fate, rng.randint(1, 4))
        case "drain":
            return Drain(after, node, rng.choice([0.0, 3.0, 15.0]))
        case "pause":
            return Pause(after, node, rng.choice([0.5, 2.0, 6.0, 30.0]))
        case "cut":
            return Cut(after, node, other, rng.choice([1.0, 5.0, 20.0]))
        case "split":
            return Split(after, rng.randrange(1, 31), rng.choice([1.0, 5.0, 20.0]))
        case _:
            loss, doubling = rng.choice([0.05, 0.3]), rng.choice([0.0, 0.3])
            return Noise(after, loss, doubling, rng.choice([0.02, 0.5]), rng.choice([3.0, 15.0]))


class SimulatedMesh:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.simulation = Simulation(schedule.seed)
        self.addresses = [f"n{i}:1" for i in range(schedule.nodes)]
        self.disks = [Disk() for _ in self.addresses]
        self.nodes: list[SimulatedNode | None] = [None for _ in self.addresses]
        self.skews = [self.simulation.rng.choice([0.0, 3600.0, -3600.0]) for _ in self.addresses]
        self.acknowledged: dict[str, Evaluation] = {}
        self.submitted = 0
        self.outcome = Outcome()
        self._snapshots: list[list[Disk]] = [[] for _ in self.addresses]
        self._cuts: Counter[tuple[str, str]] = Counter()
        self._noise = 0
        self._whole_since: float | None = None  # healed, and no node away since
        self._results: dict[tuple[int, tuple[str, str, str]], tuple[ModuleState, int]] = {}  # by disk
        self._quiet_latency = self.simulation.latency
        self.simulation.cut = lambda source, target: self._cuts[source, target] > 0

    # Running ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """AssertionError with what does not hold."""
        for number in range(len(self.addresses)):
            self._start(number)
        self.simulation.run(6)
        for step in self.schedule.steps:
            self.simulation.run(step.after)
            for number, disk in enumerate(self.disks):
                self._snapshots[number].append(disk.copy())
            self._do(step)
        self.simulation.run(self.schedule.heals_after)
        self._heal()
        self._settle()
        self._check()
        return self.outcome

    def _start(self, number: int) -> None:
        bootstrap = (self.addresses[0],) if number else ()
        node = SimulatedNode(
            self.simulation,
            self.simulation.membership(self.addresses[number], bootstrap),
            self.disks[number],
            self.schedule.slots,
            self.schedule.longest,
            self.skews[number],
            straggles=self.schedule.straggles,
        )
        node.ledger.subscribe(lambda changes, _: self._saw(number, changes))
        self.nodes[number] = self.simulation.begin(node)
        node.settle_in()
        if self._whole_since is not None:
            self._whole_since = self.simulation.now

    def _do(self, step: Step) -> None:
        match step:
            case Submit(_, number, modules):
                self._submit(number % len(self.nodes), modules)
            case Crash(_, number, down, fate, age):
                number %= len(self.nodes)
                if self.nodes[number] is not None:
                    self._stop(number, down)
                    self._lose_disk(number, fate, age)
            case Drain(_, number, down):
                number %= len(self.nodes)
                node = self.nodes[number]
                if node is not None and not node.paused:
                    node.drain(lambda: self._stop(number, down, node))
            case Pause(_, number, seconds):
                node = self.nodes[number % len(self.nodes)]
                if node is not None and not node.paused:
                    self.simulation.pause_for(node, seconds)
            case Cut(_, source, target, seconds):
                pair = (self.addresses[source % len(self.nodes)], self.addresses[target % len(self.nodes)])
                self._cut([pair], seconds)
            case Split(_, side, seconds):
                one = [address for i, address in enumerate(self.addresses) if side >> i & 1]
                two = [address for i, address in enumerate(self.addresses) if not side >> i & 1]
                self._cut([pair for a in one for b in two for pair in ((a, b), (b, a))], seconds)
            case Noise(_, loss, doubling, latency, seconds):
                self._noise += 1
                self.simulation.loss, self.simulation.doubling = loss, doubling
                self.simulation.latency = (0.001, latency)
                mine = self._noise
                self.simulation.after(seconds, lambda: self._hush() if mine == self._noise else None)

    def _submit(self, number: int, modules: int) -> None:
        node = self.nodes[number]
        if node is None or node.paused:
            return
        name = f"e{self.submitted}"
        self.submitted += 1
        plans = [ModulePlan(f"test_{i}.py") for i in range(modules)]
        projects = (Project("p", "p", tuple(plans[::2])), Project("q", "q", tuple(plans[1::2])))
        source = Source(SourceKind.ZIP, "upload", archive=f"archive of {name}", projects=projects)
        at = 1.8e9 + self.simulation.now + self.skews[number]
        evaluation = Evaluation(name, at, self.addresses[number], (source,), body_digest=name)
        node.submit(evaluation, lambda found: self._acknowledge(node, found))

    def _acknowledge(self, node: SimulatedNode, evaluation: Evaluation) -> None:
        copies = sum(_holds(disk, evaluation) for disk in self.disks)
        assert copies >= 2 or not node.membership.live(), f"{evaluation.id} is acknowledged with {copies} copies"
        self.acknowledged[evaluation.id] = evaluation

    def _stop(self, number: int, down: float, only: SimulatedNode | None = None) -> None:
        node = self.nodes[number]
        if node is None or (only is not None and node is not only):
            return
        self.outcome.runs += len(node.worker.runs)
        self.simulation.crash(node)
        self.nodes[number] = None
        if self._whole_since is not None:
            down = 0.0  # it began to drain before
        self.simulation.after(down, lambda: self._start(number) if self.nodes[number] is None else None)

    def _lose_disk(self, number: int, fate: DiskFate, age: int) -> None:
        if fate == "kept":
            return
        snapshots = self._snapshots[number]
        left = snapshots[-min(age, len(snapshots))].copy() if fate == "stale" else Disk()
        disks = [left, *(disk for i, disk in enumerate(self.disks) if i != number)]
        if all(any(_holds(disk, evaluation) for disk in disks) for evaluation in self.acknowledged.values()):
            self.disks[number] = left
            self._results = {key: value for key, value in self._results.items() if key[0] != number}
            self._saw(number, left.store.everything())

    def _cut(self, pairs: list[tuple[str, str]], seconds: float) -> None:
        self._cuts.update(pairs)
        self.simulation.after(seconds, lambda: self._cuts.subtract(pairs))

    def _hush(self) -> None:
        self.simulation.loss = self.simulation.doubling = 0.0
        self.simulation.latency = self._quiet_latency

    def _heal(self) -> None:
        self._whole_since = self.simulation.now
        self._noise += 1
        self._hush()
        self.simulation.cut = lambda source, target: False
        for number, node in enumerate(self.nodes):
            if node is None:
                self._start(number)
            elif node.paused:
                self.simulation.resume(node)

    def _settle(self) -> None:
        known = [disk.store.everything() for disk in self.disks]
        end = self.simulation.now + _SETTLES_WITHIN_S
        spread = False
        while True:
            if not spread and all(_knows(disk, changes) for disk in self.disks for changes in known):
                spread, self.outcome.spread_s = True, self._since_healing()
            if spread and self._has_ended():
                break
            assert self.simulation.now < end, f"it does not settle: {self._what_is_open()}"
            self.simulation.run(0.25)
        self.outcome.ended_s = self._since_healing()

    def _since_healing(self) -> float:
        return self.simulation.now - (self._whole_since or 0.0)

    # What holds ------------------------------------------------------------------------------

    def _saw(self, number: int, changes: Changes) -> None:
        """B, while it goes on."""
        for record in changes.modules:
            state = record.state
            before, times = self._results.get((number, state.key), (None, -1))
            if before is not None:
                assert state.verdict.is_final, f"{self.addresses[number]} takes back {before}: {state}"
                known, new = (before.epoch, before.attempt), (state.epoch, state.attempt)
                assert new <= known, f"{self.addresses[number]} replaces {before} by {state}"
                self.outcome.ties += new == known and state != before
            if state.verdict.is_final and state != before:
                self._results[number, state.key] = (state, times + 1)

    def _has_ended(self) -> bool:
        digests = {disk.store.digest() for disk in self.disks}
        return len(digests) == 1 and not self.disks[0].store.unfinished()

    def _what_is_open(self) -> str:
        lines = []
        for address, disk in zip(self.addresses, self.disks, strict=True):
            for evaluation in disk.store.unfinished():
                open_ = [s.key[1:] for s in disk.store.states(evaluation.id) if not s.verdict.is_final]
                lines.append(
                    f"{address}: {evaluation.id} owner {evaluation.owner} epoch {evaluation.epoch}"
                    f" holders {evaluation.holders} open {open_}"
                )
        return f"{len({disk.store.digest() for disk in self.disks})} different stores; " + "; ".join(lines)

    def _check(self) -> None:
        for address, disk in zip(self.addresses, self.disks, strict=True):
            for name, evaluation in self.acknowledged.items():
                found = disk.store.evaluation(name)
                assert found is not None, f"A: {address} does not know {name}"
                assert found.finished_at is not None, f"A: on {address} {name} has not ended"
                states = {(s.project, s.module): s for s in disk.store.states(name)}
                planned = {(p.name, m.path) for p in evaluation.projects for m in p.modules}
                assert set(states) == planned, f"B: {address} has {sorted(states)} of {name}"
                for state in states.values():
                    self._check_module(address, state)
        self.outcome.acknowledged = len(self.acknowledged)
        self.outcome.refused = self.submitted - len(self.acknowledged)
        self.outcome.replaced = Counter(times for _, times in self._results.values() if times)
        self.outcome.runs += sum(len(node.worker.runs) for node in self.nodes if node is not None)
        self.outcome.modules = sum(len(self.disks[0].store.states(name)) for name in self.acknowledged)

    def _check_module(self, address: str, state: ModuleState) -> None:
        assert state.verdict.is_final, f"B: on {address} {state.key} has no result"
        if state.verdict is Verdict.CRASHED and state.losses > MAX_LOSSES:
            self.outcome.crashed += address == self.addresses[0]
            return
        counts: Counts = counts_of(*state.key)
        assert state.verdict in (Verdict.PASSED, Verdict.FAILED), f"C: on {address} {state.key} is {state.verdict}"
        assert state.counts == counts, f"C: on {address} {state.key} has {state.counts}, not {counts}"


def _holds(disk: Disk, evaluation: Evaluation) -> bool:
    return disk.store.evaluation(evaluation.id) is not None and set(evaluation.archives) <= disk.archives


def _knows(disk: Disk, changes: Changes) -> bool:
    """Whether these records would change nothing."""
    for theirs in changes.evaluations:
        mine = disk.store.evaluation(theirs.id)
        if mine is None or merge_evaluations(mine, theirs) != mine:
            return False
    for record in changes.modules:
        known = disk.store.record(*record.state.key)
        if known is None or merge_modules(known, record) != known:
            return False
    return True
