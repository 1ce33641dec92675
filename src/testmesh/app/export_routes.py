"""An evaluation as a file: results.csv, junit.xml, report.html."""

# ruff: noqa: ARG001 - flask-openapi gives a view what it checked by the names `path` and `query`

from collections.abc import Iterable
from functools import partial
from typing import Any

from flask import Response
from flask_openapi.openapi import OpenAPI

from testmesh.app.exports.junit_xml import junit_xml
from testmesh.app.exports.report_html import POLICY, report_html
from testmesh.app.exports.results_csv import COLUMNS, results_csv
from testmesh.app.operations import READ, answers, known_form
from testmesh.app.schemas import EvaluationPath, NoQuery
from testmesh.clock import Clock
from testmesh.node.document import document
from testmesh.node.service import ModuleTests, NodeService

_CSV, _XML, _HTML = "text/csv; charset=utf-8", "application/xml; charset=utf-8", "text/html; charset=utf-8"


def register_exports(app: OpenAPI, node: NodeService, clock: Clock) -> None:
    """The routes. What has not ended is exported as it is now."""

    def read(evaluation_id: str) -> dict[str, Any]:
        return document(node.evaluation(known_form(evaluation_id)), clock.wall())

    def tests_of(evaluation_id: str, project: str) -> Iterable[ModuleTests]:
        return node.tests(evaluation_id, project, None)

    @app.get(
        "/evaluation/<string:id>/results.csv",
        operation_id="get_results_csv",
        summary="The grades as CSV, a row a project",
        security=READ,
        responses=answers(_file("text/csv", ",".join(COLUMNS)), 400, 401, 404),
    )
    def get_results_csv(path: EvaluationPath, query: NoQuery) -> Response:
        return _attached(Response(results_csv(read(path.id)), content_type=_CSV), f"results-{path.id}.csv")

    @app.get(
        "/evaluation/<string:id>/junit.xml",
        operation_id="get_junit_xml",
        summary="Every test as JUnit XML, a suite a module",
        security=READ,
        responses=answers(_file("application/xml", "<testsuites>…</testsuites>"), 400, 401, 404),
    )
    def get_junit_xml(path: EvaluationPath, query: NoQuery) -> Response:
        pieces = junit_xml(read(path.id), partial(tests_of, path.id))
        return _attached(Response(pieces, content_type=_XML), f"junit-{path.id}.xml")

    @app.get(
        "/evaluation/<string:id>/report.html",
        operation_id="get_report_html",
        summary="Grades, modules and failing tests as one page to mail or print",
        security=READ,
        responses=answers(_file("text/html", "<!doctype html>…"), 400, 401, 404),
    )
    def get_report_html(path: EvaluationPath, query: NoQuery) -> Response:
        answer = Response(report_html(read(path.id), partial(tests_of, path.id)), content_type=_HTML)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Content-Disposition"] = f'inline; filename="report-{path.id}.html"'
        return answer


def _attached(answer: Response, name: str) -> Response:
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _file(media_type: str, example: str) -> dict[int, Any]:
    content = {media_type: {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": "the file, as of now", "content": content}}
