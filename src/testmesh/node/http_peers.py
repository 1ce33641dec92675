"""`PeerClient` over signed HTTP."""

import errno
import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import requests
from requests.adapters import HTTPAdapter

from testmesh.errors import PeerConflictError, PeerError, PeerFailedError, PeerRefusedError, PeerUnableError
from testmesh.node.codec import decode, encode
from testmesh.node.membership import Member
from testmesh.node.messages import (
    ArchivesAsked,
    ArchivesHeld,
    AttemptReports,
    FetchOrder,
    FetchProgress,
    Held,
    IndirectReply,
    Members,
    PingReply,
    Replicate,
    WorkOrder,
)
from testmesh.node.replica import Changes
from testmesh.node.wire import (
    ARCHIVES_ASKED,
    ARCHIVES_HELD,
    DIGESTS,
    FETCH_ORDER,
    FETCH_PROGRESS,
    HELD,
    INDIRECT_REPLY,
    MEMBERS,
    PAGE,
    PEER_LIST,
    PING_REPLY,
    REPLICATE,
    REPORTS,
    UPDATES,
    WORK_ORDER,
)
from testmesh.signing import ANSWER_HEADER, EMPTY_SHA256, RequestSigner

_CALL_TIMEOUT_S = 10.0
_ORDER_TIMEOUT_S = 5.0
_COMPARE_TIMEOUT_S = 3.0  # one thread compares with all peers: one that is silent must not hold up the others for long
_CHUNK = 1 << 16
_PARTIAL = 206
_REFUSALS = {409: PeerConflictError, 503: PeerUnableError, 507: PeerUnableError}


