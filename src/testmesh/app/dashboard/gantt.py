"""PURE: when each module ran on which node, as bars in lanes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Any

from testmesh.app.dashboard.text import duration, line, seconds_of, shortened
from testmesh.app.dashboard.words import verdict_words

LANE, GAP, HEAD, AXIS = 12, 2, 20, 22  # pixels: a lane, between lanes, a node's name, the line of times
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MAX_TICKS = 5
MOST_BARS = 4000  # the longest runs; more cannot be told apart, and make a page of megabytes


@dataclass(frozen=True, slots=True)
class Run:
    """One module's run. Unix seconds."""

    begun: float
    ended: float
    node: str
    verdict: str
    title: str


@dataclass(frozen=True, slots=True)
class Bar:
    """`x` and `width` are percent of the chart's width with their sign, `y` pixels."""

    x: str
    width: str
    y: int
    verdict: str
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    node: str
    y: int
    modules: int


@dataclass(frozen=True, slots=True)
class Tick:
    x: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    nodes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]
    height: int
    summary: str
    left_out: int = 0


def chart(module_results: Mapping[str, Mapping[str, Mapping[str, Any]]], now: float) -> Chart | None:
    """Of the modules that were begun; `now` ends those that run. None where none was."""
    every = _runs(module_results, now)
    if not every:
        return None
    runs = every if len(every) <= MOST_BARS else nlargest(MOST_BARS, every, key=lambda run: run.ended - run.begun)
    first = min(run.begun for run in runs)
    span = max(max(run.ended for run in runs) - first, 0.001)
    bars: list[Bar] = []
    nodes: list[Lane] = []
    y = AXIS
    for node in sorted({run.node for run in runs}):
        own = sorted((run for run in runs if run.node == node), key=lambda run: (run.begun, run.ended))
        nodes.append(Lane(line(node), y + HEAD - 7, len(own)))
        y += HEAD
        lanes = pack([(run.begun, run.ended) for run in own])
        bars += [
            Bar(
                _percent((run.begun - first) / span),
                _percent(max((run.ended - run.begun) / span, 0.0005)),
                y + lane * (LANE + GAP),
                run.verdict,
                run.title,
            )
            for run, lane in zip(own, lanes, strict=True)
        ]
        y += (max(lanes) + 1) * (LANE + GAP) + GAP
    summary = f"{len(runs)} runs on {len(nodes)} nodes within {duration(span)}"
    return Chart(tuple(bars), tuple(nodes), ticks(span), y + GAP, summary, len(every) - len(runs))


def pack(spans: Sequence[tuple[float, float]]) -> list[int]:
    """The lane of each span, in order of their begins: the first lane that is free then."""
    free: list[float] = []
    lanes = []
    for begun, ended in spans:
        lane = next((number for number, until in enumerate(free) if until <= begun), len(free))
        free[lane : lane + 1] = [max(ended, begun)]
        lanes.append(lane)
    return lanes


def ticks(span: float) -> tuple[Tick, ...]:
    """At round numbers of seconds since the begin, at most five."""
    step = next(
        (step for step in _STEPS if span / step <= _MAX_TICKS), _STEPS[-1] * max(1, round(span / 86400 / _MAX_TICKS))
    )
    return tuple(
        Tick(_percent(number * step / span), _label(number * step))
        for number in range(int(span / step) + 1)
        if number * step / span < 0.9
    )


def _label(seconds: float) -> str:
    if seconds < 60:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {rest:02} s" if rest else "")
    return f"{minutes // 60} h" + (f" {minutes % 60:02} min" if minutes % 60 else "")


def _runs(module_results: Mapping[str, Mapping[str, Mapping[str, Any]]], now: float) -> list[Run]:
    runs = []
    for project, modules in module_results.items():
        for module, result in modules.items():
            begun = seconds_of(result["started_at"])
            if begun is None or not result["node"]:
                continue
            verdict = result["verdict"]
            ended = max(now, begun) if verdict == "running" else begun + result["time"]
            title = f"{shortened(line(project))} · {shortened(line(module))}: {verdict_words(verdict).label}"
            runs.append(Run(begun, ended, result["node"], verdict, f"{title}, {duration(ended - begun)}"))
    return runs


def _percent(share: float) -> str:
    return f"{share * 100:.3f}%"
