"""What goes in and out, as pydantic models: they check requests and make the OpenAPI document."""

import re
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, create_model

from testmesh.app.strict_json import strict_json
from testmesh.errors import MalformedError
from testmesh.model import EvaluationStatus, Options, ProjectStatus, Service, Verdict
from testmesh.node.callbacks.target import MAX_URL, parse_target
from testmesh.settings import Settings

INSTALL_TIMEOUT_MAX_S = 1800.0
MAX_PROJECTS = 1000
EXAMPLE_ID = "6f1c1a52-6c1f-4d57-9d0e-0a4f7d0c8f11"
EXAMPLE_URL = "https://github.com/owner/repo"
_PRINTABLE = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"
_TOKEN = r"^[!-~]+$"  # noqa: S105 - a pattern
# For readers of the document, who mostly give names; addresses are taken too, where they are public.
_CALLBACK = r"^https?://[A-Za-z0-9][A-Za-z0-9-]{0,40}(\.[A-Za-z][A-Za-z0-9-]{0,20}){1,3}(:[1-9][0-9]{0,3})?(/[!$-\[\]-~]{0,500})?$"

Model = TypeVar("Model", bound=BaseModel)


# Requests -----------------------------------------------------------------------------------


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class ReadyIn(_In):
    """Ready when `port` accepts a connection within `timeout_s`, or after `seconds` where no port is given."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    timeout_s: float = Field(default=15.0, gt=0, le=120)
    seconds: float = Field(default=0.0, ge=0, le=120)


class ServiceIn(_In):
    """A command that is started before a module's tests and stopped after them."""

    command: str = Field(max_length=1000, pattern=_PRINTABLE, examples=["python3 server.py"])
    ready: ReadyIn | None = None

    def record(self) -> Service:
        ready = self.ready or ReadyIn()
        return Service(self.command, ready.port, ready.timeout_s, ready.seconds)


class OptionsIn(_In):
    module_timeout_s: float | None = None
    install_timeout_s: float | None = None
    services: list[ServiceIn] | None = Field(
        default=None, max_length=8, description="wins over the project's pyproject.toml"
    )
    callback_url: Annotated[str, Field(max_length=MAX_URL, json_schema_extra={"pattern": _CALLBACK})] | None = Field(
        default=None,
        description="is told when the evaluation has ended, by a signed POST; http or https, at a public address",
        examples=["https://grades.example.org/testmesh"],
    )

    def record(self, settings: Settings) -> Options:
        """The options with the defaults filled in, which never are over the node's own maximum.

        Raises:
            MalformedError: callback_url is none that this node would call.
        """
        default = Options()
        module_s = self.module_timeout_s or min(default.module_timeout_s, settings.module_timeout_max_s)
        install_s = self.install_timeout_s or default.install_timeout_s
        services = None if self.services is None else tuple(service.record() for service in self.services)
        if self.callback_url is not None:
            parse_target(self.callback_url, private=settings.callback_private)
            if settings.callback_secret is None:
                raise MalformedError(
                    "callback_url: this mesh calls nobody, since its nodes have no MESH_CALLBACK_SECRET; "
                    "ask for the evaluation instead."
                )
        return Options(module_s, install_s, services, self.callback_url)


class SubmissionIn(_In):
    auth_token: Annotated[SecretStr, Field(min_length=1, max_length=255)] | None = Field(
        default=None, description="a GitHub token for private repositories", json_schema_extra={"pattern": _TOKEN}
    )
    projects: list[
        Annotated[str, Field(min_length=1, max_length=500, json_schema_extra={"format": "github-repository"})]
    ] = Field(min_length=1, max_length=MAX_PROJECTS, examples=[[EXAMPLE_URL]])
    options: OptionsIn | None = None


