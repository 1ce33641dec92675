"""PURE: what is ready to run at a worker, in order: evaluations take turns, each in the order of its own work."""

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
_REMEMBERED = 1000  # evaluations that wait or had a turn; more only where more wait


@dataclass(slots=True)
class ReadyQueue(Generic[T]):
    """Not thread-safe."""

    _waiting: dict[str, list[tuple[int, T]]] = field(default_factory=dict)  # by evaluation, in the order of numbers
    _turns: dict[str, int] = field(default_factory=dict)  # by evaluation, the number of its last one; lowest first
    _taken: int = 0

    def add(self, evaluation: str, number: int, item: T) -> None:
        """`number`: a place in the order of all that was given to this worker; no two have the same."""
        if evaluation not in self._turns:
            self._turns[evaluation] = self._taken - 1  # before whoever had the last turn, behind all who had not
            self._forget()
        insort(self._waiting.setdefault(evaluation, []), (number, item))

    def first(self) -> T | None:
        """That of the evaluation whose last turn was longest ago; of several such, the oldest.

        One that is new stands behind those that have waited for their turn: else new ones would overtake them for ever.
        """
        return self._waiting[self._next()][0][1] if self._waiting else None

    def take_first(self) -> T:
        """What `first` gives; its evaluation has had its turn."""
        name = self._next()
        self._taken += 1
        del self._turns[name]
        self._turns[name] = self._taken
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

    def _forget(self) -> None:
        """Those that had no turn for long and wait for none."""
        too_many = max(0, len(self._turns) - _REMEMBERED)
        for name in list(islice(self._turns, too_many)):
            if name not in self._waiting:
                del self._turns[name]

    def _next(self) -> str:
        return min(self._waiting, key=lambda name: (self._turns[name], self._waiting[name][0][0]))
