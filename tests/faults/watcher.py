"""Looks at all nodes while a scenario runs, and remembers every final result that it saw change (invariant B)."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from tests.faults.cluster_node import ClusterNode

_INTERVAL_S = 0.4
_FINISHED_EVERY = 5  # rounds; those that have ended should not change any more
_OPEN = ("pending", "running")

Key = tuple[str, str, str]  # evaluation, project, module
Result = tuple[Any, ...]


@dataclass(frozen=True)
class Replaced:
    """A node showed one final result of a module, and later another one, or none (`after` is None)."""

    node: int
    key: Key
    before: Result
    after: Result | None


def results_of(document: Mapping[str, Any]) -> dict[Key, Result | None]:
    """By module, what counts of its result; None while there is none."""
    found: dict[Key, Result | None] = {}
    for project, modules in document["module_results"].items():
        for module, shown in modules.items():
            counts = tuple(shown[name] for name in ("verdict", "passed", "failed", "errors", "skipped"))
            is_open = shown["verdict"] in _OPEN
            where = (shown["node"], shown["attempts"], shown["time"])
            found[document["id"], project, module] = None if is_open else counts + where
    return found


class Watcher:
    """A thread of its own while it is entered. `ids` gives what was acknowledged so far."""

    def __init__(self, nodes: Iterable[ClusterNode], ids: Callable[[], Iterable[str]]) -> None:
        self.replaced: list[Replaced] = []
        self.ended_at: dict[str, float] = {}  # monotonic, when an evaluation was first seen to have ended, anywhere
        self._nodes = list(nodes)
        self._ids = ids
        self._known: dict[tuple[int, Key], Result] = {}
        self._finished: set[tuple[int, str]] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def forget(self, number: int) -> None:
        """Its data is not what it was."""
        with self._lock:
            self._known = {key: result for key, result in self._known.items() if key[0] != number}
            self._finished = {key for key in self._finished if key[0] != number}

    def take(self, number: int, document: Mapping[str, Any]) -> None:
        with self._lock:
            for key, result in results_of(document).items():
                before = self._known.get((number, key))
                if before is not None and before != result:
                    self.replaced.append(Replaced(number, key, before, result))
                if result is not None:
                    self._known[number, key] = result
            if document["finished_at"]:
                self._finished.add((number, document["id"]))
                self.ended_at.setdefault(document["id"], time.monotonic())

    def _run(self) -> None:
        turn = 0
        while not self._ended.wait(_INTERVAL_S):
            turn += 1
            for node in self._nodes:
                for evaluation in list(self._ids()):
                    if (node.number, evaluation) in self._finished and turn % _FINISHED_EVERY:
                        continue
                    self._look(node, evaluation)

    def _look(self, node: ClusterNode, evaluation: str) -> None:
        process = node.process  # one that is wiped meanwhile is not to be blamed for what it said before
        if not node.answers or self._ended.is_set():
            return
        with contextlib.suppress(requests.RequestException, AssertionError):
            document = node.get(f"/evaluation/{evaluation}", timeout=3)
            if node.process is process and node.answers:
                self.take(node.number, document)
