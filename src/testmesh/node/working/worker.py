"""The worker's side: takes orders, prepares projects, has modules run, and tells whoever owns them.

Preparing (code and environment) and running have threads of their own, so that a slow install holds up its own project
only. What is prepared is run when its turn has come and there is room for it (`starter.py`). A report is kept until the
evaluation's owner, or who took over from it, has it.
"""

import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from testmesh.clock import Clock, SystemClock
from testmesh.errors import ArchiveAwayError, DrainingError, EnvironmentFailedError, TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation, ModulePlan, ModuleResult, Project, Source, Verdict
from testmesh.node.messaging.messages import AttemptReport, AttemptReports, Held, Load, Returned, Task, WorkOrder
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.working.attempts import Attempt, Ready
from testmesh.node.working.outbox import Outbox
from testmesh.node.working.pressure import BlindSensor, Sensor
from testmesh.node.working.starter import Running, Starter
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.start_gate import NoGates, StartGates

log = logging.getLogger(__name__)
_PREPARERS = 16  # they mostly wait for the package index
P = TypeVar("P")


class Bench(Protocol[P]):
    """The room `testing`, as a worker uses it; `P` is what it makes of a project once for all its modules."""

    def prepare(self, evaluation: Evaluation, source: Source, project: Project, cancellation: Cancellation) -> P:
        """Raises EnvironmentFailedError (the student's fault), TestmeshError (this node's or a peer's).

        Both this and `run` raise concurrent.futures.CancelledError where an installation was cancelled.
        """
        ...

    def run(
        self, prepared: P, module: ModulePlan, cancellation: Cancellation, begun: Callable[[], None]
    ) -> ModuleResult:
        """`begun` is called when the module's own tests begin. Raises TestmeshError where the node failed."""
        ...

    def environment_failed(self, module: ModulePlan, detail: str) -> ModuleResult: ...

    def forget(self, evaluation_id: str) -> None:
        """Remove what was prepared for an evaluation that has ended."""
        ...


