"""PURE: what a system made of a corpus, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.corpora.corpus import Key
from bench.reference import Outcome
from bench.systems.graded import Span


@dataclass(frozen=True, slots=True)
class Run:
    """`wall`, `cpu`: seconds; `cpu` is 0 where it was not counted.

    `began`: Unix seconds. `spans`: when each module ran, where known.
    """

    wall: float
    outcomes: Mapping[Key, Outcome]
    cpu: float = 0.0
    began: float = 0.0
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Alone:
    """One module by itself: seconds of wall and of processor time of its whole process tree."""

    outcome: Outcome
    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class LoopRun(Run):
    """Every module alone, one after the other; copying the project is not in `wall`."""

    alone: Mapping[Key, Alone] = field(default_factory=dict)

    def limit(self, cores: int) -> float:
        """L: no machine of `cores` processors can be quicker, as long as it runs the modules as plain pytest does."""
        longest = max(module.wall for module in self.alone.values())
        return max(longest, sum(module.cpu for module in self.alone.values()) / cores)


def loop_run(alone: Mapping[Key, Alone]) -> LoopRun:
    outcomes = {key: module.outcome for key, module in alone.items()}
    wall = sum(module.wall for module in alone.values())
    return LoopRun(wall, outcomes, sum(module.cpu for module in alone.values()), alone=alone)


def differences(expected: Mapping[Key, Outcome], found: Mapping[Key, Outcome]) -> list[str]:
    """A line for each module that is not the same in both."""
    return [
        f"{project} {module}: {expected.get((project, module), 'not there')} expected, "
        f"{found.get((project, module), 'not there')} found"
        for project, module in sorted({*expected, *found})
        if expected.get((project, module)) != found.get((project, module))
    ]


def right(expected: Mapping[Key, Outcome], found: Mapping[Key, Outcome]) -> int:
    """How many modules came to what they should."""
    return sum(found.get(key) == outcome for key, outcome in expected.items())


def passed(outcomes: Mapping[Key, Outcome]) -> int:
    """Tests."""
    return sum(outcome.passed for outcome in outcomes.values())
