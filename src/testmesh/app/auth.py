"""Who may do what: bearer tokens for people's requests, signatures for those of other nodes."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import TypeVar

from flask import Blueprint, Flask, Response, current_app, g, request

from testmesh.app import sessions
from testmesh.app.problems import problem
from testmesh.errors import MalformedError, TooLargeError, UnauthorizedError
from testmesh.settings import MIB, Settings
from testmesh.signing import ANSWER_HEADER, RequestVerifier, SignedRequest

INTERNAL = "internal"
MAX_INTERNAL_BODY = 64 * MIB  # of a message that is held in memory; archives are streamed and have bounds of their own

_STREAMS_BODY = "__mesh_streams_body__"
_CHUNK = 256 * 1024
View = TypeVar("View", bound=Callable[..., object])


# Tokens -------------------------------------------------------------------------------------


def require_tokens(app: Flask, settings: Settings) -> None:
    """Ask for MESH_API_TOKEN on whatever changes something; on reading evaluations for MESH_READ_TOKEN or the other.

    A browser may send the cookie of `sessions` instead. What changes something must then come from a page of this very
    address, and where no token is needed it must at least not come from a page of another.
    """

    def check() -> Response | None:
        if _is_internal() or request.method == "OPTIONS":
            return None
        if request.method not in ("GET", "HEAD"):
            _check_change(settings)
        elif request.path.split("/")[1] == "evaluation":
            if not may_read(settings):
                raise _missing("MESH_READ_TOKEN")
        elif sessions.is_guarded_page() and not may_read(settings):
            return sessions.to_login()
        return None

    app.before_request(check)


def may_read(settings: Settings) -> bool:
    """Whether this request may see evaluations."""
    accepted = (settings.read_token, settings.api_token)
    return settings.read_token is None or _has_bearer(accepted) or sessions.has_cookie(accepted)


def may_change(settings: Settings) -> bool:
    """Whether who sent this request may change something: what a page shows its buttons by."""
    accepted = (settings.api_token,)
    return settings.api_token is None or _has_bearer(accepted) or sessions.has_cookie(accepted)


def _check_change(settings: Settings) -> None:
    if _has_bearer((settings.api_token,)):
        return
    if sessions.is_from_elsewhere():
        raise UnauthorizedError("This was sent by a page of another address; open the dashboard of this one.")
    if request.path in (sessions.LOGIN, sessions.LOGOUT) or settings.api_token is None:
        return
    if not (sessions.has_cookie((settings.api_token,)) and sessions.is_from_here()):
        raise _missing("MESH_API_TOKEN")


def _has_bearer(accepted: tuple[str | None, ...]) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    good = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in accepted if token is not None]
    return scheme.lower() == "bearer" and any(good)


def _missing(name: str) -> UnauthorizedError:
    return UnauthorizedError(f"Send the token of this service ({name}) as 'Authorization: Bearer <token>'.")


# Signatures ---------------------------------------------------------------------------------


def internal_blueprint(verifier: RequestVerifier | None, max_body: int = MAX_INTERNAL_BODY) -> Blueprint:
    """A blueprint whose paths, and all paths that begin with the same first name, need a node's signature.

    Unsigned is 401 with a challenge, whatever the method and even where no route is. Without a verifier (the node has
    no MESH_SECRET) everything is 401. Every answer that is not streamed is signed in its turn.

    A view finds the whole body, its hash already checked, in `request.get_data()`; a view marked `streams_body` reads
    it by `signed_chunks()` instead.
    """
    blueprint = Blueprint(INTERNAL, __name__)

    def check() -> Response | None:
        if not _is_internal():
            return None
        if verifier is None:
            detail = "This node stands alone; set the same MESH_SECRET on all nodes to make a mesh."
            return problem(401, detail, {"WWW-Authenticate": "Mesh"})
        target = request.environ.get("RAW_URI") or request.full_path.rstrip("?")
        try:
            g.signed = verifier.verify(request.headers.get("Authorization"), request.method, target)
        except UnauthorizedError as error:
            return problem(401, error.detail, {"WWW-Authenticate": verifier.challenge()})
        if not getattr(current_app.view_functions.get(request.endpoint or ""), _STREAMS_BODY, False):
            _read_whole(g.signed, max_body)
        return None

    def sign(response: Response) -> Response:
        signed: SignedRequest | None = g.get("signed")
        if signed is not None and verifier is not None and not response.is_streamed:
            response.headers[ANSWER_HEADER] = verifier.sign_answer(signed, response.status_code, response.get_data())
        return response

    blueprint.before_app_request(check)
    blueprint.after_app_request(sign)
    return blueprint


def streams_body(view: View) -> View:
    """Mark a view of the internal blueprint that reads its body by `signed_chunks()`."""
    setattr(view, _STREAMS_BODY, True)
    return view


def signed_chunks(max_body: int) -> Iterator[bytes]:
    """The body of a signed request, piece by piece. Nothing of it may be used before the last piece has come.

    Raises:
        TooLargeError: it is over `max_body` bytes.
        MalformedError: it is not the body that was signed.
    """
    signed: SignedRequest = g.signed
    request.max_content_length = None
    if (request.content_length or 0) > max_body:
        raise TooLargeError(f"The body is over {max_body} bytes.")
    digest, size = hashlib.sha256(), 0
    while chunk := request.stream.read(_CHUNK):
        size += len(chunk)
        if size > max_body:
            raise TooLargeError(f"The body is over {max_body} bytes.")
        digest.update(chunk)
        yield chunk
    _compare(signed, digest.hexdigest())


def _read_whole(signed: SignedRequest, max_body: int) -> None:
    request.max_content_length = max_body
    _compare(signed, hashlib.sha256(request.get_data()).hexdigest())


def _compare(signed: SignedRequest, digest: str) -> None:
    if not hmac.compare_digest(signed.body_sha256, digest):
        raise MalformedError("The body is not the one that was signed; send the request again.")


def _is_internal() -> bool:
    """Whether the path begins with a name that the internal blueprint uses, whether or not there is a route for it."""
    names: frozenset[str] | None = current_app.extensions.get(INTERNAL)
    if names is None:  # at the first request: from then on Flask takes no more routes
        rules = current_app.url_map.iter_rules()
        found = (rule.rule.split("/")[1] for rule in rules if rule.endpoint.startswith(f"{INTERNAL}."))
        names = current_app.extensions[INTERNAL] = frozenset(found)
    return request.path.lstrip("/").partition("/")[0] in names
