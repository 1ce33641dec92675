"""Systems side by side: each once a repetition, in an order that is drawn anew, compared within the repetition."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """`runs`: it takes part in the first so many repetitions, and stands in the later ones with its last figure."""

    run: Callable[[], None]
    runs: int


def repeated(turns: Mapping[str, Turn], repeat: int, say: Callable[[str], None], shuffle: random.Random) -> None:
    for number in range(repeat):
        names = [name for name, turn in turns.items() if number < turn.runs]
        shuffle.shuffle(names)
        for name in names:
            say(f"repetition {number + 1} of {repeat}: {name}")
            turns[name].run()


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the repetitions' ratios; where one was measured less often its last figure stands."""
    count = max(len(above), len(below))
    return statistics.median(_at(above, number) / _at(below, number) for number in range(count))


def spread(values: Sequence[float], unit: str = "s") -> str:
    """`12.3 s`, or `12.3 s (11.9 to 13.0)`."""
    middle = f"{statistics.median(values):.1f} {unit}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.1f} to {max(values):.1f})"


def between(values: Sequence[int]) -> str:
    """`12`, or `11 to 13`."""
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _at(values: Sequence[float], number: int) -> float:
    return values[min(number, len(values) - 1)]
