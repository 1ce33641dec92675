"""Four small nodes against one: how much of the work the mesh divides."""

import contextlib
import random
from dataclasses import dataclass, field

from bench.corpora import computing
from bench.corpora.computing import NotAvailableError
from bench.corpora.corpus import Corpus
from bench.figures.comparison import MODULE_TIMEOUT_S
from bench.figures.contest import Turn, median_ratio, repeated, spread
from bench.figures.setting import Measured, Setting
from bench.row import at_least, skipped
from bench.systems.groups import NoGroupError
from bench.systems.ours import Mesh, running_mesh
from bench.systems.run import Run, differences

NODES, CORES, GOAL = 4, 0.5, 3.6
_NAME = f"half-cores: {NODES} nodes of half a core each, times quicker than one, computing corpus"


@dataclass(slots=True)
class _Side:
    """A mesh and what it came to."""

    mesh: Mesh
    corpus: Corpus
    warming: list[Run] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @property
    def walls(self) -> list[float]:
        return [run.wall for run in self.runs]

    def warm(self) -> None:
        self.warming.append(self.mesh.grade(self.corpus))

    def run(self) -> None:
        self.runs.append(self.mesh.grade(self.corpus))


def measure(setting: Setting) -> Measured:
    folder = setting.work("half-cores")
    make = computing.make_small if setting.quick else computing.download
    try:
        corpus = make(folder / "corpus")
        with contextlib.ExitStack() as opened:
            one, four = (
                _Side(opened.enter_context(running_mesh(folder / f"of-{n}", n, MODULE_TIMEOUT_S, CORES)), corpus)
                for n in (1, NODES)
            )
            for side in (one, four, four):  # twice, so that each of the four has every environment
                setting.say("half-cores: warming")
                side.warm()
            turns = {"one node": Turn(one.run, setting.repeat), f"{NODES} nodes": Turn(four.run, setting.repeat)}
            repeated(turns, setting.repeat, lambda line: setting.say(f"half-cores, {line}"), random.Random())  # noqa: S311
    except (NoGroupError, NotAvailableError) as error:
        return Measured((skipped(_NAME, str(error)),))
    detail = f"one {spread(one.walls)}, {NODES} {spread(four.walls)}; held by control groups on {setting.cores} cores"
    if setting.cores < NODES * CORES:
        detail += ", which are fewer than they may use together"
    expected = one.warming[0].outcomes
    runs = [*one.warming, *one.runs, *four.warming, *four.runs]
    unlike = [f"half-cores: {line}" for run in runs for line in differences(expected, run.outcomes)]
    row = at_least(_NAME, median_ratio(one.walls, four.walls), GOAL, "x", detail)
    return Measured((row,), tuple(dict.fromkeys(unlike)))