class HttpPeers:
    """Safe from any thread. Connections are kept open and shared; nothing is tried twice but a stale one."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._signers: dict[str, RequestSigner] = {}
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc between nodes
        self._session.mount("http://", HTTPAdapter(pool_connections=64, pool_maxsize=64))

    def ping(self, address: str, updates: tuple[Member, ...], timeout: float) -> PingReply:
        query = urlencode({"updates": encode(UPDATES, updates)})
        return decode(PING_REPLY, self._call("GET", address, f"/ping?{query}", timeout=timeout))

    def ping_through(self, helper: str, target: str, timeout: float) -> IndirectReply:
        query = urlencode({"target": target, "timeout": timeout / 2})
        return decode(INDIRECT_REPLY, self._call("GET", helper, f"/ping?{query}", timeout=timeout))

    def join(self, address: str, members: tuple[Member, ...]) -> tuple[Member, ...]:
        answer = self._call("POST", address, "/join", encode(MEMBERS, Members(members)), believe=True, timeout=3.0)
        return decode(MEMBERS, answer).members

    def introduce(self, address: str, updates: tuple[Member, ...]) -> None:
        self._call("POST", address, "/new_peer", encode(MEMBERS, Members(updates)), timeout=2.0)

    def replicate(self, address: str, message: Replicate, timeout: float) -> None:
        self._call("POST", address, "/evaluation_req", encode(REPLICATE, message), timeout=timeout)

    def run(self, address: str, order: WorkOrder) -> None:
        self._call("POST", address, "/run_tests", encode(WORK_ORDER, order), timeout=_ORDER_TIMEOUT_S)

    def report(self, address: str, reports: AttemptReports) -> None:
        self._call("POST", address, "/results", encode(REPORTS, reports))

    def held(self, address: str) -> Held:
        return decode(HELD, self._call("GET", address, "/load", timeout=_COMPARE_TIMEOUT_S))

    def digests(self, address: str) -> dict[str, int]:
        return decode(DIGESTS, self._call("GET", address, "/evaluation_req", timeout=_COMPARE_TIMEOUT_S)).digests

    def records(self, address: str, evaluation_id: str, timeout: float) -> Iterator[Changes]:
        start: int | None = 0
        while start is not None:
            path = f"/evaluation_req/{evaluation_id}?start={start}"
            page = decode(PAGE, self._call("GET", address, path, timeout=timeout))
            yield page.changes
            if page.following is not None and page.following <= start:
                raise PeerFailedError(f"The pages of evaluation {evaluation_id} from {address} come to no end.")
            start = page.following

    def peers_of(self, address: str, timeout: float) -> tuple[str, ...]:
        return decode(PEER_LIST, self._call("GET", address, "/stats_req", timeout=timeout)).peers

    def archive(self, address: str, digest: str, destination: Path) -> None:
        """Streamed to the file; the caller checks its content against the digest. No limit but that of each wait."""
        path = f"/archive/{digest}"
        have = destination.stat().st_size if destination.exists() else 0
        wanted = {"Range": f"bytes={have}-"} if have else {}
        with (
            self._exchange("GET", address, path, b"", _CALL_TIMEOUT_S, believe=False, more=wanted) as (answer, _),
            destination.open("ab" if answer.status_code == _PARTIAL else "wb") as file,
        ):
            for piece in answer.iter_content(_CHUNK):
                file.write(piece)

    def fetch_archives(self, address: str, order: FetchOrder) -> FetchProgress:
        return decode(FETCH_PROGRESS, self._call("POST", address, "/fetch_archives", encode(FETCH_ORDER, order)))

    def held_archives(self, address: str, asked: ArchivesAsked) -> ArchivesHeld:
        return decode(ARCHIVES_HELD, self._call("POST", address, "/held_archives", encode(ARCHIVES_ASKED, asked)))

    def close(self) -> None:
        self._session.close()

    # One exchange ----------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        address: str,
        path: str,
        body: bytes = b"",
        *,
        timeout: float = _CALL_TIMEOUT_S,
        believe: bool = False,
    ) -> bytes:
        """The answer's body, its signature checked."""
        with self._exchange(method, address, path, body, timeout, believe) as (answer, headers):
            content = answer.content
            signer = self._signer(address, believe)
            if not signer.verify_answer(headers, answer.status_code, content, answer.headers.get(ANSWER_HEADER)):
                raise PeerError(f"What answered at {address} is not a node of this mesh.")
            return content

    @contextmanager
    def _exchange(
        self,
        method: str,
        address: str,
        path: str,
        body: bytes,
        timeout: float,
        believe: bool,
        more: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[requests.Response, dict[str, str]]]:
        """A successful answer, not yet read, and the headers that asked for it; `more` are headers beside these."""
        signer = self._signer(address, believe)
        digest = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        with _peer_errors(address):
            answer = None
            for _ in range(3):  # a first challenge, a stale connection, the answer
                headers = signer.headers_for(method, path, digest)
                try:
                    answer = self._session.request(
                        method,
                        f"http://{address}{path}",
                        data=body or None,
                        headers={"Content-Type": "application/json"} | dict(more or {}) | (headers or {}),
                        timeout=timeout,
                        stream=True,
                        allow_redirects=False,
                    )
                except requests.ConnectionError as error:
                    if _was_stale(error):
                        continue
                    raise
                if answer.status_code == 401 and signer.learn(answer.headers.get("WWW-Authenticate")):
                    _ = answer.content  # so that the connection can be used again
                    continue
                break
            if answer is None:
                raise PeerError(f"{address} closed the connection without an answer.")
            with answer:
                if answer.status_code >= 300:
                    kind = _REFUSALS.get(answer.status_code, PeerFailedError)
                    raise kind(f"{address} answered {method} {path.partition('?')[0]} with {answer.status_code}.")
                yield answer, headers or {}

    def _signer(self, address: str, believe: bool) -> RequestSigner:
        """`believe`: the address may be another name of the node, so the name that it gives itself is taken."""
        key = f"{address} {believe}"
        with self._lock:
            signer = self._signers.get(key)
            if signer is None:
                signer = self._signers[key] = RequestSigner(self._secret, None if believe else address)
            return signer


@contextmanager
def _peer_errors(address: str) -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        if _errno(error) == errno.ECONNREFUSED:
            raise PeerRefusedError(f"Nothing listens at {address}.") from None
        kind = "did not answer in time" if isinstance(error, requests.Timeout) else "could not be reached"
        raise PeerError(f"{address} {kind}.") from None


def _errno(error: BaseException | None) -> int | None:
    """The operating system's error number at the bottom of what requests and urllib3 wrap."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException) and error.errno is not None:
            return error.errno
        inner = [argument for argument in error.args if isinstance(argument, BaseException)]
        reason = getattr(error, "reason", None)
        inner += [reason] if isinstance(reason, BaseException) else []
        error = error.__cause__ or error.__context__ or (inner[0] if inner else None)
    return None


def _was_stale(error: requests.ConnectionError) -> bool:
    """The server had closed a kept connection: the request was not processed, or is one that may come twice."""
    return _errno(error) in (errno.ECONNRESET, errno.EPIPE) or "RemoteDisconnected" in repr(error)
