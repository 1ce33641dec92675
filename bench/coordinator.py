"""What driving evaluations costs their owner: thousands of modules that do nothing, on nodes that are simulated.

    python -m bench.coordinator [--modules 5000] [--evaluations 3]

Real are the driver and its thread, the schedule, the store on the disk, publishing to two peers, comparing with them,
every message as the bytes that travel, encoded or decoded and checked on the owner's side, and a GET of the evaluation
for every 500 results. Simulated are the connections and the workers, whose own processor time is taken off.
"""

import argparse
import hashlib
import json
import queue
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from bench.row import Row
from testmesh.clock import SystemClock
from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.model import (
    Counts,
    Evaluation,
    ModulePlan,
    ModuleResult,
    Project,
    Source,
    SourceKind,
    TestResult,
    Verdict,
)
from testmesh.node.copying.replicator import Replicator
from testmesh.node.document import document
from testmesh.node.driving.coordinator import Coordinator
from testmesh.node.driving.history import History
from testmesh.node.driving.outlook import Outlook
from testmesh.node.driving.schedule import Schedule
from testmesh.node.messaging.codec import decode, encode
from testmesh.node.messaging.messages import AttemptReport, AttemptReports, Digests, Held, Load, Replicate, WorkOrder
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.messaging.wire import DIGESTS, HELD, REPLICATE, REPORTS, WORK_ORDER
from testmesh.node.reads import Reads
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.sqlite_store import SqliteStore

MIB = 1024**2
OWNER, PEERS = "127.0.0.1:5001", ("127.0.0.1:5002", "127.0.0.1:5003")
MODULES_OF_PROJECT = 100
MODULES_A_READ = 500
SLOTS, CORES = 64, 4.0
GOAL_S, GOAL_GROWTH = 0.001, 8 * MIB
_PING_S = 0.5
_PATIENCE_S = 600.0


# What is simulated ---------------------------------------------------------------------------


class SimulatedWorker:
    """Runs what it is given in no time. Whatever its thread does is its own cost, not the owner's."""

    def __init__(self, address: str, owner: "Owner") -> None:
        self._address = address
        self._owner = owner
        self._orders: queue.SimpleQueue[WorkOrder | bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"worker {address}", daemon=True)
        self._thread.start()
        self.load = Load(SLOTS, 0, 0, CORES)
        self.seconds = 0.0  # of processor time

    def give(self, order: WorkOrder | bytes) -> None:
        self._orders.put(order)

    def stop(self) -> None:
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._orders.get()) is not None:
            orders = [_order(item) for item in (first, *self._others())]
            tasks = [(order.evaluation.id, task) for order in orders for task in order.tasks]
            self._tell(tuple(AttemptReport(of, task, self._address) for of, task in tasks))
            self._tell(tuple(AttemptReport(of, task, self._address, _result()) for of, task in tasks))
            self.seconds = time.thread_time()

    def _others(self) -> Iterator[WorkOrder | bytes]:
        """What has come meanwhile."""
        while not self._orders.empty():
            item = self._orders.get()
            if item is None:
                self._orders.put(None)
                return
            yield item

    def _tell(self, reports: tuple[AttemptReport, ...]) -> None:
        told = AttemptReports(self._address, reports, self.load)
        self._owner.take(told if self._address == OWNER else encode(REPORTS, told))


def _order(item: WorkOrder | bytes) -> WorkOrder:
    return decode(WORK_ORDER, item) if isinstance(item, bytes) else item


def _result() -> ModuleResult:
    return ModuleResult(Verdict.PASSED, Counts(1), 0.01, "3.11.7", tests=(TestResult("test_nothing", "passed", 0.001),))


class SimulatedPeers:
    """The parts of PeerClient that replicating uses: what is sent is encoded, and goes nowhere."""

    def __init__(self) -> None:
        self.digests_told = encode(DIGESTS, Digests({}))

    def replicate(self, _address: str, message: Replicate, _timeout: float) -> None:
        hashlib.sha256(encode(REPLICATE, message)).hexdigest()  # as it is signed

    def digests(self, _address: str) -> dict[str, int]:
        return decode(DIGESTS, self.digests_told).digests


