"""Evaluations as they were read last, so that what did not change is not read from its document again and again."""

import threading
from collections import OrderedDict

from testmesh.model import Evaluation

_MOST_MODULES = 10_000  # planned in all that is remembered: about 5 MB


class RecentEvaluations:
    """Safe from any thread. Records never change, so one may be given to many; its fingerprint tells which it is."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, Evaluation]] = OrderedDict()
        self._modules = 0
        self._lock = threading.Lock()

    def get(self, evaluation_id: str, fingerprint: int) -> Evaluation | None:
        with self._lock:
            known, evaluation = self._known.get(evaluation_id, (None, None))
            if known != fingerprint:
                return None
            self._known.move_to_end(evaluation_id)
            return evaluation

    def put(self, evaluation: Evaluation, fingerprint: int) -> None:
        with self._lock:
            self._drop(evaluation.id)
            self._known[evaluation.id] = (fingerprint, evaluation)
            self._modules += _weight(evaluation)
            while self._modules > _MOST_MODULES and len(self._known) > 1:
                self._drop(next(iter(self._known)))

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._modules = 0

    def _drop(self, evaluation_id: str) -> None:
        known = self._known.pop(evaluation_id, None)
        if known is not None:
            self._modules -= _weight(known[1])


def _weight(evaluation: Evaluation) -> int:
    """An evaluation without modules takes room too."""
    return 10 + sum(len(project.modules) for project in evaluation.projects)
