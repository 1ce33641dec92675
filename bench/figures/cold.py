"""What has to be installed first: a node that has nothing, against uv with nothing and then pytest."""

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.corpora import small
from bench.corpora.corpus import Corpus
from bench.figures.comparison import MODULE_TIMEOUT_S
from bench.figures.contest import Turn, median_ratio, repeated, spread
from bench.figures.setting import Measured, Setting
from bench.reference import plain_environ
from bench.row import Row, at_most, skipped
from bench.systems.ours import running_mesh
from bench.systems.run import Run, differences
from testmesh.testing.installers import find_uv
from testmesh.testing.package_index import machine_index

GOAL_S = 0.5


class InstallError(Exception):
    """uv's own words."""


def measure_one(setting: Setting) -> Measured:
    """One project with ten requirements: how much longer than installing and running it by hand."""
    corpus = small.cold(setting.work("cold") / "corpus", setting.quick)
    try:
        ours, plain = _side_by_side(setting, corpus)
    except InstallError as error:
        return Measured((skipped("cold", str(error)),))
    beyond = statistics.median(a.wall - b for a, b in zip(ours, plain, strict=True))
    detail = f"ours {spread([run.wall for run in ours])}, uv pip install and pytest {spread(plain)}; all caches empty"
    row = at_most("cold: beyond `uv pip install` and one pytest run, ten requirements", beyond, GOAL_S, "s", detail)
    return Measured((row,), _differences(corpus, ours))


def measure_ten(setting: Setting) -> Measured:
    """Ten projects with ten sets of requirements, at once, against one after the other by hand."""
    corpus = small.environments(setting.work("environments") / "corpus", setting.quick)
    try:
        ours, plain = _side_by_side(setting, corpus)
    except InstallError as error:
        return Measured((skipped("environments", str(error)),))
    ratio = median_ratio(plain, [run.wall for run in ours])
    detail = (
        f"ours {spread([run.wall for run in ours])}, `uv pip install` and pytest one after the other {spread(plain)}"
    )
    name = f"environments: times quicker than by hand, {len(corpus.projects)} projects with as many environments, cold"
    return Measured(
        (Row(name, f"{ratio:.2f} x", detail=f"{detail}; caches empty at first"),), _differences(corpus, ours)
    )


def _side_by_side(setting: Setting, corpus: Corpus) -> tuple[list[Run], list[float]]:
    folder = corpus.folder.parent
    ours: list[Run] = []
    plain: list[float] = []
    turns = {
        "ours": Turn(lambda: ours.append(_fresh_node(folder / f"nodes-{len(ours)}", corpus)), setting.repeat),
        "by hand": Turn(lambda: plain.append(_by_hand(folder / f"plain-{len(plain)}", corpus)), setting.repeat),
    }
    repeated(turns, setting.repeat, lambda line: setting.say(f"{corpus.name}, {line}"), random.Random())  # noqa: S311
    return ours, plain


def _fresh_node(folder: Path, corpus: Corpus) -> Run:
    """Whose start is not counted."""
    with running_mesh(folder, 1, MODULE_TIMEOUT_S) as mesh:
        return mesh.wait(mesh.submit(corpus))


def _by_hand(folder: Path, corpus: Corpus) -> float:
    """Seconds of installing and running, for all projects; the virtual environments are made before."""
    uv = find_uv()
    if uv is None:
        raise InstallError("uv is not installed; install requirements.txt")
    environ = {**os.environ, **machine_index(os.environ).uv_environment(), "UV_CACHE_DIR": str(folder / "cache")}
    pythons = {project: folder / project / "bin" / "python" for project in corpus.projects}
    for project in pythons:
        shutil.copytree(corpus.folder / project, folder / "code" / project)
        _run([str(uv), "venv", "--quiet", "--python", sys.executable, str(folder / project)], folder, environ)
    begun = time.perf_counter()
    for project, python in pythons.items():
        code = folder / "code" / project
        install = [str(uv), "pip", "install", "--quiet", "--python", str(python), "-r", "requirements.txt", "pytest"]
        _run(install, code, environ)
        _run([str(python), "-m", "pytest"], code, plain_environ(python, str(folder)))
    return time.perf_counter() - begun


def _run(command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=dict(environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def _differences(corpus: Corpus, runs: list[Run]) -> tuple[str, ...]:
    """From what is known beforehand: nobody else runs these."""
    found = [f"{corpus.name}: ours, {line}" for run in runs for line in differences(corpus.known, run.outcomes)]
    return tuple(dict.fromkeys(found))
