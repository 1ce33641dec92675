"""PURE: server-sent events, and what they do to an evaluation's document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

DONE = "done"


@dataclass(frozen=True, slots=True)
class Event:
    """`part` is the piece of the document that changed; `id` asks for what came after it."""

    kind: str
    part: Document
    id: str | None = None


class EventParser:
    """Takes the stream in whatever pieces it comes and gives its events."""

    def __init__(self) -> None:
        self._rest = b""
        self._id: str | None = None  # stays until another is sent, as the standard says
        self._kind = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that `piece` completes.

        Raises:
            ValueError: the data of one is not a JSON object.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for raw in lines:
            line = raw.decode(errors="replace").removesuffix("\r")
            if line:
                self._take(line)
            elif self._data:
                yield self._event()

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._kind = value
            case "id" if "\0" not in value:
                self._id = value

    def _event(self) -> Event:
        part = json.loads("\n".join(self._data))
        if not isinstance(part, dict):
            raise ValueError("the data of an event is not an object")  # noqa: TRY004 - of the stream, not of a caller
        event = Event(self._kind or "message", part, self._id)
        self._kind, self._data = "", []
        return event


def merged(document: Document, part: Document) -> Document:
    """`document` with `part` laid over it; neither is changed.

    Objects are merged, all else is replaced; a project or a module that is null is there no more.
    """
    result = _laid_over(document, part)
    if "projects" in part:
        result["projects"] = _without_none(result["projects"])
    if "module_results" in part:
        results = _without_none(result["module_results"])
        known = {name: _without_none(results[name]) for name in part["module_results"] if name in results}
        result["module_results"] = results | known
    return result


def _laid_over(document: Document, part: Document) -> Document:
    result = dict(document)
    for name, value in part.items():
        before = result.get(name)
        result[name] = _laid_over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _without_none(objects: Document) -> Document:
    return {name: value for name, value in objects.items() if value is not None}
