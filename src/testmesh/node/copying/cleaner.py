"""What an evaluation leaves behind on a node when it has ended: its code, and archives that only its run needed.

One that was pruned leaves every archive, also where this node had promised to keep it. And there are archives of
submissions that were refused elsewhere after this node had fetched them: nobody ever names those.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from testmesh.clock import Clock, SystemClock
from testmesh.logs import about
from testmesh.model import Evaluation
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes

log = logging.getLogger(__name__)
_LOOK_EVERY_S = 1800.0  # for what nobody names
_UNNAMED_S = 3600.0  # so long in this process's time: its record may be on its way from a peer that was away
_OLD_S = 86400.0  # by the file's time, which alone is not trusted: the clock may jump


class Cleaner:
    """Works in threads of its own. `forget` removes what was prepared for an evaluation."""

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        archives: ArchiveStore,
        forget: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._address = address
        self._store = ledger.store
        self._archives = archives
        self._forget = forget
        self._clock = clock or SystemClock()
        self._unnamed_since: dict[str, float] = {}  # monotonic
        self._stopped = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clean")
        ledger.subscribe(self._look)
        self._thread.submit(self._sweep)
        threading.Thread(target=self._sweep_now_and_then, name="clean-unnamed", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.shutdown(wait=True)

    def sweep_unnamed(self) -> None:
        """Drop the archives that no record names, and that nobody has used, for long."""
        now = self._clock.monotonic()
        unnamed = {digest for digest in self._archives.held() if not self._store.naming_archive(digest)}
        self._unnamed_since = {digest: self._unnamed_since.get(digest, now) for digest in unnamed}
        for digest, since in self._unnamed_since.items():
            used_at = self._archives.used_at(digest)
            quiet_since = since if used_at is None else max(since, used_at)
            if now - quiet_since >= _UNNAMED_S and self._archives.age(digest, self._clock.wall()) >= _OLD_S:
                log.info("no evaluation names the archive %s; it is removed", digest)
                self._archives.drop(digest, lambda digest: bool(self._store.naming_archive(digest)))

    def _sweep_now_and_then(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY_S):
            try:
                self._thread.submit(self.sweep_unnamed).result()
            except Exception:
                if not self._stopped.is_set():
                    log.exception("archives that nobody names could not be looked for; it is done again later")

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
            log.exception(
                "could not clean up after evaluation %s", evaluation.id, extra=about(evaluation=evaluation.id)
            )

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
