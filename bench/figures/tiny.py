"""What a module costs that does nothing: processor time, with everything around it."""

import statistics
from collections.abc import Sequence

from bench.corpora import small
from bench.figures.comparison import Comparison, compare
from bench.figures.contest import median_ratio
from bench.figures.setting import Measured, Setting
from bench.row import Row, at_most
from bench.systems.run import Run

GOAL, AIM = 1 / 4, 1 / 6


def measure(setting: Setting) -> Measured:
    folder = setting.work("tiny")
    corpus = small.tiny(folder / "corpus", setting.quick)
    found = compare(setting, corpus, folder, loops=setting.loops)
    return Measured((_row(found, setting.machine.group is not None),), found.differences())


def _row(found: Comparison, counted_by_groups: bool) -> Row:
    count = len(found.expected)
    systems: dict[str, Sequence[Run]] = {
        "ours, its node included": found.ours,
        "the shell loop": found.loop,
        "xdist, without isolation": found.xdist,
    }
    each = [f"{name} {1000 * statistics.median(_used(runs)) / count:.0f} ms" for name, runs in systems.items()]
    ratio = median_ratio(_used(found.ours), _used(found.loop))
    how = "control groups" if counted_by_groups else "what the whole machine used meanwhile, for the node"
    detail = f"{', '.join(each)}; counted by {how}; the aim of {AIM:.2f} is {'' if ratio <= AIM else 'not '}reached"
    name = f"tiny: processor time a module against the shell loop, {count} modules of one project"
    return at_most(name, ratio, GOAL, "x", detail)


def _used(runs: Sequence[Run]) -> list[float]:
    return [run.cpu for run in runs]
