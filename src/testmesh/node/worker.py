"""The worker's side: takes orders, prepares projects, runs modules in its slots, and tells whoever owns them.

Preparing (code and environment) and running have threads of their own, so that a slow install holds up its own project
only. A report is kept until the evaluation's owner, or who took over from it, has it.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from testmesh.errors import ArchiveAwayError, DrainingError, EnvironmentFailedError, TestmeshError
from testmesh.model import Evaluation, ModulePlan, ModuleResult, Project, Source, Verdict
from testmesh.node.ledger import Ledger
from testmesh.node.messages import AttemptReport, AttemptReports, Held, Load, Returned, Task, WorkOrder
from testmesh.node.outbox import Outbox
from testmesh.node.replica import Changes
from testmesh.testing.cancellation import Cancellation

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

    def run(self, prepared: P, module: ModulePlan, cancellation: Cancellation) -> ModuleResult:
        """Raises TestmeshError where the node failed, not the module."""
        ...

    def environment_failed(self, module: ModulePlan, detail: str) -> ModuleResult: ...

    def forget(self, evaluation_id: str) -> None:
        """Remove what was prepared for an evaluation that has ended."""
        ...


@dataclass(eq=False, slots=True)
class _Attempt:
    evaluation: str
    task: Task
    plan: ModulePlan
    cancellation: Cancellation = field(default_factory=Cancellation)
    running: bool = False
    ended: bool = False  # its report is on its way

    @property
    def gives_way(self) -> bool:
        """Cancelled before it ran."""
        return self.cancellation.is_set and not self.running and not self.ended


class Worker(Generic[P]):
    """Safe from any thread. `report` sends to the node at an address and raises PeerError."""

    def __init__(
        self,
        address: str,
        slots: int,
        bench: Bench[P],
        ledger: Ledger,
        report: Callable[[str, AttemptReports], None],
        disk_is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._address = address
        self._disk_is_full = disk_is_full
        self._slots = slots
        self._bench = bench
        self._ledger = ledger
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._held: dict[tuple[str, Task], _Attempt] = {}
        self._draining = False
        self._preparers = ThreadPoolExecutor(_PREPARERS, thread_name_prefix="prepare")
        self._runners = ThreadPoolExecutor(slots, thread_name_prefix="module")
        self._outbox = Outbox(address, ledger, report, self.load, self._taken)
        ledger.subscribe(self._changed)

    # From other threads ----------------------------------------------------------------------

    def accept(self, order: WorkOrder) -> None:
        """Take attempts up. One that is held already is not begun again; an older one of the same module gives way."""
        if self._draining:
            raise DrainingError("This node is leaving and takes no more modules.")
        for source in order.evaluation.sources:
            for project in source.projects:
                plans = {plan.path: plan for plan in project.modules}
                tasks = [task for task in order.tasks if task.project == project.name and task.module in plans]
                attempts = self._hold(order.evaluation.id, [(task, plans[task.module]) for task in tasks])
                if attempts:
                    self._preparers.submit(self._prepare, order.evaluation, source, project, attempts)
        known = self._ledger.store.evaluation(order.evaluation.id)
        if known is not None:  # an order that comes when all is over; held by now, so that no end can be missed
            self._changed(Changes((known,)), False)

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
        self._runners.shutdown(wait=True, cancel_futures=True)
        self._outbox.stop()

    # Keeping account -------------------------------------------------------------------------

    def _hold(self, evaluation_id: str, tasks: Sequence[tuple[Task, ModulePlan]]) -> list[_Attempt]:
        attempts = []
        with self._lock:
            for task, plan in tasks:
                if (evaluation_id, task) in self._held:
                    continue
                for attempt in self._held.values():
                    if _is_older(attempt, evaluation_id, task):
                        attempt.cancellation.cancel()
                attempt = self._held[evaluation_id, task] = _Attempt(evaluation_id, task, plan)
                attempts.append(attempt)
        return attempts

    def _load(self) -> Load:
        """One that is cancelled while it is prepared does nothing more, so it takes no room. Draining: no slots."""
        running = sum(attempt.running for attempt in self._held.values())
        waiting = sum(not attempt.running and not attempt.cancellation.is_set for attempt in self._held.values())
        return Load(0 if self._draining else self._slots, running, waiting)

    def _changed(self, changes: Changes, _publish: bool) -> None:
        over = {e.id for e in changes.evaluations if e.cancelled or e.finished_at is not None}
        if over:
            with self._lock:
                attempts = [attempt for attempt in self._held.values() if attempt.evaluation in over]
            for attempt in attempts:
                attempt.cancellation.cancel()

    def _taken(self, reports: Iterable[AttemptReport]) -> None:
        """The owner has these."""
        with self._lock:
            for report in reports:
                if report.is_over:
                    self._held.pop((report.evaluation, report.task), None)
            self._quiet.notify_all()

    # Doing the work --------------------------------------------------------------------------

    def _prepare(self, evaluation: Evaluation, source: Source, project: Project, attempts: list[_Attempt]) -> None:
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
            log.info("%s of evaluation %s: %s", project.name, evaluation.id, error)
            for attempt in attempts:
                self._give_back(attempt, Returned.NO_ARCHIVE)
        except TestmeshError as error:
            self._failed(attempts, error.detail)
        except Exception:
            log.exception("preparing project %s of evaluation %s failed", project.name, evaluation.id)
            self._failed(attempts, "This node could not prepare the project; its log says why.")
        else:
            for attempt in self._without_cancelled(attempts):
                with contextlib.suppress(RuntimeError):  # this node stops
                    self._runners.submit(self._run, prepared, attempt)
        finally:
            self._forget_if_over(evaluation.id)

    def _forget_if_over(self, evaluation_id: str) -> None:
        """It may have ended while its code was unpacked, after the rest of it was cleared away."""
        known = self._ledger.store.evaluation(evaluation_id)
        if known is not None and known.finished_at is not None:
            self._bench.forget(evaluation_id)

    def _environment_failed(self, attempts: Iterable[_Attempt], detail: str) -> None:
        for attempt in attempts:
            try:
                result = self._bench.environment_failed(attempt.plan, detail)
            except Exception:
                log.exception("no result for %s of evaluation %s", attempt.plan.path, attempt.evaluation)
                self._failed([attempt], "This node could not grade the module; its log says why.")
            else:
                self._ended(attempt, result)

    def _without_cancelled(self, attempts: Iterable[_Attempt]) -> list[_Attempt]:
        left = []
        for attempt in attempts:
            if attempt.cancellation.is_set:
                self._forget(attempt)
            else:
                left.append(attempt)
        return left

    def _run(self, prepared: P, attempt: _Attempt) -> None:
        with self._lock:
            attempt.running = not attempt.cancellation.is_set  # as one step: what runs does not give way any more
        if not attempt.running:
            self._forget(attempt)
            return
        self._outbox.put(AttemptReport(attempt.evaluation, attempt.task, self._address))
        try:
            result = self._bench.run(prepared, attempt.plan, attempt.cancellation)
        except CancelledError:
            self._forget(attempt)
        except TestmeshError as error:
            self._failed([attempt], error.detail)
        except Exception:
            log.exception("running %s of evaluation %s failed", attempt.plan.path, attempt.evaluation)
            self._failed([attempt], "This node could not run the module; its log says why.")
        else:
            if attempt.cancellation.is_set:
                self._forget(attempt)
            else:
                self._ended(attempt, result)

    def _ended(self, attempt: _Attempt, result: ModuleResult) -> None:
        self._is_over(attempt)
        self._outbox.put(AttemptReport(attempt.evaluation, attempt.task, self._address, result))

    def _failed(self, attempts: Iterable[_Attempt], detail: str) -> None:
        for attempt in attempts:
            if self._disk_is_full():
                self._give_back(attempt, Returned.DISK_FULL)
                continue
            self._is_over(attempt)
            result = ModuleResult(Verdict.INFRA_FAILED, detail=detail)
            self._outbox.put(AttemptReport(attempt.evaluation, attempt.task, self._address, result, retry=True))

    def _give_back(self, attempt: _Attempt, why: Returned) -> None:
        self._is_over(attempt)
        self._outbox.put(AttemptReport(attempt.evaluation, attempt.task, self._address, returned=why))

    def _is_over(self, attempt: _Attempt) -> None:
        """All but its report."""
        with self._lock:
            attempt.running, attempt.ended = False, True

    def _forget(self, attempt: _Attempt) -> None:
        """Unless a report of it is on its way."""
        with self._lock:
            if not attempt.ended:
                self._held.pop((attempt.evaluation, attempt.task), None)
            self._quiet.notify_all()


def _is_older(attempt: _Attempt, evaluation_id: str, task: Task) -> bool:
    """Whether it is an earlier attempt of the same module that has not begun to run: the owner gave it up."""
    mine = attempt.task
    return (
        attempt.evaluation == evaluation_id
        and (mine.project, mine.module) == (task.project, task.module)
        and (mine.epoch, mine.attempt) < (task.epoch, task.attempt)
        and not attempt.running
    )
