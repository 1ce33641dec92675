"""PURE: modules on nodes over time, as a picture (SVG) that can be read on light and dark ground."""

from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape

from bench.systems.graded import Span

_WIDTH, _MARGIN, _ROW, _TOP, _BAR = 960, 12, 16, 60, 13
_LETTER = 5.6  # width of one in a bar, about
_STYLE = """
text { font: 10px system-ui, sans-serif; fill: #1f2328 }
.node { font-weight: 600; font-size: 12px }
.label { fill: #fff }
.grid { stroke: #d0d7de }
.mark { stroke: #cf222e; stroke-dasharray: 4 3 }
.mark-text { fill: #cf222e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .label { fill: #fff }
  .grid { stroke: #3d444d }
  .mark { stroke: #ff7b72 }
  .mark-text { fill: #ff7b72 }
}
"""
# Dark enough for white letters, light enough to be seen on a dark ground; told apart by those who see fewer colours.
_COLOURS = ("#3b6fb6", "#a5562b", "#2f7d5b", "#8a4f9e", "#7a6a1f", "#b0436b", "#3f7f8c", "#6b6f78")


def lanes_of(spans: Iterable[Span]) -> list[list[Span]]:
    """The spans of one node in as few lanes as there ran at once, each in the order of time."""
    lanes: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.began, -span.took)):
        free = next((lane for lane in lanes if lane[-1].began + lane[-1].took <= span.began), None)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    return lanes


def drawn(spans: Sequence[Span], began: float, marks: Mapping[str, float]) -> str:
    """The picture; "" without spans.

    `began`: Unix seconds at which the picture begins, unless a span is earlier. `marks`: names of moments, each in
    seconds after that.
    """
    if not spans:
        return ""
    start = min(began, *(span.began for span in spans))
    length = max(*(span.began + span.took - start for span in spans), *marks.values(), 0.0)
    colours = {project: _COLOURS[n % len(_COLOURS)] for n, project in enumerate(sorted({s.project for s in spans}))}
    body: list[str] = []
    y = _TOP
    for number, node in enumerate(sorted({span.node for span in spans}), start=1):
        body.append(f'<text class="node" x="{_MARGIN}" y="{y}">node {number}</text>')
        y += 8
        for lane in lanes_of(span for span in spans if span.node == node):
            body += [_bar(span, start, length, y, colours[span.project]) for span in lane]
            y += _ROW
        y += _ROW
    return _page(length, y, marks, body)


def _bar(span: Span, start: float, length: float, y: int, colour: str) -> str:
    left, right = _x(span.began - start, length), _x(span.began - start + span.took, length)
    width = max(right - left, 1.0)
    title = f"{span.project} {span.module}: {span.took:.2f} s from {span.began - start:.2f} s on"
    bar = f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>'
    label = _label(span, int((width - 6) / _LETTER))
    text = f'<text class="label" x="{left + 3:.1f}" y="{y + 10}">{escape(label)}</text>' if label else ""
    return f"<g><title>{escape(title)}</title>{bar}{text}</g>"


def _label(span: Span, letters: int) -> str:
    """As much as there is room for: project and module, the module, or nothing."""
    module = span.module.rpartition("/")[2].removesuffix(".py").removeprefix("test_")
    return next((name for name in (f"{span.project} {module}", module) if len(name) <= letters), "")


def _page(length: float, height: int, marks: Mapping[str, float], body: list[str]) -> str:
    lines = []
    for seconds in _grid(length):
        x = _x(seconds, length)
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="24" y2="{height}"/>')
        lines.append(f'<text x="{x:.1f}" y="18" text-anchor="middle">{seconds:g} s</text>')
    for number, (name, seconds) in enumerate(marks.items()):
        x = _x(seconds, length)
        body.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="24" y2="{height}"/>')
        text = f"{escape(name)} {seconds:.1f} s"
        body.append(f'<text class="mark-text" x="{x - 4:.1f}" y="{34 + 12 * number}" text-anchor="end">{text}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    title = "<title>When each module ran on which node</title>"
    return "\n".join([head, title, f"<style>{_STYLE}</style>", *lines, *body, "</svg>", ""])


def _grid(length: float) -> list[float]:
    """Round numbers of seconds, about ten of them."""
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if length / s <= 12), 1000)
    return [round(number * step, 1) for number in range(int(length / step) + 1)]


def _x(seconds: float, length: float) -> float:
    return 2 * _MARGIN + (_WIDTH - 4 * _MARGIN) * seconds / (length or 1.0)