class Worker(Generic[P]):
    """Safe from any thread. `report` sends to the node at an address and raises PeerError.

    `slots`: the most modules at once, however much room `sensor` sees.
    """

    def __init__(
        self,
        address: str,
        slots: int,
        bench: Bench[P],
        ledger: Ledger,
        report: Callable[[str, AttemptReports], None],
        disk_is_full: Callable[[], bool] = lambda: False,
        sensor: Sensor | None = None,
        gates: StartGates | None = None,
        clock: Clock | None = None,
    ) -> None:
        sensor = sensor or BlindSensor()
        self._address = address
        self._disk_is_full = disk_is_full
        self._slots = slots
        self._cores = sensor.cores
        self._clock = clock or SystemClock()
        self._bench = bench
        self._ledger = ledger
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._held: dict[tuple[str, Task], Attempt] = {}
        self._numbers = itertools.count()
        self._draining = False
        self._preparers = ThreadPoolExecutor(_PREPARERS, thread_name_prefix="prepare")
        self._starter: Starter[Ready[P]] = Starter(
            slots, sensor, gates or NoGates(), self._run, lambda ready: self._forget(ready.attempt)
        )
        self._outbox = Outbox(address, ledger, report, self.load, self._taken)
        ledger.subscribe(self._changed)

    # From other threads ----------------------------------------------------------------------

    def accept(self, order: WorkOrder) -> None:
        """Take attempts up. One that is held already is not begun again; an older one of the same module gives way."""
        if self._draining:
            raise DrainingError("This node is leaving and takes no more modules.")
        taken_up = self._taken_up(order)
        self._starter.look()
        for source, project, attempts in taken_up:
            self._preparers.submit(self._prepare, order.evaluation, source, project, attempts)
        self._changed(self._known_of(order), False)  # it may be over; held by now, so that no end can be missed

    def held(self) -> Held:
        """What is cancelled before it ran ends without a report, so nobody is to wait for it."""
        with self._lock:
            tasks = (place for place, attempt in self._held.items() if attempt.running or not attempt.gives_way)
            return Held(tuple(tasks), self._load())

    def load(self) -> Load:
        with self._lock:
            return self._load()

    def drain(self) -> None:
        """Take no more orders and give back what does not run yet; what runs goes on."""
        self._draining = True
        with self._lock:
            waiting = [attempt for attempt in self._held.values() if not attempt.running and not attempt.ended]
            for attempt in waiting:
                attempt.cancellation.cancel()
        self._starter.look()
        for attempt in waiting:
            self._give_back(attempt, Returned.LEAVING)

    def wait_quiet(self, timeout: float) -> bool:
        """Whether, within `timeout`, nothing runs here and every report has been taken."""
        with self._quiet:
            return self._quiet.wait_for(lambda: not self._held, timeout)

    def stop(self) -> None:
        """End every module now; their evaluations' owner runs them elsewhere."""
        self._draining = True
        with self._lock:
            attempts = list(self._held.values())
        for attempt in attempts:
            attempt.cancellation.cancel()
        self._preparers.shutdown(wait=False, cancel_futures=True)
        self._starter.stop()
        self._outbox.stop()

    def _known_of(self, order: WorkOrder) -> Changes:
        store, evaluation_id = self._ledger.store, order.evaluation.id
        evaluation = store.evaluation(evaluation_id)
        records = (store.record(evaluation_id, task.project, task.module) for task in order.tasks)
        return Changes((evaluation,) if evaluation else (), tuple(record for record in records if record))

    # Keeping account -------------------------------------------------------------------------

    def _taken_up(self, order: WorkOrder) -> list[tuple[Source, Project, list[Attempt]]]:
        """What is new of an order, by project; numbered as the order has it."""
        named = {task.project for task in order.tasks}
        places = {
            project.name: (source, project, {plan.path: plan for plan in project.modules})
            for source in order.evaluation.sources
            for project in source.projects
            if project.name in named
        }
        attempts: dict[str, list[Attempt]] = {}
        with self._lock:
            for task in order.tasks:
                plan = places[task.project][2].get(task.module) if task.project in places else None
                if plan is not None and (order.evaluation.id, task) not in self._held:
                    attempts.setdefault(task.project, []).append(self._hold(order.evaluation.id, task, plan))
        return [(*places[name][:2], of_project) for name, of_project in attempts.items()]

    def _hold(self, evaluation_id: str, task: Task, plan: ModulePlan) -> Attempt:
        """Under the lock."""
        for older in self._held.values():
            if older.is_given_up_for(evaluation_id, task):
                older.cancellation.cancel()
        attempt = self._held[evaluation_id, task] = Attempt(evaluation_id, task, plan, next(self._numbers))
        return attempt

    def _load(self) -> Load:
        """One that is cancelled while it is prepared does nothing more, so it takes no room. Draining: no slots."""
        running = sum(attempt.running for attempt in self._held.values())
        waiting = sum(not attempt.running and not attempt.cancellation.is_set for attempt in self._held.values())
        return Load(0 if self._draining else self._slots, running, waiting, self._cores)

    def _changed(self, changes: Changes, _publish: bool) -> None:
        """Of an evaluation that is over, or of a module that has its result or runs elsewhere: it is given up."""
        over = {e.id for e in changes.evaluations if e.cancelled or e.finished_at is not None}
        known = {record.state.key: record.state for record in changes.modules}
        if not over and not known:
            return
        with self._lock:
            attempts = [
                attempt
                for attempt in self._held.values()
                if not attempt.ended
                and (attempt.evaluation in over or attempt.is_pointless(known.get(attempt.module_key)))
            ]
        for attempt in attempts:
            attempt.cancellation.cancel()
        if attempts:
            self._starter.look()

    def _taken(self, reports: Iterable[AttemptReport]) -> None:
        """The owner has these."""
        with self._lock:
            for report in reports:
                if report.is_over:
                    self._held.pop((report.evaluation, report.task), None)
            self._quiet.notify_all()

    # Doing the work --------------------------------------------------------------------------

    def _prepare(self, evaluation: Evaluation, source: Source, project: Project, attempts: list[Attempt]) -> None:
        attempts = self._without_cancelled(attempts)
        if not attempts:
            return
        preparing = Cancellation()

        def look() -> None:
            if all(attempt.cancellation.is_set for attempt in attempts):
                preparing.cancel()

        try:
            with contextlib.ExitStack() as stack:
                for attempt in attempts:
                    stack.enter_context(attempt.cancellation.telling(look))
                prepared = self._bench.prepare(evaluation, source, project, preparing)
        except CancelledError:
            for attempt in attempts:
                self._forget(attempt)
        except EnvironmentFailedError as error:
            self._environment_failed(attempts, error.detail)
        except ArchiveAwayError as error:
            log.info(
                "%s of evaluation %s: %s",
                project.name,
                evaluation.id,
                error,
                extra=about(evaluation=evaluation.id, project=project.name),
            )
            for attempt in attempts:
                self._give_back(attempt, Returned.NO_ARCHIVE)
        except TestmeshError as error:
            self._failed(attempts, error.detail)
        except Exception:
            log.exception(
                "preparing project %s of evaluation %s failed",
                project.name,
                evaluation.id,
                extra=about(evaluation=evaluation.id, project=project.name),
            )
            self._failed(attempts, "This node could not prepare the project; its log says why.")
        else:
            for attempt in self._without_cancelled(attempts):
                self._starter.offer(attempt.evaluation, attempt.number, Ready(attempt, prepared))
        finally:
            self._forget_if_over(evaluation.id)

    def _forget_if_over(self, evaluation_id: str) -> None:
        """It may have ended while its code was unpacked, after the rest of it was cleared away."""
        known = self._ledger.store.evaluation(evaluation_id)
        if known is not None and known.finished_at is not None:
            self._bench.forget(evaluation_id)

    def _environment_failed(self, attempts: Iterable[Attempt], detail: str) -> None:
        for attempt in attempts:
            try:
                result = self._bench.environment_failed(attempt.plan, detail)
            except Exception:
                log.exception(
                    "no result for %s of evaluation %s",
                    attempt.plan.path,
                    attempt.evaluation,
                    extra=about(**attempt.ids),
                )
                self._failed([attempt], "This node could not grade the module; its log says why.")
            else:
                self._ended(attempt, result)

    def _without_cancelled(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        left = []
        for attempt in attempts:
            if attempt.cancellation.is_set:
                self._forget(attempt)
            else:
                left.append(attempt)
        return left

    def _run(self, ready: Ready[P], running: Running) -> None:
        attempt = ready.attempt
        with self._lock:
            attempt.running = not attempt.cancellation.is_set  # as one step: what runs does not give way any more
        if not attempt.running:
            self._forget(attempt)
            return
        self._outbox.put(AttemptReport(attempt.evaluation, attempt.task, self._address))
        began_at = self._clock.wall()
        try:
            result = self._bench.run(ready.prepared, attempt.plan, attempt.cancellation, running.begun)
        except CancelledError:
            self._forget(attempt)
        except TestmeshError as error:
            self._failed([attempt], error.detail)
        except Exception:
            log.exception(
                "running %s of evaluation %s failed", attempt.plan.path, attempt.evaluation, extra=about(**attempt.ids)
            )
            self._failed([attempt], "This node could not run the module; its log says why.")
        else:
            if attempt.cancellation.is_set:
                self._forget(attempt)
            else:
                running.used_cores = result.cpu_time / result.time if result.time else 0.0
                starved = result.verdict is Verdict.TIMEOUT and running.was_starved()
                self._ended(attempt, replace(result, began_at=began_at), starved=starved)

    def _ended(self, attempt: Attempt, result: ModuleResult, *, starved: bool = False) -> None:
        self._is_over(attempt)
        task, told = attempt.task, about(**attempt.ids, node=self._address)
        log.info("%s of %s: %s after %.2f s", task.module, task.project, result.verdict, result.time, extra=told)
        report = AttemptReport(attempt.evaluation, attempt.task, self._address, result, starved=starved)
        self._outbox.put(report)

    def _failed(self, attempts: Iterable[Attempt], detail: str) -> None:
        for attempt in attempts:
            if self._disk_is_full():
                self._give_back(attempt, Returned.DISK_FULL)
                continue
            self._is_over(attempt)
            told = about(**attempt.ids, node=self._address)
            log.warning("%s could not be run here: %s", attempt.task.module, detail, extra=told)
            result = ModuleResult(Verdict.INFRA_FAILED, detail=detail)
            self._outbox.put(AttemptReport(attempt.evaluation, attempt.task, self._address, result, retry=True))

    def _give_back(self, attempt: Attempt, why: Returned) -> None:
        self._is_over(attempt)
        self._outbox.put(AttemptReport(attempt.evaluation, attempt.task, self._address, returned=why))

    def _is_over(self, attempt: Attempt) -> None:
        """All but its report."""
        with self._lock:
            attempt.running, attempt.ended = False, True

    def _forget(self, attempt: Attempt) -> None:
        """Unless a report of it is on its way."""
        with self._lock:
            if not attempt.ended:
                self._held.pop((attempt.evaluation, attempt.task), None)
            self._quiet.notify_all()
