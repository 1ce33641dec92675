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
from testmesh.app.operations import READ, WRITE, answers, content, known_form
from testmesh.app.schemas import EvaluationPath, KeyHeader, ListQuery, NoQuery, RequestModels, RerunQuery, TestsQuery
from testmesh.app.uploads import MAX_JSON, OVERHEAD, Doors, check_length, read_json_body, received
from testmesh.clock import Clock
from testmesh.errors import MalformedError, UnsupportedMediaError
from testmesh.model import Options
from testmesh.node.document import document
from testmesh.node.service import NodeService
from testmesh.settings import Settings

_KEY = re.compile(r"[ -~]{1,255}")
_SUBMITTING = (400, 401, 409, 413, 415, 422, 429, 503, 507)


def register_submissions(
    app: OpenAPI, node: NodeService, settings: Settings, models: RequestModels, doors: Doors
) -> None:
    """POST, DELETE and rerun."""

    @app.post(
        "/evaluation",
        operation_id="submit",
        summary="Submit projects to be graded",
        description="A zip as multipart/form-data, or the URLs of GitHub repositories as JSON.",
        security=WRITE,
        openapi_extensions={"parameters": [_IDEMPOTENCY_KEY]},
        request_body=_submit_body(),
        responses=answers(_ACCEPTED, *_SUBMITTING),
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
        security=WRITE,
        responses=answers({202: schemas.Created}, 400, 401, 404, 409),
    )
    def cancel(path: EvaluationPath, query: NoQuery) -> Response:
        node.cancel(known_form(path.id))
        return views.json_answer({"id": path.id}, 202)

    @app.post(
        "/evaluation/<string:id>/rerun",
        operation_id="rerun",
        summary="Grade the same sources again, or one project of them",
        security=WRITE,
        responses=answers(_ACCEPTED, 400, 401, 404, 409, 422, 429, 503, 507),
    )
    def rerun(path: EvaluationPath, query: RerunQuery, header: KeyHeader) -> Response:
        node.check_admission()
        return views.created(node.rerun(known_form(path.id), query.project, _idempotency_key()))


def register_reads(app: OpenAPI, node: NodeService, clock: Clock) -> None:
    """Everything that only looks."""

    @app.get(
        "/evaluation",
        operation_id="list_evaluations",
        summary="The whole mesh's evaluations, newest first",
        security=READ,
        responses=answers({200: schemas.EvaluationList}, 400, 401, 404),
    )
    def list_evaluations(query: ListQuery) -> Response:
        after = None if query.after is None else known_form(query.after)
        return views.json_answer(views.evaluation_list(node.evaluations(query.limit, after)))

    @app.get(
        "/evaluation/<string:id>",
        operation_id="get_evaluation",
        summary="One evaluation: it has this shape from the first moment and fills in",
        security=READ,
        responses=answers({200: schemas.EvaluationOut}, 400, 401, 404),
    )
    def get_evaluation(path: EvaluationPath, query: NoQuery) -> Response:
        return views.json_answer(document(node.evaluation(known_form(path.id)), clock.wall()))

    @app.get(
        "/evaluation/<string:id>/tests",
        operation_id="get_tests",
        summary="Every test with its outcome and output",
        security=READ,
        responses=answers({200: schemas.TestList}, 400, 401, 404),
    )
    def get_tests(path: EvaluationPath, query: TestsQuery) -> Response:
        return views.stream_tests(node.tests(known_form(path.id), query.project, query.module))

    @app.get(
        "/stats",
        operation_id="stats",
        summary="Totals of the mesh and of its live nodes",
        responses=answers({200: schemas.Stats}, 400),
    )
    def stats(query: NoQuery) -> Response:
        return views.json_answer(views.stats(*node.totals()))

    @app.get(
        "/network",
        operation_id="network",
        summary="Every live node and the peers it exchanges messages with",
        responses=answers({200: content(_map_of_lists(), {"10.0.0.1:5001": ["10.0.0.2:5002"]})}, 400),
    )
    def network(query: NoQuery) -> Response:
        return views.json_answer(node.network())

    @app.get(
        "/peers",
        operation_id="peers",
        summary="Every live node that the answering one knows, but itself",
        responses=answers({200: content(_list_of_text(), ["10.0.0.2:5002"])}, 400),
    )
    def peers(query: NoQuery) -> Response:
        return views.json_answer(node.peers())

    @app.get(
        "/health",
        operation_id="health",
        summary="Whether new work is taken; 503 while the node drains or its disk is full",
        responses=answers({200: schemas.Health, 503: schemas.Health}, 400),
    )
    def health(query: NoQuery) -> Response:
        healthy, report = node.health()
        return views.json_answer(report, 200 if healthy else 503)

    @app.route("/openapi")
    def openapi() -> Response:
        return _found("/openapi/swagger")


def _found(path: str) -> Response:
    return Response(status=302, headers={"Location": path})


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise MalformedError("Idempotency-Key: send 1 to 255 printable ASCII characters.")
    return key


def _digest(options: Options, **posted: str | Sequence[str] | None) -> str:
    """Covers what makes two submissions different; not the token, of which nothing is to be kept."""
    chosen = asdict(options)
    if options.callback_url is None:  # as it was before there were any: a POST may be repeated across an upgrade
        del chosen["callback_url"]
    content = json.dumps([posted, chosen], sort_keys=True)
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


def _map_of_lists() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": _list_of_text()}


def _list_of_text() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}}
