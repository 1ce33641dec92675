"""The one way into the store: whoever merges, everybody who cares hears what changed."""

import threading
from collections.abc import Callable

from testmesh.node.replica import Changes
from testmesh.node.store import ResultStore

Listener = Callable[[Changes, bool], None]  # what changed, and whether this node is its origin


class Ledger:
    """Listeners are called in the merging thread, after the merge is durable; they must not block."""

    def __init__(self, store: ResultStore) -> None:
        self.store = store
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    def subscribe(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)

    def merge(self, changes: Changes, *, publish: bool) -> Changes:
        """`publish`: these records began here, so the peers are to be told."""
        if not changes:
            return changes
        merged = self.store.merge(changes)
        if merged:
            with self._lock:
                listeners = tuple(self._listeners)
            for listener in listeners:
                listener(merged, publish)
        return merged
