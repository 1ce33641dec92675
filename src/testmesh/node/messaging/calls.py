"""Calls to other nodes, a few at a time to each: one that does not answer holds up those to nobody else."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_THREADS = 32
_AT_ONCE = 2  # to one node


class Calls:
    """Safe from any thread. A call must not raise."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._under_way: dict[str, int] = {}
        self._stopped = False

    def submit(self, node: str, call: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.setdefault(node, deque()).append(call)
            self._begin(node)

    def drop(self, node: str) -> None:
        """Forget what waits for a node: it is gone."""
        with self._lock:
            self._waiting.pop(node, None)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, node: str) -> None:
        """As many of a node's calls as may be under way. With the lock."""
        waiting = self._waiting.get(node)
        while waiting and self._under_way.get(node, 0) < _AT_ONCE and not self._stopped:
            call = waiting.popleft()
            self._under_way[node] = self._under_way.get(node, 0) + 1
            self._threads.submit(self._run, node, call)
        if not waiting:
            self._waiting.pop(node, None)

    def _run(self, node: str, call: Callable[[], None]) -> None:
        try:
            call()
        finally:
            with self._lock:
                self._under_way[node] -= 1
                if not self._under_way[node]:
                    del self._under_way[node]
                self._begin(node)
