"""PURE: what an evaluation's document says, as it is compared with plain pytest."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.corpora.corpus import Key
from bench.reference import Outcome


@dataclass(frozen=True, slots=True)
class Span:
    """One module's run. `began`, `took`: Unix seconds and seconds, by the node's clock."""

    node: str
    project: str
    module: str
    began: float
    took: float


def outcomes_of(document: Mapping[str, Any]) -> dict[Key, Outcome]:
    return {key: outcome_of(module) for key, module in _modules(document)}


def spans_of(document: Mapping[str, Any]) -> tuple[Span, ...]:
    """Of all modules of which is known when they began."""
    return tuple(
        Span(module["node"], *key, datetime.fromisoformat(module["started_at"]).timestamp(), module["time"])
        for key, module in _modules(document)
        if module.get("started_at")
    )


def outcome_of(module: Mapping[str, Any]) -> Outcome:
    if module["verdict"] == "timeout":
        return Outcome(end="timeout")
    if module["verdict"] == "collect_error":  # pytest's own summary has one error for the file
        return Outcome(errors=1)
    return Outcome(module["passed"], module["failed"], module["errors"], module["skipped"])


def _modules(document: Mapping[str, Any]) -> list[tuple[Key, Mapping[str, Any]]]:
    found = document["module_results"]
    return [((project, name), module) for project, modules in found.items() for name, module in modules.items()]
