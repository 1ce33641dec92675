"""PURE: the report in Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.kept import Kept
from bench.row import table

_HOW = """
## How it is measured

- What a line compares is measured in one run, side by side, in an order that is drawn for each repetition, and a
  ratio is the median of the ratios within each repetition. What takes minutes is measured less often; its last figure
  stands in the others, and the line says how often it was measured.
- *Ours* is a node as a process with its default settings, asked over its REST API: the time is from the beginning of
  the upload to the end of the evaluation. It has run the corpus once before, but for the lines that are called
  cold, as the others have their environments made and compiled before.
- *The shell loop* is `python -m pytest MODULE` for one module after the other, each in a clean copy of its project
  (copying is not counted) and{network}. Its counts of passed, failed, errors and skipped are what every result
  of ours must be equal to.
- *L* is the limit of the machine for these modules: the longest one, or the processor time of all divided by the
  cores, whichever is more; both from the shell loop of the same run. {counted}
- *xdist* is `python -m pytest -n 2 --dist loadfile` for one project after the other. It isolates nothing: tests that
  use the same ports or files fail there.
"""


@dataclass(frozen=True, slots=True)
class About:
    """`counted`: control groups counted processor time. `own_network`: of each module alone."""

    counted: bool
    own_network: bool
    quick: bool = False


def page(figures: Mapping[str, Kept], about: About, picture: str) -> str:
    """`figures` in the order of their lines. `picture`: file name of the picture beside the page, or ""."""
    parts = [
        "# Performance",
        _made_by(figures),
        *([_QUICK] if about.quick else []),
        table([row for kept in figures.values() for row in kept.rows]),
        _results([line for kept in figures.values() for line in kept.differences]),
    ]
    if picture:
        parts.append(
            "## Modules on nodes\n\nA typical run of the waiting corpus, from the beginning of the upload on.\n\n"
            f"![When each module ran on which node]({picture})"
        )
    network = (
        " a network of its own" if about.own_network else " the machine's own network, since no other is permitted here"
    )
    how = "It is counted by a control group, which misses no process." if about.counted else _WITHOUT_GROUPS
    parts.append(_HOW.strip().format(network=network, counted=how))
    return "\n\n".join([*parts, ""])


_QUICK = "**A quick run, with small corpora: it shows that everything works, and its figures mean nothing.**"
_WITHOUT_GROUPS = (
    "No control group can be made here, so processor time is that of all processes that were waited for: "
    "children of a process that ignores SIGCHLD are missed."
)


def _made_by(figures: Mapping[str, Kept]) -> str:
    """The command, or each with what it measured; and the machines."""
    by_command: dict[str, list[str]] = {}
    for name, kept in figures.items():
        by_command.setdefault(kept.command, []).append(name)
    machines = " and ".join(dict.fromkeys(kept.machine for kept in figures.values()))
    if len(by_command) < 2:
        return f"Made by `{next(iter(by_command), '')}` from a checkout, on {machines}."
    lines = [f"- {', '.join(names)}: `{command}`" for command, names in by_command.items()]
    return "\n".join([f"Made from a checkout, on {machines}, by", "", *lines])


def _results(differences: list[str]) -> str:
    if not differences:
        return "Every result of every run is equal to plain pytest's."
    lines = [f"- {line}" for line in differences]
    return "\n".join([f"**{len(differences)} results differ:**", "", *lines])
