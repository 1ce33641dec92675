"""GETs from one API that end in bounded time and bounded size, and tell the token to that API alone.

Redirects are followed by hand: the token is dropped at the first that leaves the API's own scheme, host and port.
Nothing of what the other side sends, and nothing of `requests`' own errors (which hold the request, and so the token),
gets into a message or an exception chain: every failure is a sentence written here.
"""

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from testmesh.clock import Clock
from testmesh.errors import SourceError

_CONNECT_TIMEOUT_S = 10.0
_SILENCE_S = 30.0  # a server that says nothing for so long has gone away
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_PAUSES_S = (0.5, 1.5)  # before the second and the third try
_CHUNK = 256 * 1024

Result = TypeVar("Result")

# The first kind that fits; `requests` derives the narrower from ConnectionError.
_TRANSIENT: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (requests.exceptions.ProxyError, "The proxy to GitHub does not answer; check HTTPS_PROXY on the node."),
    (requests.exceptions.SSLError, "GitHub's certificate cannot be verified; check the node's REQUESTS_CA_BUNDLE."),
    (requests.Timeout, "GitHub does not answer in time; try again later, or upload a zip."),
    (requests.ConnectionError, "GitHub cannot be reached; check the node's network and MESH_GITHUB_API."),
    ((HTTPError, OSError), "The connection to GitHub broke; try again later, or upload a zip."),
)


class TransientError(SourceError):
    """May well succeed when tried again: a lost connection, a server's 5xx."""


