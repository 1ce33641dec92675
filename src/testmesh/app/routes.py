"""The public paths (spec section 2)."""

# ruff: noqa: ARG001 - flask-openapi gives a view what it checked by the names `path` and `query`

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flask import Response, request
from flask_openapi.openapi import OpenAPI

from testmesh.app import schemas, views
from testmesh.app.problems import MEDIA_TYPE
from testmesh.app.schemas import EvaluationPath, KeyHeader, ListQuery, NoQuery, RequestModels, RerunQuery, TestsQuery
from testmesh.app.uploads import MAX_JSON, OVERHEAD, Doors, check_length, read_json_body, received
from testmesh.clock import Clock
from testmesh.errors import MalformedError, NotFoundError, UnsupportedMediaError
from testmesh.model import Options
from testmesh.node.document import document
from testmesh.node.service import NodeService
from testmesh.settings import Settings

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY = re.compile(r"[ -~]{1,255}")
_WRITE: list[dict[str, list[Any]]] = [{"apiToken": []}, {}]
_READ: list[dict[str, list[Any]]] = [{"readToken": []}, {}]
_REFUSALS = {
    400: "malformed",
    401: "the token of the service is missing or wrong",
    404: "no live node knows it",
    409: "in conflict with what there is already",
    413: "over a limit of size",
    415: "neither multipart/form-data nor application/json",
    422: "well formed, but there is nothing to test in it",
    429: "too many evaluations wait; come back after Retry-After",
    503: "this node is leaving; use another",
    507: "this node's disk is full; use another",
}
_SUBMITTING = (400, 401, 409, 413, 415, 422, 429, 503, 507)


def register_submissions(app: OpenAPI, node: NodeService, settings: Settings, models: RequestModels) -> None:
    """POST, DELETE and rerun."""
    doors = Doors()

    @app.post(
        "/evaluation",
        operation_id="submit",
        summary="Submit projects to be graded",
        description="A zip as multipart/form-data, or the URLs of GitHub repositories as JSON.",
        security=_WRITE,
        openapi_extensions={"parameters": [_IDEMPOTENCY_KEY]},
        request_body=_submit_body(),
        responses=_answers(_ACCEPTED, *_SUBMITTING),
    )
    def submit(query: NoQuery) -> Response:
        key = _idempotency_key()
        kind = request.mimetype
        if kind not in ("multipart/form-data", "application/json") or "Content-Encoding" in request.headers:
            if not kind and not request.content_length and "Transfer-Encoding" not in request.headers:
                raise MalformedError("There is no body; send a zip as multipart/form-data, or JSON with URLs.")
            raise UnsupportedMediaError(
                "Send a zip as multipart/form-data, or application/json with URLs, uncompressed."
            )
        check_length(request, settings.max_upload + OVERHEAD if kind == "multipart/form-data" else MAX_JSON)
        node.check_admission()
        if kind == "application/json":
            with doors.enter():
                urls, token, options = models.read_submission(read_json_body(request))
            digest = _digest(options, urls=urls)
            return views.created(node.submit_repositories(urls, token, options, key, digest))
        with doors.enter(), received(request, node.incoming, settings.max_upload) as upload:
            options = models.read_options(upload.options)
            tests = upload.tests
            digest = _digest(
                options, name=upload.file.name, file=upload.file.sha256, tests=tests.sha256 if tests else None
            )
            tests_path = tests.path if tests else None
            return views.created(
                node.submit_upload(upload.file.path, upload.file.name, tests_path, options, key, digest)
            )

    @app.delete(
        "/evaluation/<string:id>",
        operation_id="cancel",
        summary="Cancel what has not ended; results so far stay",
        security=_WRITE,
        responses=_answers({202: schemas.Created}, 400, 401, 404, 409),
    )
    def cancel(path: EvaluationPath, query: NoQuery) -> Response:
        node.cancel(_known_form(path.id))
        return views.json_answer({"id": path.id}, 202)

    @app.post(
        "/evaluation/<string:id>/rerun",
        operation_id="rerun",
        summary="Grade the same sources again, or one project of them",
        security=_WRITE,
        responses=_answers(_ACCEPTED, 400, 401, 404, 409, 422, 429, 503, 507),
    )
    def rerun(path: EvaluationPath, query: RerunQuery, header: KeyHeader) -> Response:
        node.check_admission()
        return views.created(node.rerun(_known_form(path.id), query.project, _idempotency_key()))


