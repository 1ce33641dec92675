"""PURE: how long test files took in earlier runs, by the digest of their content.

A cohort shares its test files, so the runs of one project tell what the next one's will take.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from testmesh.model import Evaluation, ModuleState, Verdict

MOST_KNOWN = 20_000  # files; a few megabytes
_NEWEST = 0.3  # the weight of a new run, once there were a few: what was long ago is forgotten
_TELLING = frozenset({Verdict.PASSED, Verdict.FAILED, Verdict.NO_TESTS, Verdict.TIMEOUT})

Contents = Mapping[tuple[str, str], str]  # project and path of a module -> digest of its content


@dataclass(frozen=True, slots=True)
class Timing:
    """Moving averages in seconds over `runs`: of wall time, and of the processor time of all processes."""

    wall: float
    cpu: float
    runs: int

    def after(self, state: ModuleState) -> "Timing":
        runs = self.runs + 1
        weight = max(_NEWEST, 1 / runs)
        wall = self.wall + weight * (state.time - self.wall)
        return Timing(wall, self.cpu + weight * (state.cpu_time - self.cpu), runs)


def tells_time(state: ModuleState) -> bool:
    """Whether it ran as long as it takes, or for all of its time. Another's may end well where this one crashed."""
    return state.verdict in _TELLING


def contents_of(evaluation: Evaluation) -> Contents:
    return {
        (project.name, plan.path): plan.content
        for project in evaluation.projects
        for plan in project.modules
        if plan.content
    }


class Timings:
    """Of the files that ran last, at most `most`. What is `learned` counts once it is taken in."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._known: OrderedDict[str, Timing] = OrderedDict()  # the one that ran last at the end

    def get(self, content: str) -> Timing | None:
        """Safe from any thread."""
        return self._known.get(content)

    def learned(self, results: Iterable[tuple[str, ModuleState]]) -> dict[str, Timing]:
        """What the results of files, by their digests, make of the timings; in the order in which they ran last."""
        found: dict[str, Timing] = {}
        for content, state in results:
            before = found.pop(content, None) or self._known.get(content) or Timing(0.0, 0.0, 0)
            found[content] = before.after(state)
        return found

    def forgotten(self, learned: Mapping[str, Timing]) -> list[str]:
        """Those that give way to them: the ones that did not run for the longest."""
        fresh = sum(content not in self._known for content in learned)
        others = (content for content in self._known if content not in learned)
        return list(islice(others, max(0, len(self._known) + fresh - self._most)))

    def take(self, learned: Mapping[str, Timing], forgotten: Iterable[str] = ()) -> None:
        for content, timing in learned.items():
            self._known[content] = timing
            self._known.move_to_end(content)
        for content in forgotten:
            self._known.pop(content, None)