class RequestModels:
    """The models of the requests, with this node's own maxima in them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        seconds = Annotated[float, Field(gt=0, le=settings.module_timeout_max_s)]
        install = Annotated[float, Field(gt=0, le=INSTALL_TIMEOUT_MAX_S)]
        self.options: type[OptionsIn] = create_model(
            "Options",
            __base__=OptionsIn,
            module_timeout_s=(seconds | None, None),
            install_timeout_s=(install | None, None),
        )
        options: Any = self.options | None
        self.submission: type[SubmissionIn] = create_model("Submission", __base__=SubmissionIn, options=(options, None))

    def read_options(self, raw: bytes) -> Options:
        """The part `options` of an upload; nothing at all is the defaults.

        Raises:
            MalformedError.
        """
        value = strict_json(raw, "options") if raw.strip() else {}
        return _validated(self.options, value, "options").record(self._settings)

    def read_submission(self, raw: bytes) -> tuple[list[str], str | None, Options]:
        """URLs, token and options of a JSON body.

        Raises:
            MalformedError.
        """
        value = strict_json(raw, "the body")
        read = _validated(self.submission, value, "the body")
        token = read.auth_token.get_secret_value() if read.auth_token else None
        if token is not None and not re.fullmatch(_TOKEN, token):
            raise MalformedError("auth_token: a token has only printable ASCII characters and no spaces.")
        return read.projects, token, (read.options or self.options()).record(self._settings)


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoQuery(_Query):
    """This path takes no parameters."""


class ListQuery(_Query):
    limit: int = Field(default=100, ge=1, le=1000)
    after: str | None = Field(
        default=None, min_length=1, max_length=100, description="the id after which the list goes on"
    )


class TestsQuery(_Query):
    __test__ = False

    project: str | None = Field(default=None, min_length=1, max_length=1000)
    module: str | None = Field(default=None, min_length=1, max_length=1000)


class RerunQuery(_Query):
    project: str | None = Field(default=None, min_length=1, max_length=1000)


class KeyHeader(BaseModel):
    """For the document; the route reads the header itself."""

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        json_schema_extra={"pattern": "^[ -~]{1,255}$"},
        description="a repeated POST with the same key answers with the first one's id; with another body 409",
    )


class EvaluationPath(BaseModel):
    id: str = Field(json_schema_extra={"format": "uuid"}, examples=[EXAMPLE_ID])


# Answers ------------------------------------------------------------------------------------


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


Percent = Annotated[float, Field(ge=0, le=100)] | None
Nota = Annotated[float, Field(ge=0, le=20)] | None
Count = Annotated[int, Field(ge=0)]


class Problem(_Out):
    """RFC 9457: `detail` is a sentence that says what to do."""

    type: str
    title: str
    status: int
    detail: str


class Created(_Out):
    id: str


class Summary(_Out):
    id: str
    status: EvaluationStatus
    submitted_at: str
    projects: Count
    percent_passed: Percent = Field(alias="%passed")
    nota: Nota


class EvaluationList(_Out):
    evaluations: list[Summary]


class RunInfo(_Out):
    errors: Count
    percent_passed: Percent = Field(alias="%passed")
    percent_failed: Percent = Field(alias="%failed")
    nota: Nota
    eval_time: float | None
    eta: Annotated[float, Field(ge=0)] | None
    passed: Count
    failed: Count
    skipped: Count
    executed: Count
    running: Count
    pending: Count


class ProjectOut(_Out):
    percent_passed: Percent = Field(alias="%passed")
    percent_failed: Percent = Field(alias="%failed")
    nota: Nota
    status: ProjectStatus
    detail: str
    executed: Count
    running: Count
    pending: Count


class ModuleOut(_Out):
    percent_passed: Percent = Field(alias="%passed")
    percent_failed: Percent = Field(alias="%failed")
    passed: Count
    failed: Count
    errors: Count
    skipped: Count
    verdict: Verdict
    detail: str
    time: float
    cpu_time: float
    started_at: str | None
    node: str
    attempts: Count
    python: str


class EvaluationOut(_Out):
    id: str
    status: EvaluationStatus
    submitted_at: str
    finished_at: str | None
    owner: str
    run_info: RunInfo = Field(alias="_run_info")
    projects: dict[str, ProjectOut]
    module_results: dict[str, dict[str, ModuleOut]]


class TestOut(_Out):
    __test__ = False

    project: str
    module: str
    name: str
    outcome: Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]
    time: float
    longrepr: str
    stdout: str
    stderr: str


class TestList(_Out):
    __test__ = False

    tests: list[TestOut]


class AllTotals(_Out):
    failed: Count
    passed: Count
    projects: Count
    evaluations: Count


class NodeTotalsOut(_Out):
    address: str
    failed: Count
    passed: Count
    projects: Count
    modules: Count
    evaluations: list[str]


class Stats(_Out):
    all: AllTotals
    nodes: list[NodeTotalsOut]


class Health(BaseModel):
    status: str
    address: str


# Checking -----------------------------------------------------------------------------------


def refuse_query(error: ValidationError) -> NoReturn:
    """What flask-openapi calls when a query does not fit its model."""
    raise MalformedError(_explain(error, "the query")) from None


def _validated(model: type[Model], value: Any, what: str) -> Model:
    if not isinstance(value, dict):
        raise MalformedError(f"{_sentence(what)} must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise MalformedError(_explain(error, what)) from None


def _explain(error: ValidationError, what: str) -> str:
    """A sentence that names the first field that is wrong, without repeating what was sent."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])[:100]
    if first["type"] == "extra_forbidden":
        return f"{_sentence(what)} has {field!r}, which is not known here; leave it out or check its spelling."
    return f"{field}: {first['msg']}."


def _sentence(what: str) -> str:
    return what[0].upper() + what[1:]
