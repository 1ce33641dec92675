"""What the routes have in common: the form of an id, and how operations are described in the OpenAPI document."""

import re
from typing import Any

from testmesh.app.problems import MEDIA_TYPE
from testmesh.errors import NotFoundError

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WRITE: list[dict[str, list[Any]]] = [{"apiToken": []}, {}]
READ: list[dict[str, list[Any]]] = [{"readToken": []}, {}]
_REFUSALS = {
    400: "malformed",
    401: "the token of the service is missing or wrong",
    404: "no live node knows it",
    409: "in conflict with what there is already",
    413: "over a limit of size",
    415: "neither multipart/form-data nor application/json",
    422: "well formed, but there is nothing to test in it",
    429: "too many evaluations wait; come back after Retry-After",
    503: "this node is leaving, or has all the readers it takes; use another",
    507: "this node's disk is full; use another",
}


def known_form(evaluation_id: str) -> str:
    """What is no id at all is not asked of the peers."""
    if not _ID.fullmatch(evaluation_id):
        raise NotFoundError("No evaluation has this id; GET /evaluation lists those there are.")
    return evaluation_id


def content(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema, "example": example}}}


def answers(good: dict[int, Any], *refusals: int) -> dict[Any, Any]:
    """The answers of an operation: those that are fine, and the problems."""
    described: dict[Any, Any] = {**good}
    for status in refusals:
        body = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        described[status] = {"description": _REFUSALS[status], "content": body}
    return described
