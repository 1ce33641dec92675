"""PURE: what changed between two states of an evaluation's document, as events.

The data of an event is a part of the document (spec section 3), to be merged by its reader: objects merge key by key,
all else replaces, and a project or a module that is null is there no more. Whoever merges all events, in their order,
has the document.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Document = dict[str, Any]
Event = tuple[str, Document]  # "module", "project" or "done", and the part of the document

_MAPS = ("projects", "module_results")
_TOLD_LAST = ("status", "finished_at", "_run_info", "projects")


def whole(document: Document, is_over: bool) -> list[Event]:
    """All of it, for a reader who knows nothing."""
    first: Event = ("project", {name: part for name, part in document.items() if name != "module_results"})
    last = [("done", _last(document))] if is_over else []
    return [first, *_modules({}, document["module_results"]), *last]


def changes(before: Document, after: Document, is_over: bool) -> list[Event]:
    """What makes `after` of `before`. `is_over`: `after` is the last there will be, so the last event is `done`."""
    found = list(_modules(before["module_results"], after["module_results"]))
    part = {name: value for name, value in after.items() if name not in _MAPS and value != before[name]}
    projects = _changed(before["projects"], after["projects"])
    if projects:
        part["projects"] = projects
    if is_over:
        gone = {name: None for name in before["projects"] if name not in after["projects"]}
        found.append(("done", part | _last(after) | {"projects": after["projects"] | gone}))
    elif part:
        found.append(("project", {"status": after["status"]} | part))
    return found


def encoded(event: Event, event_id: str | None) -> bytes:
    """As it is sent. A reader that comes back names the last `event_id` it has seen."""
    kind, part = event
    data = json.dumps(part, separators=(",", ":"), allow_nan=False)
    line = "" if event_id is None else f"id: {event_id}\n"
    return f"{line}event: {kind}\ndata: {data}\n\n".encode()


def _modules(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Event]:
    """One event a module."""
    for project, modules in after.items():
        known = before.get(project)
        for module, state in _changed(known or {}, modules).items():
            yield "module", {"module_results": {project: {module: state}}}
        if known is None and not modules:
            yield "module", {"module_results": {project: {}}}
    for project in before:
        if project not in after:
            yield "module", {"module_results": {project: None}}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Document:
    gone = {name: None for name in before if name not in after}
    return gone | {name: value for name, value in after.items() if before.get(name) != value}


def _last(document: Document) -> Document:
    return {name: document[name] for name in _TOLD_LAST}
