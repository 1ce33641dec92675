"""When evaluations will most likely end, as this node sees it: what is open, since when it runs, and who works."""

import threading
from collections.abc import Callable, Sequence

from testmesh.clock import Clock
from testmesh.model import Evaluation, ModuleState, Verdict
from testmesh.node.driving.eta import Capacity, OpenModule, seconds_left
from testmesh.node.driving.prediction import Predictor
from testmesh.node.messaging.messages import Load
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes

_Module = tuple[str, str]  # project and path
_Attempt = tuple[int, int]  # epoch and number


class Outlook:
    """Safe from any thread. `own_load` gives this node's.

    Since when a module runs is taken from this node's monotonic clock, so that no other's clock matters.
    """

    def __init__(self, ledger: Ledger, predictor: Predictor, own_load: Callable[[], Load], clock: Clock) -> None:
        self._store = ledger.store
        self._predictor = predictor
        self._own_load = own_load
        self._clock = clock
        self._lock = threading.Lock()
        self._loads: dict[str, Load] = {}
        self._since: dict[str, dict[_Module, tuple[_Attempt, float]]] = {}  # by unfinished evaluation
        ledger.subscribe(self._note)

    def load_seen(self, address: str, load: Load) -> None:
        with self._lock:
            self._loads[address] = load

    def node_gone(self, address: str) -> None:
        with self._lock:
            self._loads.pop(address, None)

    def seconds_left(self, evaluation: Evaluation, states: Sequence[ModuleState]) -> float | None:
        """None where it has ended, is cancelled, or cannot be told yet."""
        if evaluation.finished_at is not None or evaluation.cancelled:
            return None
        if not all(source.is_resolved for source in evaluation.sources):
            return None
        known = {(state.project, state.module): state for state in states}
        is_open = []
        for project in evaluation.projects:
            for plan in project.modules:
                state = known.get((project.name, plan.path))
                if state is None or not state.verdict.is_final:
                    is_open.append(OpenModule(self._predictor.predict(plan), self._runs_for(state)))
        capacity = self._capacity().share(self._store.unfinished_count())
        return seconds_left(is_open, capacity, evaluation.options.module_timeout_s)

    def _capacity(self) -> Capacity:
        own = self._own_load()
        with self._lock:
            loads = [own, *self._loads.values()]
        working = [load for load in loads if load.slots > 0]
        return Capacity(sum(load.cores for load in working), sum(load.slots for load in working))

    def _note(self, changes: Changes, _publish: bool) -> None:
        now = self._clock.monotonic()
        with self._lock:
            for record in changes.modules:
                state = record.state
                place, attempt = (state.project, state.module), (state.epoch, state.attempt)
                if state.verdict is not Verdict.RUNNING:
                    self._forget(state.evaluation, place)
                    continue
                since = self._since.setdefault(state.evaluation, {})
                if since.get(place, (None, now))[0] != attempt:
                    since[place] = attempt, now
            for evaluation in changes.evaluations:
                if evaluation.finished_at is not None:
                    self._since.pop(evaluation.id, None)

    def _forget(self, evaluation_id: str, place: tuple[str, str]) -> None:
        """Under the lock."""
        since = self._since.get(evaluation_id, {})
        since.pop(place, None)
        if not since:
            self._since.pop(evaluation_id, None)

    def _runs_for(self, state: ModuleState | None) -> float | None:
        """Seconds since this node heard of it; None where it does not run."""
        if state is None or state.verdict is not Verdict.RUNNING:
            return None
        now = self._clock.monotonic()
        with self._lock:
            _, since = self._since.get(state.evaluation, {}).get((state.project, state.module), (None, now))
        return max(0.0, now - since)
