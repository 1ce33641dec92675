"""In simulated time: how much quicker several nodes are than one, with orders and reports that take a while."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.load_balance.policy import NodeLoad
from testmesh.model import Counts, Evaluation, ModulePlan, ModuleResult, Verdict
from testmesh.node.driving.prediction import Prediction
from testmesh.node.driving.schedule import Schedule
from testmesh.node.messaging.messages import AttemptReport, Task
from tests.support.records import evaluation

CORES = 0.5
TRAVELS_S = 0.02
PASSED = ModuleResult(Verdict.PASSED, Counts(1))


@dataclass
class Node:
    """Runs one computing module at a time, in the order in which they came."""

    waiting: list[tuple[str, Task]] = field(default_factory=list)
    running: tuple[str, Task] | None = None

    @property
    def assigned(self) -> int:
        return len(self.waiting) + (self.running is not None)


class Run:
    """`seconds`: of processor time, by evaluation and module; `guess` is what is predicted for it."""

    def __init__(
        self, nodes: int, seconds: dict[str, list[float]], guess: Callable[[float], Prediction], environment: str = ""
    ) -> None:
        self.now = 0.0
        self.nodes = {f"n{i}:1": Node() for i in range(nodes)}
        self.seconds = {(name, f"t{n}"): cpu for name, of in seconds.items() for n, cpu in enumerate(of)}
        self.ended: dict[str, float] = {}  # by evaluation
        self.runs = 0
        self.schedule = Schedule(LeastLoaded(), _Guess(guess))
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._results: set[tuple[str, str]] = set()
        for name, of in seconds.items():
            self.schedule.update(_evaluation(name, of, environment), [])

    def run(self) -> float:
        self._place()
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()
        assert self._results == self.seconds.keys()
        return max(self.ended.values())

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), action))

    def _place(self) -> None:
        loads = [NodeLoad(address, 64, node.assigned, CORES) for address, node in self.nodes.items()]
        for address, order in self.schedule.place(loads, self.now):
            for task in order.tasks:
                self._later(TRAVELS_S, lambda a=address, o=order, t=task: self._arrive(a, o.evaluation.id, t))  # type: ignore[misc]

    def _arrive(self, address: str, name: str, task: Task) -> None:
        self.nodes[address].waiting.append((name, task))
        self._begin(address)

    def _begin(self, address: str) -> None:
        node = self.nodes[address]
        if node.running is None and node.waiting:
            name, task = node.running = node.waiting.pop(0)
            self._later(TRAVELS_S, lambda: self._report(AttemptReport(name, task, address)))
            self._later(self.seconds[name, task.module] / CORES, lambda: self._end(address, name, task))

    def _end(self, address: str, name: str, task: Task) -> None:
        if self.nodes[address].running == (name, task):
            self.nodes[address].running = None
            self.runs += 1
            self._later(TRAVELS_S, lambda: self._report(AttemptReport(name, task, address, PASSED)))
            self._begin(address)

    def _report(self, report: AttemptReport) -> None:
        for record in self.schedule.reported(report, self.now, self.now):
            key = (record.state.evaluation, record.state.module)
            if record.state.verdict is Verdict.PASSED:
                self._results.add(key)
                self.ended[key[0]] = self.now
            self._later(TRAVELS_S, lambda record=record: self._heard(record.state))  # type: ignore[misc]
        self._place()

    def _heard(self, state) -> None:  # type: ignore[no-untyped-def]
        """What the others run or keep of it gives way."""
        for address, node in self.nodes.items():
            this = [
                (name, task) for name, task in node.waiting if (name, task.module) == (state.evaluation, state.module)
            ]
            for name, task in this:
                if state.verdict.is_final or (task.epoch, task.attempt) < (state.epoch, state.attempt):
                    node.waiting.remove((name, task))
            running = node.running
            if (
                state.verdict.is_final
                and running
                and (running[0], running[1].module) == (state.evaluation, state.module)
            ):
                node.running = None
                self._begin(address)


@dataclass(frozen=True)
class _Guess:
    of: Callable[[float], Prediction]

    def predict(self, plan: ModulePlan) -> Prediction:
        return self.of(plan.estimate_s)


def _evaluation(name: str, seconds: list[float], environment: str) -> Evaluation:
    base = evaluation(name)
    plans = tuple(ModulePlan(f"t{n}", estimate_s=cpu) for n, cpu in enumerate(seconds))
    project = replace(base.sources[0].projects[0], modules=plans, environment=environment)
    return replace(base, sources=(replace(base.sources[0], projects=(project,)),))


def exact(cpu: float) -> Prediction:
    return Prediction(cpu / CORES, cpu, known=True)


def nothing_known(_: float) -> Prediction:
    return Prediction(1.2, 1.0, known=False)


def mixture(seed: int, count: int = 70) -> list[float]:
    """As the modules of real packages: many quick ones, few of some seconds."""
    rng = random.Random(seed)
    return [min(4.0, max(0.1, rng.lognormvariate(-0.7, 0.9))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_four_nodes_are_nearly_four_times_as_quick_as_one(seed: int) -> None:
    work = {"e": mixture(seed)}
    assert Run(1, work, exact).run() / Run(4, work, exact).run() >= 3.8


@pytest.mark.parametrize("seed", range(5))
def test_nearly_so_when_nothing_is_known_of_them(seed: int) -> None:
    """The last one may be the longest."""
    work = {"e": mixture(seed)}
    longest = max(work["e"]) / CORES
    alone, run = Run(1, work, nothing_known).run(), Run(4, work, nothing_known)
    assert run.run() <= alone / 4 + longest + 1.0
    assert run.runs <= len(work["e"]) + 8, "little is run twice"


def test_small_evaluations_are_not_behind_large_ones() -> None:
    work = {"large": [0.5] * 200, **{f"small{n}": [0.5] * 4 for n in range(7)}}
    run = Run(4, work, exact)
    took = run.run()
    assert max(run.ended[name] for name in work if name != "large") < took / 3
    assert took <= sum(map(sum, work.values())) / (4 * CORES) * 1.05 + 1.0, "nor is it slower in sum"
