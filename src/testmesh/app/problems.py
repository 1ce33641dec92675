"""Every error of the API as RFC 9457 `application/problem+json`."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from testmesh import errors

_log = logging.getLogger("testmesh.app")

MEDIA_TYPE = "application/problem+json"
BEARER_CHALLENGE = 'Bearer realm="testmesh"'

_STATUS: dict[type[errors.TestmeshError], int] = {
    errors.MalformedError: 400,
    errors.UnauthorizedError: 401,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.TooLargeError: 413,
    errors.UnsupportedMediaError: 415,
    errors.NothingToTestError: 422,
    errors.QueueFullError: 429,
    errors.BusyError: 503,
    errors.DrainingError: 503,
    errors.InfrastructureError: 503,
    errors.PeerError: 503,
    errors.DiskFullError: 507,
}
_SENTENCES = {
    400: "The request cannot be understood; check its headers and that its body is complete.",
    413: "The body is larger than this node takes; send less, or raise MESH_MAX_UPLOAD.",
}


def problem_body(status: int, detail: str) -> bytes:
    """The JSON of one problem: type, title, status, detail."""
    title = HTTPStatus(status).phrase
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(problem_body(status, detail), status, headers, content_type=MEDIA_TYPE)


def status_of(error: errors.TestmeshError) -> int | None:
    """None of what no client is told more of than that it failed."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), None)


def register_problems(app: Flask) -> None:
    """Answer whatever is raised in a view as a problem; what was not foreseen is logged and told as a bare 500."""
    app.register_error_handler(errors.TestmeshError, _known)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _unforeseen)


def _known(error: errors.TestmeshError) -> Response:
    status = status_of(error)
    if status is None:
        return _unforeseen(error)
    headers = {}
    if isinstance(error, errors.QueueFullError | errors.BusyError):
        headers["Retry-After"] = str(max(1, error.retry_after_s))
    if isinstance(error, errors.UnauthorizedError):
        headers["WWW-Authenticate"] = BEARER_CHALLENGE
    return problem(status, error.detail, headers)


def _from_http(error: HTTPException) -> Response:
    status = error.code or 500
    if 300 <= status < 400:  # the router's redirects; their page of HTML is dropped
        location = error.get_response().headers.get("Location", "/")
        return Response(status=status, headers={"Location": location})
    if status == 404:
        return problem(404, "There is nothing at this path; GET /openapi shows every path.")
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        detail = f"{request.method} is not possible at this path; use {allowed or 'another path'}."
        return problem(405, detail, {"Allow": allowed})
    if status >= 500:
        return _unforeseen(error)
    return problem(status, _SENTENCES.get(status) or error.description or HTTPStatus(status).phrase)


def _unforeseen(error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    return problem(500, "This is an error of the node, not of the request; its log has the details.")
