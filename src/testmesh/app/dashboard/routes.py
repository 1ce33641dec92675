"""The pages: `/` and what is below `/dashboard/`. Errors are pages too, with a sentence and the problem's status."""

from typing import Any

from flask import Blueprint, Response, current_app, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from testmesh import __version__
from testmesh.app import sessions
from testmesh.app.auth import may_change
from testmesh.app.dashboard import text, words
from testmesh.app.dashboard.assets import PREFIX, Assets, read_assets
from testmesh.app.dashboard.cohort_page import SHOWN, cohort_page
from testmesh.app.dashboard.evaluation_page import evaluation_page
from testmesh.app.dashboard.list_page import ListPage, list_page
from testmesh.app.dashboard.matrix import SORTS
from testmesh.app.dashboard.module_page import module_page
from testmesh.app.dashboard.nodes_page import nodes_page
from testmesh.app.operations import known_form
from testmesh.app.problems import status_of
from testmesh.clock import Clock
from testmesh.errors import NotFoundError, TestmeshError
from testmesh.node.document import document
from testmesh.node.service import NodeService
from testmesh.settings import Settings

PAGE = 50  # evaluations a page of the list
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_NO_MODULE = "The evaluation has no such module; its page has a link to each that there is."
_FOR_GOOD = "public, max-age=31536000, immutable"


def is_page(path: str) -> bool:
    """Whether what is at the path is for people's eyes, and takes POLICY."""
    return path == "/" or path.startswith("/dashboard")


def dashboard_blueprint(settings: Settings) -> Blueprint:
    """The frame of all pages: what every template may use, and errors as pages."""
    blueprint = Blueprint("dashboard", __name__, template_folder="templates")
    assets = read_assets()
    _serve(blueprint, assets)

    def frame() -> dict[str, Any]:
        return {
            "asset": assets.url,
            "version": __version__,
            "text": text,
            "words": words,
            "path": request.path,
            "may_change": may_change(settings),
            "has_tokens": settings.api_token is not None or settings.read_token is not None,
            "is_signed_in": sessions.COOKIE in request.cookies,
        }

    def known(error: TestmeshError) -> Response:
        status = status_of(error)
        if status is None:
            return unforeseen(error)
        if status == 401:
            return page("login.html", 401, failed=False, detail=error.detail, next="/")
        return page("error.html", status, detail=error.detail)

    def from_http(error: HTTPException) -> Response:
        detail = error.description or "This cannot be done."
        return page("error.html", error.code or 500, detail=detail)

    def unforeseen(error: Exception) -> Response:
        current_app.logger.error("%s %s failed", request.method, request.path, exc_info=error)
        return page("error.html", 500, detail="This is an error of the node; its log has the details.")

    blueprint.context_processor(frame)
    blueprint.register_error_handler(TestmeshError, known)
    blueprint.register_error_handler(HTTPException, from_http)
    blueprint.register_error_handler(Exception, unforeseen)
    return blueprint


def page(template: str, status: int = 200, **values: Any) -> Response:
    return make_response(render_template(template, status=status, **values), status)


def add_pages(blueprint: Blueprint, node: NodeService, settings: Settings, clock: Clock) -> None:
    """Everything that is only looked at."""

    @blueprint.get("/")
    def home() -> Response:
        after = known_form(request.args["after"]) if request.args.get("after") else None
        return page("home.html", listed=listed(node, after), **form_values(settings))

    @blueprint.get("/dashboard/evaluation/<string:id>")
    def evaluation(id: str) -> Response:
        shown = document(node.evaluation(known_form(id)), clock.wall())
        sort = request.args.get("sort", "")
        model = evaluation_page(
            shown,
            clock.wall(),
            sort if sort in SORTS else SORTS[0],
            request.args.get("q", "")[:200],
            bool(request.args.get("failing")),
            request.args.get("page", 1, int),
        )
        return page("evaluation.html", evaluation=model, verdicts=words.VERDICTS, statuses=words.STATUSES)

    @blueprint.get("/dashboard/evaluation/<string:id>/module")
    def module(id: str) -> Response:
        project, path = request.args.get("project", ""), request.args.get("module", "")
        shown = document(node.evaluation(known_form(id)), clock.wall())
        if not project or path not in shown["module_results"].get(project, {}):  # else all tests would be read
            raise NotFoundError(_NO_MODULE)
        tests = [test for part in node.tests(id, project, path) for test in part.tests]
        model = module_page(shown, project, path, tests)
        if model is None:
            raise NotFoundError(_NO_MODULE)
        return page("module.html", module=model)

    @blueprint.get("/dashboard/evaluation/<string:id>/cohort")
    def cohort(id: str) -> Response:
        shown = document(node.evaluation(known_form(id)), clock.wall())
        kind = request.args.get("show", "")
        model = cohort_page(shown, node.tests_by_module(id), kind if kind in SHOWN else SHOWN[0])
        return page("cohort.html", cohort=model)

    @blueprint.get("/dashboard/nodes")
    def nodes() -> Response:
        return page("nodes.html", nodes=nodes_page(node.nodes(history=False)))

    @blueprint.get(sessions.LOGIN)
    def login() -> Response:
        target, failed = request.args.get("next", ""), bool(request.args.get("failed"))
        return page("login.html", 401 if failed else 200, failed=failed, detail="", next=target)

    @blueprint.get("/dashboard/<path:unknown>")
    def missing(unknown: str) -> Response:  # noqa: ARG001 - Flask gives it by name
        return page("error.html", 404, detail="There is no such page; the list of evaluations leads to all of them.")


def listed(node: NodeService, after: str | None = None) -> ListPage:
    """One page of the list."""
    return list_page(node.evaluations(PAGE + 1, after), PAGE, after)


def form_values(settings: Settings) -> dict[str, Any]:
    return {"max_upload": settings.max_upload, "max_timeout": f"{settings.module_timeout_max_s:g}"}


def _serve(blueprint: Blueprint, assets: Assets) -> None:
    @blueprint.get(f"{PREFIX}/<string:version>/<path:name>")
    def static(version: str, name: str) -> Response:
        asset = assets.by_name.get(name)
        if asset is None:
            raise NotFoundError("There is no such file.")
        answer = Response(asset.content, content_type=asset.kind)
        answer.set_etag(asset.etag)
        # Another version is asked for while nodes of two versions serve one mesh: that answer must not be kept.
        answer.headers["Cache-Control"] = _FOR_GOOD if version == assets.version else "no-cache"
        answer.make_conditional(request)
        return answer
