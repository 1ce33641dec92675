"""Many evaluations at once: no slower in sum, and the small ones not behind the large one."""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.corpora import small
from bench.corpora.corpus import Corpus
from bench.figures.comparison import MODULE_TIMEOUT_S
from bench.figures.contest import Turn, median_ratio, repeated, spread
from bench.figures.setting import Measured, Setting
from bench.row import at_most
from bench.systems.ours import Mesh, running_mesh
from bench.systems.run import Run, differences

SMALL, SMALL_MODULES, LARGE_MODULES = 7, 4, 60
GOAL_OF_SUM, GOAL_OF_SMALL = 1.0, 1.0


@dataclass(slots=True)
class Together:
    """One repetition, seconds: until all had ended, until the last small one had, until the large one had."""

    all: float
    small: float
    large: float


def measure(setting: Setting) -> Measured:
    folder = setting.work("fair")
    modules = (2, 6) if setting.quick else (SMALL_MODULES, LARGE_MODULES)
    # The large one is submitted first: whoever serves in the order of arrival lets the small ones wait.
    corpora = [small.mixed(folder / "large", "large", modules[1], setting.quick)]
    corpora += [small.mixed(folder / f"small-{n}", f"small-{n}", modules[0], setting.quick) for n in range(SMALL)]
    at_once: list[Together] = []
    in_turn: list[float] = []
    unlike: list[str] = []
    with running_mesh(folder / "nodes", 1, MODULE_TIMEOUT_S) as mesh:
        for corpus in corpora:
            setting.say(f"fair: warming with {corpus.name}")
            mesh.grade(corpus)
        turns = {
            "at once": Turn(lambda: at_once.append(_at_once(mesh, corpora, unlike)), setting.repeat),
            "one after the other": Turn(lambda: in_turn.append(_in_turn(mesh, corpora, unlike)), setting.repeat),
        }
        repeated(turns, setting.repeat, lambda line: setting.say(f"fair, {line}"), random.Random())  # noqa: S311
    together = [found.all for found in at_once]
    share = statistics.median(found.small / found.large for found in at_once)
    detail = f"at once {spread(together)}, one after the other {spread(in_turn)}"
    rows = (
        at_most(
            f"fair: {len(corpora)} evaluations at once against one after the other",
            median_ratio(together, in_turn),
            GOAL_OF_SUM,
            "x",
            detail,
        ),
        at_most(
            "fair: end of the last small evaluation against that of the large one",
            share,
            GOAL_OF_SMALL,
            "x",
            f"{SMALL} of {modules[0]} modules beside one of {modules[1]}, which was submitted first",
        ),
    )
    return Measured(rows, tuple(dict.fromkeys(f"fair: {line}" for line in unlike)))


def _at_once(mesh: Mesh, corpora: Sequence[Corpus], unlike: list[str]) -> Together:
    begun = time.perf_counter()
    submitted = [mesh.submit(corpus) for corpus in corpora]
    ends = []
    for corpus, one in zip(corpora, submitted, strict=True):
        run = mesh.wait(one)
        unlike += differences(corpus.known, run.outcomes)
        ends.append(one.begun - begun + run.wall)
    return Together(max(ends), max(ends[1:]), ends[0])


def _in_turn(mesh: Mesh, corpora: Sequence[Corpus], unlike: list[str]) -> float:
    runs: list[Run] = []
    for corpus in corpora:
        runs.append(mesh.wait(mesh.submit(corpus)))
        unlike += differences(corpus.known, runs[-1].outcomes)
    return sum(run.wall for run in runs)
