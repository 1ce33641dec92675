"""What the pages' plain forms do, without any script: submit, run again, cancel."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from testmesh.app.auth import may_read
from testmesh.app.dashboard import text
from testmesh.app.dashboard.routes import form_values, listed, page
from testmesh.app.operations import known_form
from testmesh.app.problems import status_of
from testmesh.app.schemas import RequestModels
from testmesh.app.uploads import OVERHEAD, Doors, Form, check_length, received_form
from testmesh.errors import MalformedError, TestmeshError, UnauthorizedError, UnsupportedMediaError
from testmesh.node.service import NodeService
from testmesh.settings import Settings

_FIELDS = ("urls", "auth_token", "module_timeout_s", "services")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_KEPT = ("urls", "module_timeout_s", "services")  # in the form that is shown again; a token never is


def add_actions(
    blueprint: Blueprint, node: NodeService, settings: Settings, models: RequestModels, doors: Doors
) -> None:
    """`POST /dashboard/submit`, and below an evaluation's page `/rerun` and `/cancel`; each leads to a page."""

    @blueprint.post("/dashboard/submit")
    def submit() -> Response:
        kept: dict[str, str] = {}
        try:
            if request.mimetype != "multipart/form-data":
                raise UnsupportedMediaError("Send the form of the dashboard, or use POST /evaluation.")
            check_length(request, settings.max_upload + OVERHEAD)
            node.check_admission()
            with doors.enter(), received_form(request, node.incoming, settings.max_upload, _FIELDS) as form:
                kept = {name: form.fields.get(name, "") for name in _KEPT}
                evaluation_id = _take(node, models, form)
        except UnauthorizedError:
            raise
        except TestmeshError as error:
            status = status_of(error) or 500
            shown = listed(node) if may_read(settings) else None  # who may submit may not see what others did
            values: dict[str, Any] = {**form_values(settings), "kept": kept, "problem": error.detail}
            return page("home.html", status, listed=shown, **values)
        return _lead(text.evaluation_path(evaluation_id))

    @blueprint.post("/dashboard/evaluation/<string:id>/rerun")
    def rerun(id: str) -> Response:
        node.check_admission()
        project = request.form.get("project") or None
        return _lead(text.evaluation_path(node.rerun(known_form(id), project, None)))

    @blueprint.post("/dashboard/evaluation/<string:id>/cancel")
    def cancel(id: str) -> Response:
        node.cancel(known_form(id))
        return _lead(text.evaluation_path(id))


def _take(node: NodeService, models: RequestModels, form: Form) -> str:
    options = _options(form.fields)
    urls = form.fields.get("urls", "").split()
    if form.file is not None:
        if urls:
            raise MalformedError("Send a zip or addresses of repositories, not both at once.")
        read = models.read_options(json.dumps(options).encode())
        tests = form.tests
        digest = _digest(form.file.sha256, form.file.name, tests.sha256 if tests else "", repr(read))
        return node.submit_upload(
            form.file.path, form.file.name, tests.path if tests else None, read, secrets.token_urlsafe(), digest
        )
    if not urls:
        raise MalformedError("Choose a zip, or write the addresses of repositories, one a line.")
    if form.tests is not None:
        raise MalformedError("Staff tests go with a zip; for repositories there are none.")
    body: dict[str, Any] = {"projects": urls, "options": options}
    if token := form.fields.get("auth_token", "").strip():
        body["auth_token"] = token
    found, secret, read = models.read_submission(json.dumps(body).encode())
    return node.submit_repositories(found, secret, read, secrets.token_urlsafe(), _digest(*found, repr(read)))


def _options(fields: Mapping[str, str]) -> dict[str, Any]:
    """As the API takes them; what was left empty is left out."""
    options: dict[str, Any] = {}
    if timeout := fields.get("module_timeout_s", "").strip():
        if not _NUMBER.fullmatch(timeout):
            raise MalformedError("module_timeout_s: give a number of seconds.")
        options["module_timeout_s"] = float(timeout)
    if services := fields.get("services", "").strip():
        try:
            options["services"] = json.loads(services)
        except (ValueError, RecursionError):
            raise MalformedError('services: give a JSON list, as [{"command": "python3 server.py"}].') from None
    return options


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _lead(path: str) -> Response:
    """The answer to a form that was taken: the browser goes there by GET."""
    return Response(status=303, headers={"Location": path})
