"""PURE: one line of the table of figures, and the table."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """`figure` and `goal` as people read them, e.g. `1.12 x` and `<= 1.25 x`.

    `reached`: None where there is no goal, or where it could not be measured: then `detail` says why.
    `detail`: what stands behind the figure, a sentence or two.
    """

    name: str
    figure: str
    goal: str = ""
    reached: bool | None = None
    detail: str = ""


def at_most(name: str, value: float, bound: float, unit: str = "", detail: str = "") -> Row:
    """A row whose goal is `value <= bound`."""
    return Row(name, _figure(value, bound, unit), f"<= {_shown(bound, unit)}", value <= bound, detail)


def at_least(name: str, value: float, bound: float, unit: str = "", detail: str = "") -> Row:
    """A row whose goal is `value >= bound`."""
    return Row(name, _figure(value, bound, unit), f">= {_shown(bound, unit)}", value >= bound, detail)


def skipped(name: str, reason: str) -> Row:
    """A row that could not be measured here."""
    return Row(name, "not measured", detail=reason)


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | figure | goal | | behind it |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {' | '.join(map(_cell, (row.name, row.figure, row.goal, verdict(row), row.detail)))} |" for row in rows
    ]
    return "\n".join(lines)


def verdict(row: Row) -> str:
    if row.reached is None:
        return ""
    return "reached" if row.reached else f"**not reached: {row.figure} instead of {row.goal}**"


def _figure(value: float, bound: float, unit: str) -> str:
    """With more digits where it would look like the bound and is not."""
    alike = value != bound and _shown(value, unit) == _shown(bound, unit)
    return _shown(value, unit, 4 if alike else 2)


def _shown(value: float, unit: str, digits: int = 2) -> str:
    return f"{value:.{digits}f} {unit}".rstrip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