# The owner -----------------------------------------------------------------------------------


class Owner:
    """The node that drives, without HTTP; `Workers` of its coordinator."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "mesh.db")
        self.ledger = Ledger(self.store, OWNER)
        peers = cast(PeerClient, SimulatedPeers())
        self._replicator = Replicator(OWNER, self.ledger, peers)
        clock, predictor = SystemClock(), History(self.store)
        self._outlook = Outlook(self.ledger, predictor, self.own_load, clock)
        self._reads = Reads(OWNER, self.ledger, peers, lambda: PEERS, self.store.evaluation, self._outlook.seconds_left)
        schedule = Schedule(LeastLoaded(), predictor)
        self._coordinator = Coordinator(OWNER, self.ledger, self, schedule, clock, lambda: PEERS, lambda _: None)
        self._requests = ThreadPoolExecutor(len(PEERS), thread_name_prefix="request")
        self.workers = {address: SimulatedWorker(address, self) for address in (OWNER, *PEERS)}
        self._stopping = threading.Event()
        self._pinger = threading.Thread(target=self._hear_pings, name="pings", daemon=True)
        self._news = threading.Condition()
        self.ended = 0  # modules, of all evaluations
        self.finished = 0  # evaluations
        self._awaited = (0, 0)  # such numbers
        self.ledger.subscribe(self._changed)
        self._coordinator.start()
        for address in PEERS:
            self._replicator.peer_joined(address)
            self._coordinator.node_joined(address)
        self._pinger.start()

    def close(self) -> None:
        self._stopping.set()
        for worker in self.workers.values():
            worker.stop()
        self._requests.shutdown()
        self._coordinator.stop()
        self._replicator.stop()
        self._reads.stop()
        self._pinger.join()
        self.store.close()

    def submit(self, evaluation: Evaluation) -> None:
        self.ledger.merge(Changes((evaluation,)), publish=True)
        self._coordinator.received(evaluation.id)

    def wait(self, *, ended: int, finished: int) -> None:
        with self._news:
            self._awaited = (ended, finished)
            if not self._news.wait_for(lambda: self.ended >= ended and self.finished >= finished, _PATIENCE_S):
                raise SystemExit(f"after {_PATIENCE_S:.0f} s only {self.ended} modules have ended")

    def read(self, evaluation_id: str) -> int:
        """As a GET does; the size of the answer in bytes."""
        return len(json.dumps(document(self._reads.view(evaluation_id), time.time())))

    def take(self, reports: AttemptReports | bytes) -> None:
        """What a worker says: in a thread of the server's, which the worker waits for."""
        self._requests.submit(self._take, reports).result()

    def _take(self, reports: AttemptReports | bytes) -> None:
        self._coordinator.reported(decode(REPORTS, reports) if isinstance(reports, bytes) else reports)

    def _changed(self, changes: Changes, _publish: bool) -> None:
        with self._news:
            self.ended += sum(record.state.verdict.is_final for record in changes.modules)
            self.finished += sum(evaluation.finished_at is not None for evaluation in changes.evaluations)
            if self.ended >= self._awaited[0] and self.finished >= self._awaited[1]:
                self._news.notify_all()

    def _hear_pings(self) -> None:
        """A peer is always a little behind, so its digest differs while results come, as in a busy mesh."""
        while not self._stopping.wait(_PING_S):
            for address in PEERS:
                self._outlook.load_seen(address, self.workers[address].load)
                self._coordinator.load_seen(address, self.workers[address].load)
                self._replicator.digest_seen(address, 1)

    # Workers

    def run(self, address: str, order: WorkOrder) -> None:
        self.workers[address].give(order if address == OWNER else encode(WORK_ORDER, order))

    def held(self, address: str) -> Held:
        return decode(HELD, encode(HELD, Held((), self.workers[address].load)))

    def hand_over(self, address: str, changes: Changes) -> None:
        raise NotImplementedError

    def own_load(self) -> Load:
        return self.workers[OWNER].load


