"""Counts the evaluations that this node drove to their end."""

import threading
from collections.abc import Callable

from testmesh.model import Evaluation, EvaluationStatus
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.summaries import summarize


class Endings:
    """Safe from any thread. `ended` is called once for each, when this node itself finds that it has ended."""

    def __init__(self, address: str, ledger: Ledger, ended: Callable[[EvaluationStatus], None]) -> None:
        self._address = address
        self._store = ledger.store
        self._ended = ended
        self._lock = threading.Lock()
        self._counted = {e.id: False for e in self._store.unfinished() if e.owner == address}
        ledger.subscribe(self._changed)

    def _changed(self, changes: Changes, publish: bool) -> None:
        for evaluation in changes.evaluations:
            if evaluation.pruned is not None:
                with self._lock:
                    self._counted.pop(evaluation.id, None)
            elif publish and evaluation.owner == self._address:
                self._see(evaluation)

    def _see(self, evaluation: Evaluation) -> None:
        """An end is told of by further changes too: who else holds its files, that it was called back."""
        with self._lock:
            is_counted = self._counted.setdefault(evaluation.id, evaluation.finished_at is not None)
            if is_counted or evaluation.finished_at is None:
                return
            self._counted[evaluation.id] = True
        self._ended(summarize(evaluation, self._store.tallies([evaluation.id])[evaluation.id]).status)
