"""PURE: what is ready to run at a worker, in order: evaluations take turns, each in the order of its own work."""

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
_REMEMBERED = 1000  # evaluations that had a turn


@dataclass(slots=True)
class ReadyQueue(Generic[T]):
    """Not thread-safe."""

    _waiting: dict[str, list[tuple[int, T]]] = field(default_factory=dict)  # by evaluation, in the order of numbers
    _turns: dict[str, int] = field(default_factory=dict)  # by evaluation, the number of its last one; oldest first
    _taken: int = 0

    def add(self, evaluation: str, number: int, item: T) -> None:
        """`number`: a place in the order of all that was given to this worker; no two have the same."""
        insort(self._waiting.setdefault(evaluation, []), (number, item))

    def first(self) -> T | None:
        """That of the evaluation whose last turn was longest ago, or that had none; of several such, the oldest."""
        return self._waiting[self._next()][0][1] if self._waiting else None

    def take_first(self) -> T:
        """What `first` gives; its evaluation has had its turn."""
        name = self._next()
        self._taken += 1
        self._turns.pop(name, None)
        self._turns[name] = self._taken
        if len(self._turns) > _REMEMBERED:
            del self._turns[next(iter(self._turns))]
        queue = self._waiting[name]
        _, item = queue.pop(0)
        if not queue:
            del self._waiting[name]
        return item

    def drop(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out what nobody wants any more; gives it."""
        dropped = []
        for name, queue in list(self._waiting.items()):
            dropped += [item for _, item in queue if unwanted(item)]
            self._waiting[name] = [entry for entry in queue if not unwanted(entry[1])]
            if not self._waiting[name]:
                del self._waiting[name]
        return dropped

    def _next(self) -> str:
        return min(self._waiting, key=lambda name: (self._turns.get(name, 0), self._waiting[name][0][0]))
