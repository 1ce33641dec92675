"""The WSGI application of a node."""

from typing import Any

from flask import Blueprint, Response, request
from flask_openapi.models.info import Info
from flask_openapi.models.schema import Schema
from flask_openapi.models.security_scheme import SecurityScheme
from flask_openapi.openapi import OpenAPI

from testmesh import __version__
from testmesh.app.auth import require_tokens
from testmesh.app.dashboard import register_dashboard
from testmesh.app.dashboard.routes import POLICY, is_page
from testmesh.app.event_routes import register_events
from testmesh.app.export_routes import register_exports
from testmesh.app.operator_routes import register_operator
from testmesh.app.problems import register_problems
from testmesh.app.routes import register_reads, register_submissions
from testmesh.app.schemas import Problem, RequestModels, refuse_query
from testmesh.app.sessions import register_login
from testmesh.app.uploads import Doors
from testmesh.clock import Clock, SystemClock
from testmesh.node.service import NodeService
from testmesh.settings import MIB, Settings

_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Swagger UI starts itself by an inline script and styles itself inline; all its files come from this node.
_DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def create_app(
    node: NodeService, settings: Settings, *, internal: Blueprint | None = None, clock: Clock | None = None
) -> OpenAPI:
    """The public API in front of `node`, and `internal`, a blueprint made by `auth.internal_blueprint`, beside it."""
    app = _Api(
        __name__,
        info=Info(title="testmesh", version=__version__, description="Grades Python projects by their pytest suites."),
        security_schemes={
            "apiToken": SecurityScheme(type="http", scheme="bearer", description="MESH_API_TOKEN, where it is set"),
            "readToken": SecurityScheme(type="http", scheme="bearer", description="MESH_READ_TOKEN, where it is set"),
        },
        validation_error_status=400,
        validation_error_model=Problem,
        validation_error_callback=refuse_query,
        static_folder=None,
    )
    app.openapi_version = "3.1.0"  # what clients and checkers read today; nothing of 3.2 is used
    app.config["MAX_CONTENT_LENGTH"] = MIB  # of what no route reads by its own rules
    app.url_map.merge_slashes = False  # a path with two slashes is another path, not a redirect
    models = RequestModels(settings)
    for model in (models.options, models.submission):
        app.add_model(model)
    if internal is not None:
        app.register_blueprint(internal)
    register_problems(app)
    require_tokens(app, settings)
    register_login(app, settings)
    doors = Doors()
    register_submissions(app, node, settings, models, doors)
    register_reads(app, node, clock or SystemClock())
    register_dashboard(app, node, settings, models, doors, clock or SystemClock())
    register_events(app, node)
    register_exports(app, node, clock or SystemClock())
    register_operator(app, node)
    app.after_request(_secure)
    return app


class _Api(OpenAPI):
    def add_model(self, model: Any) -> None:
        """Put a request's model into the document; its route reads the body by itself."""
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, part in (schema.pop("$defs", {}) | {model.__name__: schema}).items():
            self.components_schemas[name] = Schema(**part)


def _secure(response: Response) -> Response:
    docs, page = request.path.startswith("/openapi"), is_page(request.path)
    policy = _DOCS_POLICY if docs else POLICY if page else _API_POLICY
    response.headers.setdefault("Content-Security-Policy", policy)
    response.headers["X-Content-Type-Options"] = "nosniff"
    # With no-referrer a browser does not tell from where a page's form was sent (Origin: null).
    response.headers["Referrer-Policy"] = "same-origin" if page else "no-referrer"
    if not docs and not (page and "Cache-Control" in response.headers):
        response.headers["Cache-Control"] = "no-store"  # grades, and they change while they are looked at
    return response
