"""Real nodes, and everything that can be done to them. What was done is remembered, for the checks afterwards."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import requests

from tests.faults.cluster_node import ClusterNode
from tests.faults.corpus import Work
from tests.faults.disturbances import Disturbances
from tests.faults.network import Network
from tests.faults.small_disk import fill, free_again
from tests.faults.switch import Rule
from tests.faults.watcher import Watcher
from tests.support.mesh import ended, wait_for

_PATIENCE_S = 120.0
_LOOK_S = 0.05
MOVED_WITHIN_S = 1.0
_MOVED_PATIENCE_S = 20.0
Module = tuple[str, str, str]  # evaluation, project, module


@dataclass(frozen=True)
class Fault:
    """A node that went at `at` (Unix seconds) while these modules ran there."""

    node: int
    at: float
    running: frozenset[Module]


@dataclass
class Findings:
    """What scenarios add to their record."""

    broken: list[str] = field(default_factory=list)
    noticed: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)


class Cluster:
    """`cluster[0]` is the first node. Nodes are named by their numbers. `seed`: of all that a scenario draws.

    Ask nodes with `cluster[0].get("/evaluation/…")`, `.request("POST", …)`: never over the faulty network.
    """

    def __init__(self, nodes: list[ClusterNode], wires: Network | None, seed: int) -> None:
        self.nodes = nodes
        self.seed = seed
        self.accepted: dict[str, Work] = {}
        self.cancelled: set[str] = set()
        self.findings = Findings()
        self.disturbances = Disturbances()
        self.healed_at = time.monotonic()
        self.watcher = Watcher(nodes, lambda: list(self.accepted))
        self._network = wires
        self._is_spoilt = False

    def __getitem__(self, number: int) -> ClusterNode:
        return self.nodes[number]

    # Work ------------------------------------------------------------------------------------

    def submit(self, work: Work, at: int = 0, key: str | None = None) -> str:
        """Its id. What was acknowledged so, invariants A to C are checked for."""
        found = self[at].submit(work.archive, work.options, key)
        self.accepted[found] = work
        return found

    def accept(self, evaluation: str, work: Work) -> None:
        """What a scenario submitted and saw acknowledged by itself."""
        self.accepted[evaluation] = work

    def document(self, evaluation: str, at: int | None = None) -> dict[str, Any]:
        """As that node, or the first that answers, shows it. Raises requests.RequestException."""
        node = self[at] if at is not None else self.answering()[0]
        found: dict[str, Any] = node.get(f"/evaluation/{evaluation}", timeout=5)
        return found

    def answering(self) -> list[ClusterNode]:
        """The nodes that run and do not stand still."""
        return [node for node in self.nodes if node.answers]

    def wait(self, condition: Callable[[], Any], what: str, patience: float = _PATIENCE_S) -> Any:
        """What `condition` gives once that is true; no answer is not true. Raises AssertionError if it never is."""

        def asked() -> Any:
            with contextlib.suppress(requests.RequestException):
                return condition()
            return None

        return wait_for(asked, patience, what)

    def hold(self, seconds: float) -> None:
        """The fault lasts that long: of its nature, not because something else is waited for."""
        time.sleep(seconds)

    def wait_running(self, at: int, least: int = 1) -> None:
        """Until a node runs so many modules, and the mesh knows."""
        self.wait(lambda: len(self.running_at(at)) >= least, f"node {at} to run {least} modules")

    def wait_ended(self, evaluation: str, at: int | None = None, patience: float = _PATIENCE_S) -> dict[str, Any]:
        """Its last document, as that node, or the first that answers, shows it."""
        what = f"evaluation {evaluation} to end"
        found: dict[str, Any] = self.wait(lambda: ended(self.document(evaluation, at)), what, patience)
        return found

    def wait_joined(self, *numbers: int, patience: float = _PATIENCE_S) -> None:
        """Until these nodes, else all that answer, know each other and nobody else."""
        nodes = [self[number] for number in numbers] or self.answering()
        everyone = {node.address for node in nodes}
        for node in nodes:
            self.wait(
                lambda node=node: {*node.get("/peers", timeout=5), node.address} == everyone,  # type: ignore[misc]
                f"{node.address} to know {everyone}",
                patience,
            )

    def running_at(self, number: int) -> frozenset[Module]:
        """The modules that the mesh believes to run there."""
        address, found = self[number].address, set()
        for evaluation in tuple(self.accepted):  # another thread may submit
            for project, modules in self.document(evaluation)["module_results"].items():
                for module, shown in modules.items():
                    if shown["node"] == address and shown["verdict"] == "running":
                        found.add((evaluation, project, module))
        return frozenset(found)

    def owner_of(self, evaluation: str) -> int:
        owner = self.document(evaluation)["owner"]
        return next(node.number for node in self.nodes if node.address == owner)

    # Processes -------------------------------------------------------------------------------

    def start(self, *numbers: int) -> None:
        """Does not wait until they have joined."""
        for number in numbers:
            self[number].start()
        for number in numbers:
            self.disturbances.end(number, now=time.time())
        self.healed_at = time.monotonic()

    def kill(self, number: int, only: str = "") -> Fault:
        """kill -9: as a power cut; or `only` "worker", in which the node lives, or "arbiter", its parent."""
        fault = self._fault(number)
        self.disturbances.begin(number, now=fault.at, is_process=True)
        kill = {"": self[number].kill, "worker": self[number].kill_worker, "arbiter": self[number].kill_arbiter}
        kill[only]()
        return fault

    def terminate(self, number: int) -> int:
        """SIGTERM; gives the exit status once it has ended."""
        self.disturbances.begin(number, now=time.time(), is_process=True)
        return self[number].terminate()

    def stop(self, number: int) -> Fault:
        """The machine stands still, tests and all (SIGSTOP)."""
        fault = self._fault(number)
        self.disturbances.begin(number, now=fault.at)
        self[number].stop()
        return fault

    def go_on(self, number: int) -> None:
        self[number].go_on()
        self.disturbances.end(number, now=time.time())
        self.healed_at = time.monotonic()

    # Network ---------------------------------------------------------------------------------

    def cut(self, sources: Collection[int], targets: Collection[int], *, one_way: bool = False) -> None:
        """Nothing passes from sources to targets, nor back."""
        self._set_rule(Rule(cut=True), sources, targets, one_way)
        self._for_cables(sources, targets, self.disturbances.begin)

    def isolate(self, number: int) -> Fault:
        """Its cable is pulled out."""
        fault = self._fault(number)
        self.cut([number], range(len(self.nodes)))
        return fault

    def degrade(
        self, rule: Rule, sources: Collection[int] = (), targets: Collection[int] = (), *, one_way: bool = False
    ) -> None:
        """Rule(loss=…, duplicate=…, delay=(…, …), rate=…), on all cables where no nodes are named."""
        everybody = range(len(self.nodes))
        self._set_rule(rule, sources or everybody, targets or everybody, one_way)

    def heal(self, sources: Collection[int] = (), targets: Collection[int] = ()) -> None:
        """All cables are as new, or those between these nodes. Done at a scenario's end too."""
        if self._network is None or not self._is_spoilt:
            return
        everybody = range(len(self.nodes))
        self._set_rule(Rule(), sources or everybody, targets or everybody, one_way=False)
        self._for_cables(sources or everybody, targets or everybody, self.disturbances.end)
        self._is_spoilt = bool(sources or targets)
        self.healed_at = time.monotonic()

    def frames(self) -> dict[str, int]:
        """Of the network so far: sent, lost, duplicated."""
        assert self._network is not None
        return self._network.counts()

    # Clocks, disks ---------------------------------------------------------------------------

    def jump_clock(self, number: int, seconds: float) -> None:
        """From now on its wall clock is wrong by that."""
        clock = self[number].clock
        assert clock is not None, 'the scenario needs "clock"'
        clock.jump_to(seconds)
        self.healed_at = time.monotonic()

    def fill_disk(self, number: int, leave: int = 0) -> None:
        """Of a scenario with `disks`: no more than `leave` bytes stay free."""
        fill(self[number].data, leave)

    def free_disk(self, number: int) -> None:
        free_again(self[number].data)
        self.healed_at = time.monotonic()

    def wipe(self, number: int) -> None:
        """A new, empty disk. Not while it runs."""
        self.watcher.forget(number)
        self[number].wipe()

    def restore(self, number: int, snapshot: Path) -> None:
        """What `cluster[number].snapshot()` gave is its data again. Not while it runs."""
        self.watcher.forget(number)
        self[number].restore(snapshot)

    def since(self, fault: Fault) -> float:
        """Seconds."""
        return time.time() - fault.at

    # Figures ---------------------------------------------------------------------------------

    def expect_death(self, fault: Fault, within: tuple[float, float], *, room: bool = True) -> None:
        """Invariant D: how long each survivor took to declare it dead, and until what ran there ran elsewhere.

        The median of the survivors must be `within` these seconds; where the others have `room` (slots that are free)
        the second takes at most MOVED_WITHIN_S. But where the machine's processors are short, with other tests beside
        this one, a node looks and starts what it was given when they are not: then it counts that it was not too soon,
        and that each noticed and all runs elsewhere at all.
        """
        survivors = [node for node in self.answering() if node.number != fault.node]
        address, moved = self[fault.node].address, None
        noticed: dict[int, float] = {}  # by survivor
        until = fault.at + within[1] + _MOVED_PATIENCE_S
        while time.time() < until and (len(noticed) < len(survivors) or moved is None):
            for node in survivors:
                deaths = [death.at for death in node.deaths() if death.address == address and death.at >= fault.at]
                if deaths:
                    noticed.setdefault(node.number, deaths[0] - fault.at)
            if noticed and moved is None and self._have_moved(fault, survivors):
                moved = max(0.0, time.time() - fault.at - min(noticed.values()))
            time.sleep(_LOOK_S)
        self.findings.noticed += noticed.values()
        if len(noticed) < len(survivors):
            missing = [node.number for node in survivors if node.number not in noticed]
            self.break_("D", f"nodes {missing} did not notice that node {fault.node} was gone")
        elif not within[0] <= statistics.median(noticed.values()) <= (inf if processors_are_short() else within[1]):
            told = ", ".join(f"{seconds:.2f} s" for seconds in noticed.values())
            self.break_("D", f"node {fault.node} was gone: noticed after {told}, not {within[0]} to {within[1]} s")
        if fault.running:
            if moved is None:
                self.break_("D", f"{len(fault.running)} modules of node {fault.node} did not run elsewhere")
            else:
                self.findings.moved.append(moved)
                if room and moved > MOVED_WITHIN_S and not processors_are_short():
                    count = len(fault.running)
                    self.break_("D", f"{count} modules of node {fault.node} ran elsewhere only {moved:.2f} s later")

    def break_(self, invariant: str, text: str) -> None:
        """Invariant: its letter."""
        self.findings.broken.append(f"{invariant}: {text}")

    # Inside ----------------------------------------------------------------------------------

    def _fault(self, number: int) -> Fault:
        try:
            running = self.running_at(number)
        except (requests.RequestException, IndexError):
            running = frozenset()  # nobody is in reach who could tell
        return Fault(number, time.time(), running)

    def _have_moved(self, fault: Fault, survivors: list[ClusterNode]) -> bool:
        """Whether each runs elsewhere or has ended."""
        shown = {}
        with contextlib.suppress(requests.RequestException):
            for evaluation in {key[0] for key in fault.running}:
                shown[evaluation] = survivors[0].get(f"/evaluation/{evaluation}", timeout=5)["module_results"]
            found = [shown[evaluation][project][module] for evaluation, project, module in fault.running]
            address = self[fault.node].address
            at_work = ("pending", "running")
            return all(
                one["verdict"] not in at_work or (one["verdict"] == "running" and one["node"] != address)
                for one in found
            )
        return False

    def _set_rule(self, rule: Rule, sources: Collection[int], targets: Collection[int], one_way: bool) -> None:
        assert self._network is not None, 'the scenario needs "network"'
        self._is_spoilt = True
        self._network.set_rule(rule, sources, targets)
        if not one_way:
            self._network.set_rule(rule, targets, sources)

    def _for_cables(self, sources: Collection[int], targets: Collection[int], do: Callable[..., None]) -> None:
        now = time.time()
        for pair in {frozenset((source, target)) for source in sources for target in targets if source != target}:
            do(*pair, now=now)


def processors_are_short() -> bool:
    """Whether for a fifth of the last ten seconds something was ready and had no processor."""
    try:
        words = Path("/proc/pressure/cpu").read_text(encoding="utf-8").split()
    except OSError:
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    return float(words[1].removeprefix("avg10=")) > 20.0
