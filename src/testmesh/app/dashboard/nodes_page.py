"""PURE: the nodes of the mesh, as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testmesh.app.dashboard import text
from testmesh.app.dashboard.words import Words
from testmesh.node.service import NodeVitals

_STATES: Mapping[str, Words] = {
    "ok": Words("✓", "ok", "good"),
    "draining": Words("–", "draining", "warn"),
    "disk full": Words("!", "disk full", "bad"),
    "suspect": Words("?", "not heard of", "warn"),
    "no answer": Words("?", "no answer", "warn"),
    "dead": Words("✕", "gone", "bad"),
    "left": Words("–", "left", "idle"),
}
_SANDBOX = {
    "full": "Each module runs in namespaces of its own.",
    "portable": "Each module runs with limits, but without namespaces of its own.",
    "none": "Modules run without a sandbox.",
}


@dataclass(frozen=True, slots=True)
class NodeRow:
    """`load` is percent of the slots in use."""

    address: str
    alive: bool
    words: Words
    sandbox: str
    sandbox_meaning: str
    loopback: str
    version: str
    cores: str
    slots: str
    running: str
    waiting: str
    cpu: str
    memory: str
    uptime: str
    load: float


@dataclass(frozen=True, slots=True)
class NodesPage:
    rows: tuple[NodeRow, ...]
    alive: int
    slots: int
    running: int
    waiting: int


def nodes_page(nodes: Sequence[NodeVitals]) -> NodesPage:
    """Live nodes come first."""
    alive = [node for node in nodes if node.alive]
    return NodesPage(
        rows=tuple(sorted((_row(node) for node in nodes), key=lambda row: (not row.alive, row.address))),
        alive=len(alive),
        slots=sum(node.slots or 0 for node in alive),
        running=sum(node.running or 0 for node in alive),
        waiting=sum(node.waiting or 0 for node in alive),
    )


def _row(node: NodeVitals) -> NodeRow:
    return NodeRow(
        address=text.line(node.address),
        alive=node.alive,
        words=_STATES.get(node.status) or Words("!", text.line(node.status), "warn"),
        sandbox=text.line(node.sandbox or "–"),
        sandbox_meaning=_SANDBOX.get(node.sandbox or "", ""),
        loopback=text.line(node.loopback or "–"),
        version=text.line(node.version or "–"),
        cores=_count(node.cores),
        slots=_count(node.slots),
        running=_count(node.running),
        waiting=_count(node.waiting),
        cpu=_share(node.cpu),
        memory=_share(node.memory),
        uptime=text.duration(node.uptime),
        load=round(min(100.0, 100 * (node.running or 0) / node.slots), 1) if node.slots else 0.0,
    )


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.0f} %"
