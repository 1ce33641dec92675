"""The one way into the store: whoever merges, everybody who cares hears what changed."""

import math
import threading
from collections.abc import Callable, Iterable

from testmesh.errors import DiskFullError
from testmesh.model import Evaluation
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import ResultStore

Listener = Callable[[Changes, bool], None]  # what changed, and whether this node is its origin


class Ledger:
    """Listeners are called in the merging thread, after the merge is durable; they must not block."""

    def __init__(self, store: ResultStore, address: str = "") -> None:
        self.store = store
        self._address = address
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._owners: dict[str, tuple[int, str]] = {}  # epoch and owner by evaluation, where the disk was full

    def subscribe(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)

    def merge(self, changes: Changes, *, publish: bool) -> Changes:
        """`publish`: these records began here, so the peers are to be told."""
        if not changes:
            return changes
        try:
            merged = self.store.merge(changes)
        except DiskFullError:
            if not publish:  # what a peer says is so already; but not what it asks of this node
                self.note_owners(e for e in changes.evaluations if e.owner != self._address)
            raise
        self._forget_owners(changes.evaluations)
        if merged:
            with self._lock:
                listeners = tuple(self._listeners)
            for listener in listeners:
                listener(merged, publish)
        return merged

    def owner_of(self, evaluation: Evaluation) -> str:
        """Who drives it: as it is stored, or as was heard since and there was no room to store."""
        with self._lock:
            epoch, owner = self._owners.get(evaluation.id, (-1, ""))
            if evaluation.epoch >= epoch:
                self._owners.pop(evaluation.id, None)
                return evaluation.owner
            return owner

    def doubt_owner(self, evaluation_id: str) -> None:
        """Who was said to drive it says no."""
        with self._lock:
            self._owners.pop(evaluation_id, None)

    def _forget_owners(self, stored: Iterable[Evaluation]) -> None:
        with self._lock:
            for found in stored if self._owners else ():
                if self._owners.get(found.id, (math.inf, ""))[0] <= found.epoch:
                    del self._owners[found.id]

    def note_owners(self, evaluations: Iterable[Evaluation]) -> None:
        """Who drives these is known, though there is no room to store it."""
        with self._lock:
            for found in evaluations:
                claim = (found.epoch, found.owner)
                self._owners[found.id] = max(claim, self._owners.get(found.id, claim))
