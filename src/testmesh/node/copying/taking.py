"""The other end of a promise: what a node does when it is asked to keep a copy, or what it holds."""

import time
from collections.abc import Callable
from dataclasses import replace

from testmesh.errors import ConflictError, DiskFullError
from testmesh.model import Evaluation
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.claims import KEY_USED, Claims
from testmesh.node.copying.copies import with_holders
from testmesh.node.copying.fetching import ArchiveFetcher
from testmesh.node.messaging.messages import ArchivesAsked, ArchivesHeld, FetchOrder, FetchProgress, Replicate
from testmesh.node.storage.ledger import Ledger

_LOOK_FOR_S = 2.0  # archives may be many and big, and each is read whole once a process


class CopyTaker:
    """Safe from any thread. `is_full` tells whether the disk has no room for more files."""

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        archives: ArchiveStore,
        fetcher: ArchiveFetcher,
        claims: Claims,
        is_full: Callable[[], bool],
    ) -> None:
        self._address = address
        self._ledger = ledger
        self._archives = archives
        self._fetcher = fetcher
        self._claims = claims
        self._is_full = is_full

    def fetch(self, order: FetchOrder) -> FetchProgress:
        """Raises DiskFullError, and what kept this node from fetching."""
        self._check_room(order.archives)
        return self._fetcher.order(order)

    def take(self, message: Replicate) -> None:
        """Fetch what is named, merge what came: both are on the disk when this returns.

        Of an evaluation that has ended a promise is about its files only. Its end comes with its results, or after
        them: known without, it would stop who runs them. So it is not merged here; the sender tells who holds it.

        Raises:
            ConflictError: a promise is asked for, and another submission has the id here.
            DiskFullError, InfrastructureError.
        """
        if not message.promise:
            self._fetch(message)
            self._ledger.merge(message.changes, publish=False)
            return
        for evaluation in message.changes.evaluations:
            with self._claims.hold(evaluation.id, evaluation.body_digest), self._archives.keeping(message.archives):
                self._check_known(evaluation)
                self._fetch(message)
                known = self._check_known(evaluation)  # it may have come meanwhile
                kept = evaluation if evaluation.finished_at is None else known
                if kept is not None:
                    # As a holder, so that somebody can go on should the sender die before it tells who has copies.
                    kept = with_holders(kept, self._address)
                    self._ledger.merge(replace(message.changes, evaluations=(kept,)), publish=False)

    def held(self, asked: ArchivesAsked) -> ArchivesHeld:
        """From the disk, the content checked; as much as can be looked at in a moment."""
        held: list[str] = []
        missing: list[str] = []
        until = time.monotonic() + _LOOK_FOR_S
        for digest in asked.archives:
            if self._archives.is_checked(digest) or time.monotonic() < until:
                (missing if self._archives.path(digest) is None else held).append(digest)
        return ArchivesHeld(tuple(held), tuple(missing))

    def _fetch(self, message: Replicate) -> None:
        self._check_room(message.archives)
        order = FetchOrder(message.archives, message.holder)
        while self._fetcher.order(order).missing:
            pass  # it waits a moment in itself, and fails when nothing comes any more

    def _check_room(self, archives: tuple[str, ...]) -> None:
        if archives and self._is_full() and any(self._archives.path(digest) is None for digest in archives):
            raise DiskFullError("This node's disk is full.")

    def _check_known(self, evaluation: Evaluation) -> Evaluation | None:
        """What is known of it here."""
        known = self._ledger.store.evaluation(evaluation.id)
        if known is not None and known.body_digest != evaluation.body_digest:
            raise ConflictError(KEY_USED)
        return known