class BoundedSession:
    """One conversation with the API at `base`. A context manager; for one thread.

    `timeout_s` bounds all of it together, however slowly the other side answers. `sleep` is called between tries.
    """

    def __init__(self, base: str, token: str | None, clock: Clock, timeout_s: float, sleep: Callable[[float], None]):
        self._base = base
        self._origin = _origin(urlsplit(base))
        self._token = token
        self._clock = clock
        self._timeout_s = timeout_s
        self._end = clock.monotonic() + timeout_s
        self._sleep = sleep
        self._watch = _Watch(timeout_s)
        self._http = _Session()
        self._http.auth = _NoAuth()
        # A proxy and a CA bundle of the environment are used; an API on this machine is never asked through a proxy.
        self._http.trust_env = not _is_loopback(urlsplit(base))
        self._http.mount("https://", _WatchedAdapter(self._watch))
        self._http.mount("http://", _WatchedAdapter(self._watch))

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.close()
        self._watch.stop()

    def persistently(self, operation: Callable[[], Result]) -> Result:
        """Do `operation`, and again (three times in all) where it fails for a reason that may pass."""
        for pause in _PAUSES_S:
            try:
                return operation()
            except TransientError:
                if self._remaining() <= pause:
                    raise
            self._sleep(pause)
        return operation()

    def get(self, path: str, accept: str) -> requests.Response:
        """The answer, whatever its status, after redirects; its body is not read yet.

        Raises:
            SourceError: no answer, or a redirect that is not followed; a TransientError where a try may help.
        """
        url = self._base + path
        with_token = True
        for _ in range(_MAX_REDIRECTS + 1):
            with_token = with_token and _origin(urlsplit(url)) == self._origin
            response = self._send(url, accept, with_token)
            if response.status_code not in _REDIRECTS:
                return response
            location = response.headers.get("Location", "")
            response.close()
            url = self._redirected(url, location)
        raise SourceError(f"GitHub redirected more than {_MAX_REDIRECTS} times; check the URL and MESH_GITHUB_API.")

    def body(self, response: requests.Response, limit: int) -> Iterator[bytes]:
        """The body as it was sent, in pieces, and no more than `limit` bytes of it.

        Raises:
            SourceError: larger, slower than the time left, or cut short.
        """
        too_large = SourceError(f"The repository is larger than the {limit} bytes taken here; make it smaller.")
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared[:20]) > limit:
            raise too_large
        received = 0
        while data := self._read(response):
            received += len(data)
            if received > limit:
                raise too_large
            yield data

    def _send(self, url: str, accept: str, with_token: bool) -> requests.Response:
        headers = {
            "Accept": accept,
            "Accept-Encoding": "identity",
            "User-Agent": "testmesh",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        if with_token and self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self._check_time()
        timeout = (min(_CONNECT_TIMEOUT_S, self._remaining()), min(_SILENCE_S, self._remaining()))
        try:
            response = self._http.get(url, headers=headers, stream=True, allow_redirects=False, timeout=timeout)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            failure = self._explained(error)
        else:
            self._check_time()  # headers that the watch has cut look like all there are
            return response
        raise failure  # out here, so that it has no context: that would hold the request

    def _read(self, response: requests.Response) -> bytes:
        self._check_time()
        try:
            # read1 gives what has come; read would wait for a whole piece, for ever if it comes a byte at a time
            data: bytes | None = response.raw.read1(_CHUNK, decode_content=False)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            failure = self._explained(error)
        else:
            self._check_time()  # and so may a body
            return data or b""
        raise failure

    def _redirected(self, url: str, location: str) -> str:
        odd = SourceError("GitHub redirected to an address that is not followed; check the URL and MESH_GITHUB_API.")
        try:
            target = urlsplit(urljoin(url, location))
            origin = _origin(target)
        except ValueError:
            origin = None
        if origin is None or not location or "@" in target.netloc:
            raise odd
        local_test = _is_loopback(urlsplit(self._base)) and self._origin[0] == "http"
        if origin == self._origin or target.scheme == "https":
            return target.geturl()
        if local_test and target.scheme == "http" and _is_loopback(target):
            return target.geturl()
        raise odd

    def _remaining(self) -> float:
        return self._end - self._clock.monotonic()

    def _check_time(self) -> None:
        if late := self._lateness():
            raise late

    def _lateness(self) -> SourceError | None:
        if not self._watch.expired and self._remaining() > 0:
            return None
        return SourceError(
            f"GitHub took longer than the {self._timeout_s:g} s it may; try again later, or upload a zip."
        )

    def _explained(self, error: Exception) -> SourceError:
        if late := self._lateness():
            return late
        for kind, sentence in _TRANSIENT:
            if isinstance(error, kind):
                return TransientError(sentence)
        return SourceError("GitHub cannot be asked for this; check the URL, the token and MESH_GITHUB_API.")


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - its signature
        """None: redirects are followed by hand. Else `requests` prepares the next one, reading the whole body first."""
        return None


class _NoAuth(AuthBase):
    """Adds nothing. That it is there keeps `requests` from looking for a password in the node's ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Watch:
    """Cuts every connection when the time is over.

    A socket's timeout begins anew with every byte, so a server that drips its headers would be listened to for hours.
    """

    def __init__(self, timeout_s: float) -> None:
        self.expired = False
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._timer = threading.Timer(timeout_s, self._cut)
        self._timer.daemon = True

    def start(self) -> None:
        self._timer.start()

    def stop(self) -> None:
        self._timer.cancel()
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()

    def keep(self, connection: HTTPConnection) -> None:
        sock = connection.sock
        if sock is None:
            return
        # A handle of its own: a response takes the connection's socket with it, and TLS wraps it.
        handle = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._lock:
            self._handles.append(handle)
            if self.expired:
                _shut(handle)

    def _cut(self) -> None:
        with self._lock:
            self.expired = True
            for handle in self._handles:
                _shut(handle)


class _WatchedAdapter(HTTPAdapter):
    def __init__(self, watch: _Watch) -> None:
        class WatchedHTTPConnection(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                watch.keep(self)

        class WatchedHTTPSConnection(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                watch.keep(self)

        self._connections = {"http": WatchedHTTPConnection, "https": WatchedHTTPSConnection}
        # No retries down here: urllib3 logs the URL of each, and a redirect's holds a key to the private repository.
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = self._connections[pool.scheme]
        return pool


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was quicker
        handle.shutdown(socket.SHUT_RDWR)


def _origin(url: SplitResult) -> tuple[str, str, int | None]:
    default = {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, (url.hostname or "").lower(), url.port or default


def _is_loopback(url: SplitResult) -> bool:
    host = url.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