# Measuring -----------------------------------------------------------------------------------


def evaluation_of(modules: int) -> Evaluation:
    projects = []
    for first in range(0, modules, MODULES_OF_PROJECT):
        plans = tuple(
            ModulePlan(f"tests/test_{number:04}.py", 1, content=hashlib.sha256(b"%d" % number).hexdigest())
            for number in range(first, min(modules, first + MODULES_OF_PROJECT))
        )
        projects.append(Project(f"project-{first:05}", f"class/project-{first:05}", plans))
    digest = uuid.uuid4().hex * 2
    source = Source(SourceKind.ZIP, "class", archive=digest, projects=tuple(projects))
    return Evaluation(str(uuid.uuid4()), time.time(), OWNER, (source,), holders=(OWNER, PEERS[0]), body_digest=digest)


def measure(modules: int = 5000, evaluations: int = 3) -> list[Row]:
    """One evaluation after the other on one owner."""
    times: list[float] = []
    sizes: list[int] = []  # resident, at the fifth part of the modules and at the end of each
    with tempfile.TemporaryDirectory() as folder:
        owner = Owner(Path(folder))
        try:
            for number in range(evaluations):
                evaluation = evaluation_of(modules)
                before = _owners_seconds(owner)
                owner.submit(evaluation)
                for part in range(MODULES_A_READ, modules + 1, MODULES_A_READ):
                    owner.wait(ended=number * modules + part, finished=0)
                    owner.read(evaluation.id)
                    if part == max(MODULES_A_READ, modules // 5 // MODULES_A_READ * MODULES_A_READ):
                        sizes.append(_resident())
                owner.wait(ended=(number + 1) * modules, finished=number + 1)
                times.append(_owners_seconds(owner) - before)
                sizes.append(_resident())
        finally:
            owner.close()
    return [_cost_row(times, modules), _growth_row(sizes, modules)]


def _owners_seconds(owner: Owner) -> float:
    return time.process_time() - sum(worker.seconds for worker in owner.workers.values())


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _cost_row(times: list[float], modules: int) -> Row:
    each = sorted(times)[len(times) // 2] / modules
    figure = f"{each * 1000:.2f} ms of processor time a module"
    detail = f"median of {len(times)} evaluations of {modules} modules, {min(times):.1f} to {max(times):.1f} s each"
    goal = f"at most {GOAL_S * 1000:.0f} ms"
    return Row("coordinator: modules that do nothing on three nodes", figure, goal, each <= GOAL_S, detail)


def _growth_row(sizes: list[int], modules: int) -> Row:
    """`sizes`: at the first fifth and at the end of each. Some caches fill for several evaluations; all are bounded."""
    ends = sizes[1::2]
    within, last = sizes[-1] - sizes[-2], ends[-1] - ends[-2] if len(ends) > 1 else 0
    shown = ", ".join(f"{size / MIB:.0f}" for size in ends)
    figure = f"{within / MIB:+.1f} MiB within the last of {len(ends)}, {last / MIB:+.1f} MiB since the one before"
    goal = f"flat: at most {GOAL_GROWTH // MIB} MiB more"
    detail = f"resident, from the first fifth of {modules} modules to the last; at the ends {shown} MiB"
    return Row("coordinator: memory", figure, goal, max(within, last) <= GOAL_GROWTH, detail)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.coordinator", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--modules", type=int, default=5000)
    parser.add_argument("--evaluations", type=int, default=3)
    chosen = parser.parse_args(arguments)
    rows = measure(chosen.modules, chosen.evaluations)
    for row in rows:
        print(f"{row.name}: {row.figure} (goal: {row.goal}) {row.detail}")  # noqa: T201
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