def register_reads(app: OpenAPI, node: NodeService, clock: Clock) -> None:
    """Everything that only looks."""

    @app.get(
        "/evaluation",
        operation_id="list_evaluations",
        summary="The whole mesh's evaluations, newest first",
        security=_READ,
        responses=_answers({200: schemas.EvaluationList}, 400, 401, 404),
    )
    def list_evaluations(query: ListQuery) -> Response:
        after = None if query.after is None else _known_form(query.after)
        return views.json_answer(views.evaluation_list(node.evaluations(query.limit, after)))

    @app.get(
        "/evaluation/<string:id>",
        operation_id="get_evaluation",
        summary="One evaluation: it has this shape from the first moment and fills in",
        security=_READ,
        responses=_answers({200: schemas.EvaluationOut}, 400, 401, 404),
    )
    def get_evaluation(path: EvaluationPath, query: NoQuery) -> Response:
        return views.json_answer(document(node.evaluation(_known_form(path.id)), clock.wall()))

    @app.get(
        "/evaluation/<string:id>/tests",
        operation_id="get_tests",
        summary="Every test with its outcome and output",
        security=_READ,
        responses=_answers({200: schemas.TestList}, 400, 401, 404),
    )
    def get_tests(path: EvaluationPath, query: TestsQuery) -> Response:
        return views.stream_tests(node.tests(_known_form(path.id), query.project, query.module))

    @app.get(
        "/stats",
        operation_id="stats",
        summary="Totals of the mesh and of its live nodes",
        responses=_answers({200: schemas.Stats}, 400),
    )
    def stats(query: NoQuery) -> Response:
        return views.json_answer(views.stats(*node.totals()))

    @app.get(
        "/network",
        operation_id="network",
        summary="Every live node and the peers it exchanges messages with",
        responses=_answers({200: _content(_map_of_lists(), {"10.0.0.1:5001": ["10.0.0.2:5002"]})}, 400),
    )
    def network(query: NoQuery) -> Response:
        return views.json_answer(node.network())

    @app.get(
        "/peers",
        operation_id="peers",
        summary="Every live node that the answering one knows, but itself",
        responses=_answers({200: _content(_list_of_text(), ["10.0.0.2:5002"])}, 400),
    )
    def peers(query: NoQuery) -> Response:
        return views.json_answer(node.peers())

    @app.get(
        "/health",
        operation_id="health",
        summary="Whether new work is taken; 503 while the node drains or its disk is full",
        responses=_answers({200: schemas.Health, 503: schemas.Health}, 400),
    )
    def health(query: NoQuery) -> Response:
        healthy, report = node.health()
        return views.json_answer(report, 200 if healthy else 503)

    @app.route("/")
    def home() -> Response:
        """The documentation, until the dashboard takes this place."""
        return _found("/openapi")

    @app.route("/openapi")
    def openapi() -> Response:
        return _found("/openapi/swagger")


def _found(path: str) -> Response:
    return Response(status=302, headers={"Location": path})


def _known_form(evaluation_id: str) -> str:
    """What is no id at all is not asked of the peers."""
    if not _ID.fullmatch(evaluation_id):
        raise NotFoundError("No evaluation has this id; GET /evaluation lists those there are.")
    return evaluation_id


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise MalformedError("Idempotency-Key: send 1 to 255 printable ASCII characters.")
    return key


def _digest(options: Options, **posted: str | Sequence[str] | None) -> str:
    """Covers what makes two submissions different; not the token, of which nothing is to be kept."""
    content = json.dumps([posted, asdict(options)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


# The document -------------------------------------------------------------------------------

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "a repeated POST with the same key answers with the first one's id; with another body 409",
    "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
}


_ACCEPTED: dict[int, Any] = {
    202: {
        "description": "stored here and, where another node is alive, on one more",
        "headers": {"Location": {"description": "where the evaluation is", "schema": {"type": "string"}}},
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Created"},
                "example": {"id": schemas.EXAMPLE_ID},
            }
        },
    }
}


def _submit_body() -> dict[str, Any]:
    """The request body of POST /evaluation, of either kind."""
    zip_part = {"type": "string", "format": "binary"}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": zip_part | {"description": "a zip of one or more projects"},
                        "tests": zip_part | {"description": "a zip of the staff's tests, laid over every project"},
                        "options": {"$ref": "#/components/schemas/Options"},
                    },
                },
                "encoding": {"options": {"contentType": "application/json"}},
            },
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Submission"},
                "example": {"projects": [schemas.EXAMPLE_URL], "options": {"module_timeout_s": 60}},
            },
        },
    }


def _content(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema, "example": example}}}


def _map_of_lists() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": _list_of_text()}


def _list_of_text() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}}


def _answers(good: dict[int, Any], *refusals: int) -> dict[Any, Any]:
    """The answers of an operation: those that are fine, and the problems."""
    answers: dict[Any, Any] = {**good}
    for status in refusals:
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers[status] = {"description": _REFUSALS[status], "content": content}
    return answers
