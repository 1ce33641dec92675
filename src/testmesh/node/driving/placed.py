"""PURE: the attempts that an owner gave to nodes and that are not over, and how busy that makes each node."""

import math
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from testmesh.load_balance.policy import NodeLoad
from testmesh.node.messaging.messages import Task

_WORK_OF_OTHERS_S = 0.5  # what a module that another owner placed is taken to cost

Number = tuple[int, int]  # epoch, attempt


@dataclass(eq=False, slots=True)
class Attempt:
    """As its owner knows it. Times are monotonic seconds."""

    evaluation: str
    task: Task
    node: str
    work: float  # processor seconds
    placed_at: float
    began_at: float | None = None  # None: as far as is known it waits there
    need: str = ""  # what it needs first

    @property
    def number(self) -> Number:
        return (self.task.epoch, self.task.attempt)

    @property
    def id(self) -> tuple[str, Task]:
        return (self.evaluation, self.task)


@dataclass(slots=True)
class _AtNode:
    all: dict[tuple[str, Task], Attempt] = field(default_factory=dict)
    queued: dict[tuple[str, Task], Attempt] = field(default_factory=dict)  # the first is the oldest
    needs: Counter[str] = field(default_factory=Counter)  # of those queued: what they need first
    begun_at: float = -math.inf  # when one began last
    work: float = 0.0
    alone: int = 0

    def leave_queue(self, attempt: Attempt) -> None:
        if self.queued.pop(attempt.id, None) is not None:
            self.needs[attempt.need] -= 1
            if not self.needs[attempt.need]:
                del self.needs[attempt.need]


@dataclass(slots=True)
class Placed:
    """By node; sums are kept, so that no question costs more the more modules there are."""

    _by_node: dict[str, _AtNode] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Attempt]:
        for here in self._by_node.values():
            yield from here.all.values()

    def add(self, attempt: Attempt) -> None:
        here = self._by_node.setdefault(attempt.node, _AtNode())
        here.all[attempt.id] = attempt
        if attempt.began_at is None:
            here.queued[attempt.id] = attempt
            here.needs[attempt.need] += 1
        here.work += attempt.work
        here.alone += attempt.task.alone

    def begin(self, attempt: Attempt, now: float) -> None:
        if attempt.began_at is None:
            here = self._by_node[attempt.node]
            here.leave_queue(attempt)
            attempt.began_at = here.begun_at = now

    def remove(self, attempt: Attempt) -> None:
        here = self._by_node[attempt.node]
        del here.all[attempt.id]
        here.leave_queue(attempt)
        here.work -= attempt.work
        here.alone -= attempt.task.alone
        if not here.all:
            del self._by_node[attempt.node]

    def at(self, node: str) -> list[Attempt]:
        here = self._by_node.get(node)
        return list(here.all.values()) if here else []

    def counts(self) -> dict[str, int]:
        return {node: len(here.all) for node, here in self._by_node.items()}

    def is_reserved(self, node: str) -> bool:
        """Whether something runs there alone."""
        here = self._by_node.get(node)
        return here is not None and here.alone > 0

    def seen(self, node: NodeLoad, now: float, has: Set[str]) -> NodeLoad:
        """What a node said of itself, which orders on the way are not in, with what is known here."""
        here = self._by_node.get(node.address) or _AtNode()
        mine = len(here.all)
        others = max(0, node.assigned - mine)
        oldest = next(iter(here.queued.values()), None)
        return NodeLoad(
            node.address,
            node.slots,
            others + mine,
            node.cores,
            len(here.queued),
            max(0.0, here.work) + others * _WORK_OF_OTHERS_S,
            now - oldest.placed_at if oldest else 0.0,
            has,
            dict(here.needs),
            now - here.begun_at,
        )
