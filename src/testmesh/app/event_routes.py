"""`GET /evaluation/<id>/events`: one evaluation, live."""

# ruff: noqa: ARG001 - flask-openapi gives a view what it checked by the names `path` and `query`

from typing import Any

from flask import Response, request
from flask_openapi.openapi import OpenAPI

from testmesh.app.operations import READ, answers, known_form
from testmesh.app.schemas import EvaluationPath, NoQuery
from testmesh.app.streaming import StreamBody
from testmesh.node.service import NodeService

_MEDIA_TYPE = "text/event-stream"
_RETRY = b"retry: 1000\n\n"


def register_events(app: OpenAPI, node: NodeService) -> None:
    """The route."""

    @app.get(
        "/evaluation/<string:id>/events",
        operation_id="get_events",
        summary="What changes of one evaluation, as server-sent events",
        description="`module`, `project` and at last `done`: the data of each is the part of the evaluation that "
        "changed, to be merged into what is known: objects merge key by key, all else replaces, null for a project or "
        "a module says that it is there no more. All of the evaluation comes first, unless Last-Event-ID names an "
        "event that this node still knows.",
        security=READ,
        openapi_extensions={"parameters": [_LAST_EVENT_ID]},
        responses=answers(_STREAM, 400, 401, 404, 503),
    )
    def events(path: EvaluationPath, query: NoQuery) -> Response:
        last = request.headers.get("Last-Event-ID", "")
        stream = node.watch(known_form(path.id), last or None)
        if stream is None:
            return Response(status=204)
        answer = Response(content_type=f"{_MEDIA_TYPE}; charset=utf-8", headers={"X-Accel-Buffering": "no"})
        if request.method == "HEAD":
            stream.close()
        else:
            answer.response, answer.direct_passthrough = StreamBody(stream, _RETRY), True
        return answer


_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "the id of the last event that was received",
    "schema": {"type": "string"},
}
_STREAM: dict[int, Any] = {
    200: {
        "description": "ends after `done`; a comment every 15 s shows that it goes on",
        "content": {
            _MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "description": "one event",
                    "required": ["event", "data"],
                    "properties": {
                        "id": {"type": "string"},
                        "event": {"enum": ["module", "project", "done"]},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                },
                "example": {
                    "id": "3f9a0c5b7d21.7",
                    "event": "module",
                    "data": '{"module_results":{"project-a":{"tests/test_example.py":{"verdict":"running"}}}}',
                },
            }
        },
    },
    204: {"description": "Last-Event-ID is that of `done`: there will be no more"},
}
