"""Real packages, whose tests compute: no slower than pytest-xdist, which isolates nothing."""

from bench.corpora import computing
from bench.corpora.computing import NotAvailableError
from bench.figures.comparison import compare
from bench.figures.setting import Measured, Setting
from bench.figures.waiting import of_limit, of_xdist
from bench.row import skipped

GOAL_OF_XDIST = 1.0


def measure(setting: Setting) -> Measured:
    folder = setting.work("computing")
    make = computing.make_small if setting.quick else computing.download
    try:
        corpus = make(folder / "corpus")
    except NotAvailableError as error:
        return Measured((skipped("computing", f"the packages cannot be had: {error}"),))
    setting.say(f"computing: {', '.join(corpus.projects)}")
    found = compare(setting, corpus, folder, loops=setting.loops)
    return Measured((of_xdist(found, GOAL_OF_XDIST), of_limit(found, setting, None)), found.differences())
