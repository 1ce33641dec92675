"""The two that people use now: a shell loop over the modules, and pytest-xdist project by project.

Both with environments that are there and compiled already, and in a clean copy of the project, whose making is not
counted.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from bench.corpora.corpus import Corpus, Key
from bench.reference import Outcome, make_environment, parse_summary, plain_environ
from bench.systems.alone import Order, Took, alone
from bench.systems.groups import Group
from bench.systems.run import Alone, LoopRun, Run, loop_run

PROCESSES = 2
# A file that cannot be collected must not save it the work of all others.
REPORTING = ("--continue-on-collection-errors", "-o", "junit_family=xunit1")


@dataclass(frozen=True, slots=True)
class Machine:
    """How a command is measured here. `group`: the control group that counts, None where there can be none.

    `timeout_s`: for one module.
    """

    group: Group | None
    own_network: bool
    timeout_s: float

    def run(self, command: list[str], python: Path, project: Path, modules: int = 1) -> tuple[Took, str]:
        """In a clean copy of the project; what it took, and what it printed. `modules`: how many it has time for."""
        with tempfile.TemporaryDirectory() as home:
            code = Path(home) / project.name
            shutil.copytree(project, code, symlinks=True)
            output = Path(home) / "output"
            counting = str(self.group.folders[0]) if self.group else None
            environ = plain_environ(python, home)
            timeout_s = self.timeout_s * modules
            order = Order(command, str(code), environ, str(output), timeout_s, self.own_network, counting)
            return alone(order), output.read_text(errors="replace")


class Environments:
    """A virtual environment a project, made when it is first asked for."""

    def __init__(self, folder: Path, corpus: Corpus, more: Iterable[str] = ()) -> None:
        self._folder = folder
        self._corpus = corpus
        self._more = tuple(more)
        self._made: dict[str, Path] = {}

    def python(self, project: str) -> Path:
        if project not in self._made:
            target = self._folder / f"environment-{len(self._made)}"
            self._made[project] = make_environment(self._corpus.folder / project, target, self._more)
        return self._made[project]


def shell_loop(
    corpus: Corpus, keys: Iterable[Key], environments: Environments, machine: Machine, say: Callable[[str], None]
) -> LoopRun:
    """`python -m pytest MODULE` for every module, one at a time."""
    found: dict[Key, Alone] = {}
    for project, module in keys:
        python = environments.python(project)
        took, output = machine.run([str(python), "-m", "pytest", module], python, corpus.folder / project)
        outcome = parse_summary(output) if took.in_time else Outcome(end="timeout")
        found[project, module] = Alone(outcome, took.wall, took.cpu)
        say(f"plain pytest  {project}  {module}  {outcome}  {took.wall:.1f} s")
    return loop_run(found)


def xdist(corpus: Corpus, keys: Iterable[Key], environments: Environments, machine: Machine) -> Run:
    """`pytest -n 2 --dist loadfile` for every project, one at a time."""
    wall = cpu = 0.0
    options = ["-n", str(PROCESSES), "--dist", "loadfile", *REPORTING]
    outcomes: dict[Key, Outcome] = {}
    for project, modules in sorted(Counter(project for project, _ in keys).items()):
        python = environments.python(project)
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [str(python), "-m", "pytest", *options, f"--junitxml={report}"]
            took, _ = machine.run(command, python, corpus.folder / project, modules)
            wall, cpu = wall + took.wall, cpu + took.cpu
            if report.exists():
                outcomes |= {(project, module): o for module, o in outcomes_in(report.read_text()).items()}
    return Run(wall, outcomes, cpu)


def outcomes_in(report: str) -> Mapping[str, Outcome]:
    """What a report of pytest's (JUnit's XML, family xunit1) says of each file.

    A test that passed and failed in its teardown is an error alone there.
    """
    found: dict[str, Outcome] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):  # noqa: S314 - pytest's own
        module = case.get("file") or _file_of_error(case)
        known = found.get(module, Outcome())
        kinds = {child.tag for child in case}
        found[module] = Outcome(
            known.passed + (not kinds & {"failure", "error", "skipped"}),
            known.failed + ("failure" in kinds),
            known.errors + ("error" in kinds),
            known.skipped + ("skipped" in kinds),
        )
    return found


def _file_of_error(case: ElementTree.Element) -> str:
    """A file that cannot be collected is a case called by its dotted name."""
    name = case.get("name") or ""
    return name if name.endswith(".py") else re.sub(r"\.", "/", name) + ".py"
