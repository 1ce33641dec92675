"""Browsers: a cookie in the place of the bearer token, and nothing changed by the pages of other sites.

A browser cannot send `Authorization` with a page or an event stream. The cookie is made of the token by HMAC, so it is
good on every node with the same token, and void once the token is changed; the token itself is not in it.
"""

import hashlib
import hmac
from urllib.parse import urlencode

from flask import Flask, Response, request

from testmesh.errors import UnauthorizedError
from testmesh.settings import Settings

COOKIE = "testmesh"
LOGIN, LOGOUT = "/dashboard/login", "/dashboard/logout"
_PURPOSE = b"testmesh cookie 1"
_OPEN_PAGES = (["login"], ["logout"], ["static"], ["nodes"])


def cookie_of(token: str) -> str:
    """What the cookie of this token says."""
    return hmac.new(token.encode(), _PURPOSE, hashlib.sha256).hexdigest()


def has_cookie(accepted: tuple[str | None, ...]) -> bool:
    """Whether the request has the cookie of one of these tokens."""
    given = request.cookies.get(COOKIE, "").encode()
    good = [hmac.compare_digest(given, cookie_of(token).encode()) for token in accepted if token is not None]
    return any(good)


def is_from_here() -> bool:
    """Whether the browser says that a page of this very address sent the request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    return request.headers.get("Origin", "").partition("://")[2].lower() == request.host.lower()


def is_from_elsewhere() -> bool:
    """Whether a browser says that a page of another address sent the request; programs say nothing."""
    said = "Sec-Fetch-Site" in request.headers or "Origin" in request.headers
    return said and not is_from_here()


def is_guarded_page() -> bool:
    """Whether the path is of a page that shows evaluations."""
    _, first, *rest = request.path.split("/")
    return request.path == "/" or (first == "dashboard" and rest[:1] not in _OPEN_PAGES)


def to_login() -> Response:
    """Lead a browser to the form, and back here afterwards."""
    return _lead(f"{LOGIN}?{urlencode({'next': request.full_path.rstrip('?')})}")


def register_login(app: Flask, settings: Settings) -> None:
    """`POST /dashboard/login` with the form fields `token` and `next`, the page to go on to; `POST /dashboard/logout`.

    Both answer with 303. A wrong token leads a browser back to the form, with `failed=1`.
    """

    @app.route(LOGIN, methods=["POST"])
    def login() -> Response:
        tokens = [token for token in (settings.api_token, settings.read_token) if token is not None]
        given = request.form.get("token", "").strip().encode()
        good = [token for token in tokens if hmac.compare_digest(given, token.encode())]
        target = _local(request.form.get("next", ""))
        if tokens and not good:
            if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
                return _lead(f"{LOGIN}?{urlencode({'failed': '1', 'next': target})}")
            raise UnauthorizedError("This is not the token of this service; send MESH_API_TOKEN or MESH_READ_TOKEN.")
        answer = _lead(target)
        if good:
            _set(answer, cookie_of(good[0]))
        return answer

    @app.route(LOGOUT, methods=["POST"])
    def logout() -> Response:
        answer = _lead(LOGIN)
        _set(answer, "", max_age=0)
        return answer


def _set(answer: Response, value: str, max_age: int | None = None) -> None:
    """Until the browser is closed; where the connection is plain the cookie must do without Secure."""
    answer.set_cookie(COOKIE, value, max_age, httponly=True, samesite="Strict", secure=_is_secure())


def _is_secure() -> bool:
    """Whether the browser asks by https, be it of a proxy, which says so."""
    said = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return request.is_secure or said == "https"


def _local(path: str) -> str:
    """The page to go on to; no other site can be made of it."""
    is_ours = path.startswith("/dashboard/") and path.isprintable() and path.isascii() and "\\" not in path
    return path if is_ours else "/"


def _lead(path: str) -> Response:
    return Response(status=303, headers={"Location": path})
