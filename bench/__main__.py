"""As fast as the machine allows? Ours, a shell loop, pytest-xdist and the machine's limit, side by side in one run.

    PYTHONPATH=src python -m bench [--repeat 5] [--only waiting tiny] [--write docs/performance.md]

The page is written after each figure; what was measured for it before and not now (`--only`) stays in it.

Exit status 1 where a result differs from plain pytest's; a goal that is not reached is told in the table.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import coordinator, idle, kept, machine
from bench.figures import cold, comparison, computing, fair, half_cores, tiny, waiting
from bench.figures.setting import Figure, Measured, Setting
from bench.page import About, page
from bench.row import table
from bench.systems.alone import can_have_own_network
from bench.systems.groups import Group, NoGroupError, group
from bench.systems.plain import Machine


def _coordinator(setting: Setting) -> Measured:
    return Measured(tuple(coordinator.measure(1000, 2) if setting.quick else coordinator.measure()))


def _idle(setting: Setting) -> Measured:
    return Measured(tuple(idle.measure(5) if setting.quick else idle.measure()))


FIGURES: dict[str, Figure] = {
    "waiting": waiting.measure,
    "computing": computing.measure,
    "tiny": tiny.measure,
    "cold": cold.measure_one,
    "environments": cold.measure_ten,
    "half-cores": half_cores.measure,
    "fair": fair.measure,
    "coordinator": _coordinator,
    "idle": _idle,
}


def main(arguments: Sequence[str], figures: Mapping[str, Figure] = FIGURES) -> int:
    chosen = _parser(figures).parse_args(arguments)
    command = " ".join(["PYTHONPATH=src python -m bench", *_shown(arguments)])
    with tempfile.TemporaryDirectory(prefix="testmesh-bench-") as folder, _counting_group() as counting:
        # Nodes that run as root run tests as other users, which must reach what is below.
        Path(folder).chmod(0o755)
        network = can_have_own_network()
        setting = Setting(
            Path(folder),
            Machine(counting, network, comparison.MODULE_TIMEOUT_S),
            machine.cores(),
            chosen.repeat,
            min(chosen.loops, chosen.repeat),
            chosen.quick,
            _say(time.monotonic()),
            chosen.corpus,
        )
        report = _Report(chosen.write, tuple(figures), About(counting is not None, network, chosen.quick))
        for name in chosen.only or figures:
            measured = figures[name](setting)
            print(table(measured.rows), file=sys.stderr, flush=True)  # noqa: T201
            report.add(name, kept.kept_of(measured, command, machine.described()), measured.picture)
    print(report.text())  # noqa: T201
    return 1 if report.differs else 0


class _Report:
    """The page, on the disk after each figure where `target` is given. `order`: of the figures in it."""

    def __init__(self, target: Path | None, order: tuple[str, ...], about: About) -> None:
        self._target, self._order, self._about = target, order, about
        self._figures = kept.read(target.with_suffix(".json")) if target else {}
        self.differs = False

    def add(self, name: str, figure: kept.Kept, picture: str) -> None:
        self._figures[name] = figure
        self.differs = self.differs or bool(figure.differences)
        if self._target:
            self._target.write_text(self.text(), encoding="utf-8")
            kept.write(self._target.with_suffix(".json"), self._figures)
            if picture:
                self._target.with_suffix(".svg").write_text(picture, encoding="utf-8")

    def text(self) -> str:
        figures = {name: self._figures[name] for name in self._order if name in self._figures}
        drawn = self._target and any(figure.drawn for figure in figures.values())
        return page(figures, self._about, self._target.with_suffix(".svg").name if self._target and drawn else "")


def _parser(figures: Mapping[str, Figure]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=_count, default=5, help="how often everything is measured (5)")
    parser.add_argument("--loops", type=_count, default=1, help="how often of these the shell loop is, too (1)")
    parser.add_argument("--only", nargs="+", choices=list(figures), metavar="NAME", help=f"of {', '.join(figures)}")
    parser.add_argument("--corpus", type=_folder, help="a folder of projects to take instead of the waiting ones")
    parser.add_argument("--write", type=Path, help="the Markdown file to write, with a picture beside it")
    parser.add_argument("--quick", action="store_true", help="all corpora small: shows that it works, and no figures")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number from 1 on")
    return int(text)


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text).resolve()


@contextlib.contextmanager
def _counting_group() -> Iterator[Group | None]:
    with contextlib.ExitStack() as opened:
        try:
            found = opened.enter_context(group())
        except NoGroupError:
            found = None
        yield found


def _say(begun: float) -> Callable[[str], None]:
    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {line}", file=sys.stderr, flush=True)  # noqa: T201

    return say


def _shown(arguments: Sequence[str]) -> list[str]:
    """Without folders of this machine."""
    return [Path(text).name if Path(text).is_absolute() else text for text in arguments]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
