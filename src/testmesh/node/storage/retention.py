"""Which evaluations are kept: the newest ones that have ended, and all that have not. Of others the totals stay.

One of which the end is still to be told (`callback_url`) is kept a little longer: of what is pruned nobody is told.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from testmesh.errors import TestmeshError
from testmesh.model import Evaluation
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, may_be_pruned, prune
from testmesh.node.storage.store import Ended

log = logging.getLogger(__name__)
_LOOK_S = 3600.0  # where there is a limit by age: nothing need happen for it to be reached
_AT_ONCE = 20  # pruned in one transaction
_DAY_S = 86_400.0
_MOST_AWAITING = 100  # so many more than are kept stay for their callbacks, which take about an hour at most,
_AWAITING_S = _DAY_S  # and so long beyond the limit by age


def to_prune(ended: Sequence[Ended], keep: int, ended_before: float | None = None) -> list[str]:
    """The ids beyond the newest `keep`, and those that ended before a moment (Unix seconds), oldest first.

    The age that `keep` goes by is the order of submission that every node agrees on, and nobody's clock.
    """
    in_order = sorted(ended)
    beyond = max(0, len(in_order) - keep)
    return [
        found.id
        for place, found in enumerate(in_order)
        if place < beyond or (ended_before is not None and found.finished_at < ended_before)
    ]


def _awaits_callback(evaluation: Evaluation) -> bool:
    return evaluation.options.callback_url is not None and not evaluation.called_back


class Retention:
    """Prunes in a thread of its own, at the start and whenever an evaluation ends.

    `keep_days` goes by `today`, Unix seconds, or None where that is not known well enough.

    Each node decides for itself and tells the others, so of different settings the smallest wins. An evaluation of
    which this node lacks results waits until it has them.
    """

    def __init__(self, ledger: Ledger, keep: int, keep_days: int | None, today: Callable[[], float | None]) -> None:
        self._ledger = ledger
        self._today = today
        self._keep = keep
        self._keep_days = keep_days
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        ledger.subscribe(self._look)
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _look(self, changes: Changes, _publish: bool) -> None:
        if any(e.finished_at is not None and e.pruned is None for e in changes.evaluations):
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(timeout=None if self._keep_days is None else _LOOK_S)
            self._wake.clear()
            if self._stopped:
                return
            try:
                self._prune()
            except TestmeshError as error:
                log.warning("old evaluations could not be pruned: %s", error)
            except Exception:
                log.exception("old evaluations could not be pruned")

    def _prune(self) -> None:
        store = self._ledger.store
        today = None if self._keep_days is None else self._today()
        oldest = None if today is None or self._keep_days is None else today - self._keep_days * _DAY_S
        ended = store.ended()
        ids = to_prune(ended, self._keep, oldest)
        last = None if oldest is None else oldest - _AWAITING_S
        no_longer = frozenset(to_prune(ended, self._keep + _MOST_AWAITING, last))
        for start in range(0, len(ids), _AT_ONCE):
            if self._stopped:
                return
            pruned = []
            for evaluation_id in ids[start : start + _AT_ONCE]:
                evaluation = store.evaluation(evaluation_id)
                if evaluation is None or (_awaits_callback(evaluation) and evaluation_id not in no_longer):
                    continue
                states = store.states(evaluation_id)
                if may_be_pruned(evaluation, states):
                    pruned.append(prune(evaluation, states))
            if pruned:
                self._ledger.merge(Changes(tuple(pruned)), publish=True)
                log.info("%d evaluations are pruned; what they add to the totals stays", len(pruned))
