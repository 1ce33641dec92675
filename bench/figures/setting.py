"""What every figure is told, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.row import Row
from bench.systems.plain import Machine


@dataclass(frozen=True, slots=True)
class Setting:
    """`folder`: an empty one to work in. `repeat`: how often what is compared is measured, side by side.

    `loops`: in how many of these repetitions the shell loop is measured too, since it takes minutes.
    `corpus`: a folder of real projects, to be used instead of the waiting ones.
    """

    folder: Path
    machine: Machine
    cores: int
    repeat: int
    loops: int
    quick: bool
    say: Callable[[str], None]
    corpus: Path | None = None

    def work(self, name: str) -> Path:
        found = self.folder / name
        found.mkdir(parents=True)
        return found


@dataclass(frozen=True, slots=True)
class Measured:
    """`differences`: lines about results that are not what plain pytest says. `picture`: an SVG, where there is one."""

    rows: tuple[Row, ...]
    differences: tuple[str, ...] = ()
    picture: str = ""


Figure = Callable[[Setting], Measured]
