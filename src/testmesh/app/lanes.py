"""Threads by what a request is for: requests of one kind cannot keep out those of another.

What other nodes and monitors ask, what people read, and what changes something have threads of their own. More of a
kind than it has threads wait their turn; nothing is computed for them meanwhile.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import MappingProxyType

from testmesh.app.uploads import MAX_RECEIVING

NODES, READS, CHANGES = "nodes", "reads", "changes"
THREADS = MappingProxyType(
    {
        NODES: 64,
        READS: 32,  # each may hold a large answer that it is making or sending
        CHANGES: MAX_RECEIVING + 16,  # beyond the submissions that may be on their way, those that are refused
    }
)
# The first names of paths that nodes and monitors ask.
NODE_NAMES = frozenset(
    b"join new_peer ping load run_tests results evaluation_req archive fetch_archives held_archives stats_req vitals "
    b"kill health metrics".split()
)
HEAD_BYTES = 16 * 1024  # so much of a request is looked at

MOST_PENDING = 64 * 1024 * 1024  # bytes of answers that a lane's threads hold for clients that do not take them
SHORT_S = 1.0
SHORT_RATE = 64 * 1024  # bytes a second, beyond SHORT_S


class Patience:
    """How long a lane's threads wait for their clients: briefly while too many of them do, or hold too much for them.

    Safe from any thread.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting = 0
        self._pending = 0
        self._lock = threading.Lock()

    @contextmanager
    def waiting(self, pending: int = 0) -> Iterator[None]:
        """`pending` bytes are held in memory meanwhile."""
        with self._lock:
            self._waiting += 1
            self._pending += pending
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                self._pending -= pending

    def allowed(self, seconds: float, moved: int) -> float:
        """Of `seconds`, what a client may be waited for in all that has moved `moved` bytes."""
        is_crowded = self._waiting > self._most or self._pending > MOST_PENDING
        return min(seconds, SHORT_S + moved / SHORT_RATE) if is_crowded else seconds


class Lane:
    def __init__(self, name: str) -> None:
        count = THREADS[name]
        self.threads = ThreadPoolExecutor(count, thread_name_prefix=name)
        # The changes' threads may all wait but for a few: there are only so many submissions at a time.
        self.patience = Patience(count - 8 if name == CHANGES else count // 2)


def lane_of(head: bytes) -> str:
    """The lane of a request that begins so. One for nodes has its whole head, so no thread there waits for it."""
    method, _, rest = head.partition(b" ")
    if rest[:1] == b"/" and b"\r\n\r\n" in rest:
        name = rest[1:].split(b" ", 1)[0].split(b"?", 1)[0].split(b"/", 1)[0]
        if name in NODE_NAMES:
            return NODES
    return READS if method in (b"GET", b"HEAD", b"OPTIONS") or not rest else CHANGES
