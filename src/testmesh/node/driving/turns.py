"""PURE: which modules wait to be placed, and whose turn it is."""

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from testmesh.load_balance.policy import Candidate
from testmesh.node.driving.jobs import Module

_SPARE = 1000  # how many more are offered than there is room for: some are to wait for certain nodes

_Entry = tuple[bool, float, int, Module]  # last what runs alone; longest first; in the plan's order


@dataclass(slots=True)
class _Line:
    entries: list[_Entry] = field(default_factory=list)  # ascending
    served: float = 0.0  # predicted work of what was placed


@dataclass(slots=True)
class Turns:
    """The modules that wait. Within an evaluation the longest goes first, and what runs alone last.

    Evaluations take turns, by the work that was placed of each: start-time fair queueing (Goyal, Vin, Cheng 1996). So a
    small one is not behind a large one, and what runs alone comes to its turn, since meanwhile the others get ahead.
    """

    _lines: dict[str, _Line] = field(default_factory=dict)
    _reached: float = 0.0  # what the evaluation whose turn it was last had been served: who comes new begins there
    _backlogs: dict[str, tuple[int, float]] = field(default_factory=dict)  # how many need something, and their work

    def add(self, module: Module) -> None:
        line = self._lines.setdefault(module.state.evaluation, _Line())
        if not line.entries:
            line.served = max(line.served, self._reached)
        insort(line.entries, (*_order(module), module))
        module.is_waiting, module.turn_at = True, None
        self._count(module, 1)

    def remove(self, module: Module) -> None:
        """Not to be placed any more."""
        line = self._lines[module.state.evaluation]
        del line.entries[bisect_left(line.entries, _order(module), key=lambda entry: entry[:3])]
        module.is_waiting = False
        self._count(module, -1)

    def take(self, module: Module) -> None:
        """It is placed."""
        line = self._lines[module.state.evaluation]
        self._reached = max(self._reached, line.served)
        line.served += module.work
        self.remove(module)

    def give_back(self, module: Module) -> None:
        """It waits again."""
        self._lines.setdefault(module.state.evaluation, _Line()).served -= module.work
        self.add(module)

    def drop(self, evaluation_id: str) -> None:
        line = self._lines.pop(evaluation_id, _Line())
        for *_, module in line.entries:
            self._count(module, -1)

    def is_empty(self, held_back: Collection[str]) -> bool:
        return not any(line.entries for name, line in self._lines.items() if name not in held_back)

    def candidates(
        self, held_back: Collection[str], now: float = 0.0, room_for: Callable[[str], float] = lambda _: math.inf
    ) -> Iterator[Candidate]:
        """What waits, in the order in which it is to be placed; made one by one, as they are asked for.

        `room_for`: how many that need something first can be placed. What cannot for that reason has no turn, since
        it may be all of a large evaluation.
        """
        left: dict[str, float] = {}

        def has_turn(entry: _Entry) -> bool:
            need = entry[-1].need
            if need not in left:
                room = room_for(need)
                left[need] = room + _SPARE if room > 0 else 0
            return left[need] > 0 or entry[0]

        turns = [
            (line.served, number, filter(has_turn, line.entries))
            for number, (name, line) in enumerate(self._lines.items())
            if line.entries and name not in held_back
        ]
        heapq.heapify(turns)
        while turns:
            served, number, entries = turns[0]
            entry = next(entries, None)
            if entry is None:
                heapq.heappop(turns)
                continue
            module = entry[-1]
            left[module.need] -= 1
            heapq.heapreplace(turns, (served + module.work, number, entries))
            if module.runs_alone and module.turn_at is None:
                module.turn_at = now
            waited = 0.0 if module.turn_at is None else now - module.turn_at
            yield module.candidate(self._backlogs[module.need][1], waited)

    def _count(self, module: Module, change: int) -> None:
        name = module.need
        count, work = self._backlogs.pop(name, (0, 0.0))
        if count + change:
            self._backlogs[name] = (count + change, max(0.0, work + change * module.work))


def _order(module: Module) -> tuple[bool, float, int]:
    return (module.runs_alone, -module.prediction.wall, module.position)
