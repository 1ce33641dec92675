"""One corpus: the mesh with one node, the shell loop, pytest-xdist, and the machine's limit L."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.corpora.corpus import Corpus, Key
from bench.figures.contest import Turn, repeated
from bench.figures.setting import Setting
from bench.reference import Outcome
from bench.systems.ours import running_mesh
from bench.systems.plain import Environments, shell_loop, xdist
from bench.systems.run import LoopRun, Run, differences

MODULE_TIMEOUT_S = 300.0
AnyRun = TypeVar("AnyRun", bound=Run)


@dataclass(slots=True)
class Comparison:
    """The runs in the order they were made. The mesh's first, which warms it, is not among them."""

    corpus: Corpus
    ours: list[Run] = field(default_factory=list)
    loop: list[LoopRun] = field(default_factory=list)
    xdist: list[Run] = field(default_factory=list)

    @property
    def expected(self) -> dict[Key, Outcome]:
        """The reference: what plain pytest said, each module alone."""
        return dict(self.loop[0].outcomes)

    @property
    def files_only_xdist_found(self) -> list[Key]:
        """Modules that the mesh should have found, and so the loop been given."""
        return sorted({key for run in self.xdist for key in run.outcomes} - set(self.expected))

    def differences(self) -> tuple[str, ...]:
        """Of every run of the mesh against plain pytest, and of plain pytest against what is known beforehand."""
        expected = self.expected
        found = [f"ours, {line}" for run in self.ours for line in differences(expected, run.outcomes)]
        if self.corpus.known:
            found += [f"plain pytest, {line}" for line in differences(self.corpus.known, expected)]
        found += [
            f"ours, {project} {module}: not found, but xdist has it" for project, module in self.files_only_xdist_found
        ]
        return tuple(dict.fromkeys(f"{self.corpus.name}: {line}" for line in found))


def compare(setting: Setting, corpus: Corpus, folder: Path, *, loops: int) -> Comparison:
    """All systems, side by side, `setting.repeat` times; the loop `loops` times."""
    plain = Environments(folder / "plain", corpus)
    beside = Environments(folder / "xdist", corpus, ["pytest-xdist"])
    with running_mesh(folder / "nodes", 1, MODULE_TIMEOUT_S) as mesh:
        setting.say(f"{corpus.name}: warming the node")
        keys = sorted(mesh.grade(corpus).outcomes)
        projects = sorted({project for project, _ in keys})
        for project in projects:
            plain.python(project)
            beside.python(project)
        result = Comparison(corpus)
        turns = {
            "ours": Turn(_kept(result.ours, lambda: mesh.grade(corpus), setting), setting.repeat),
            "the shell loop": Turn(
                _kept(result.loop, lambda: shell_loop(corpus, keys, plain, setting.machine, setting.say), setting),
                loops,
            ),
            "xdist": Turn(
                _kept(result.xdist, lambda: xdist(corpus, keys, beside, setting.machine), setting), setting.repeat
            ),
        }
        repeated(turns, setting.repeat, lambda line: setting.say(f"{corpus.name}, {line}"), random.Random())  # noqa: S311
    return result


def _kept(runs: list[AnyRun], run: Callable[[], AnyRun], setting: Setting) -> Callable[[], None]:
    def keep() -> None:
        runs.append(run())
        setting.say(f"  {runs[-1].wall:.2f} s")

    return keep
