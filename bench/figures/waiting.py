"""How near the machine's limit, and how much quicker than a shell loop, where tests wait."""

import statistics
from collections.abc import Sequence

from bench.corpora import waiting
from bench.corpora.corpus import Corpus
from bench.figures.comparison import Comparison, compare
from bench.figures.contest import between, median_ratio, spread
from bench.figures.setting import Measured, Setting
from bench.gantt import drawn
from bench.row import Row, at_least, at_most
from bench.systems.run import Run, passed, right

GOAL_OF_LIMIT, GOAL_OF_LOOP = 1.25, 6.0


def measure(setting: Setting) -> Measured:
    folder = setting.work("waiting")
    if setting.corpus:
        corpus = Corpus("given", setting.corpus)
    else:
        (folder / "corpus").mkdir()
        corpus = waiting.make(folder / "corpus", setting.quick)
    found = compare(setting, corpus, folder, loops=setting.loops)
    rows = (of_limit(found, setting, GOAL_OF_LIMIT), _of_loop(found), of_xdist(found, None))
    typical = statistics.median_low([run.wall for run in found.ours])
    run = next(run for run in found.ours if run.wall == typical)
    marks = {"L": found.loop[-1].limit(setting.cores), "end": run.wall}
    return Measured(rows, found.differences(), drawn(run.spans, run.began, marks))


def of_limit(found: Comparison, setting: Setting, goal: float | None) -> Row:
    limits = [run.limit(setting.cores) for run in found.loop]
    ratio = median_ratio(_walls(found.ours), limits)
    last = found.loop[-1]
    longest = max(last.alone.values(), key=lambda module: module.wall)
    detail = f"ours {spread(_walls(found.ours))}; L {spread(limits)}: longest module {longest.wall:.1f} s, "
    detail += f"all modules {last.cpu:.1f} s of processor time on {setting.cores} cores"
    name = f"{found.corpus.name}: wall / L, {len(found.expected)} modules, one node"
    return at_most(name, ratio, goal, "x", detail) if goal else Row(name, f"{ratio:.2f} x", detail=detail)


def _of_loop(found: Comparison) -> Row:
    ratio = median_ratio(_walls(found.loop), _walls(found.ours))
    rights = min(right(found.expected, run.outcomes) for run in found.ours)
    detail = f"loop {spread(_walls(found.loop))}, measured {len(found.loop)} x; {passed(found.expected)} tests pass, "
    detail += f"ours {rights} of {len(found.expected)} modules right in every run"
    return at_least(f"{found.corpus.name}: times quicker than the shell loop", ratio, GOAL_OF_LOOP, "x", detail)


def of_xdist(found: Comparison, goal: float | None) -> Row:
    """Ours against `pytest -n 2 --dist loadfile`: wall by wall, and what each got right."""
    ratio = median_ratio(_walls(found.ours), _walls(found.xdist))
    rights = [right(found.expected, run.outcomes) for run in found.xdist]
    passing = [passed(run.outcomes) for run in found.xdist]
    detail = f"xdist {spread(_walls(found.xdist))}, {between(rights)} of {len(found.expected)} modules "
    detail += f"right, {between(passing)} of {passed(found.expected)} tests pass"
    name = f"{found.corpus.name}: wall against pytest -n 2 --dist loadfile"
    return at_most(name, ratio, goal, "x", detail) if goal else Row(name, f"{ratio:.2f} x", detail=detail)


def _walls(runs: Sequence[Run]) -> list[float]:
    return [run.wall for run in runs]
