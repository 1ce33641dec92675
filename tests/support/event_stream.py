"""Server-sent events, as the standard reads them, and what they make of a document."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Told:
    kind: str
    part: dict[str, Any]
    id: str | None


def events_of(lines: Iterable[bytes]) -> Iterator[Told]:
    """As they come; `lines` without their ends."""
    kind, data, last = "message", "", None
    for line in lines:
        name, _, value = line.decode().partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            data = value
        elif name == "id":
            last = value
        elif not line and data:
            yield Told(kind, json.loads(data), last)
            kind, data = "message", ""


def merged(document: Any, part: Any) -> Any:
    """Objects merge, all else replaces."""
    if not (isinstance(document, dict) and isinstance(part, dict)):
        return part
    return document | {name: merged(document.get(name), value) for name, value in part.items()}


def document_of(events: Iterable[Told]) -> dict[str, Any]:
    """What whoever merges them all has at the end: null takes a project or a module away."""
    document: dict[str, Any] = {"projects": {}, "module_results": {}}
    for event in events:
        document = merged(document, event.part)
    modules = document["module_results"].items()
    document["projects"] = _there(document["projects"])
    document["module_results"] = {name: _there(found) for name, found in modules if found is not None}
    return document


def _there(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}
