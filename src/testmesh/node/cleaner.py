"""What an evaluation leaves behind on a node when it has ended: its code, and archives that only its run needed.

One that was pruned leaves every archive, also where this node had promised to keep it.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from testmesh.model import Evaluation
from testmesh.node.archives import ArchiveStore
from testmesh.node.ledger import Ledger
from testmesh.node.replica import Changes

log = logging.getLogger(__name__)


class Cleaner:
    """Works in a thread of its own. `forget` removes what was prepared for an evaluation."""

    def __init__(self, address: str, ledger: Ledger, archives: ArchiveStore, forget: Callable[[str], None]) -> None:
        self._address = address
        self._store = ledger.store
        self._archives = archives
        self._forget = forget
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clean")
        ledger.subscribe(self._look)
        self._thread.submit(self._sweep)

    def stop(self) -> None:
        self._thread.shutdown(wait=True)

    def _look(self, changes: Changes, _publish: bool) -> None:
        for evaluation in changes.evaluations:
            if evaluation.finished_at is not None:
                self._thread.submit(self._clean, evaluation)

    def _clean(self, evaluation: Evaluation) -> None:
        try:
            self._forget(evaluation.id)
            archives = evaluation.pruned.archives if evaluation.pruned else evaluation.archives
            if self._address not in evaluation.holders:
                for digest in archives:
                    self._archives.drop(digest, self._is_needed)
        except Exception:
            log.exception("could not clean up after evaluation %s", evaluation.id)

    def _sweep(self) -> None:
        """A node that ended between pruning and cleaning goes on with it."""
        try:
            for digest in self._archives.held() & self._store.released_archives():
                self._archives.drop(digest, self._is_needed)
        except Exception:
            log.exception("could not clean up after evaluations that were pruned")

    def _is_needed(self, digest: str) -> bool:
        """Whether an evaluation that has not ended may run from it here, or this node promised to keep it."""
        return any(
            evaluation.finished_at is None or self._address in evaluation.holders
            for evaluation in self._store.naming_archive(digest)
        )
