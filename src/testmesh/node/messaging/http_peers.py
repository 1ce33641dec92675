"""`PeerClient` over signed HTTP."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from testmesh.errors import PeerConflictError, PeerError, PeerFailedError, PeerUnableError
from testmesh.node.membership.membership import Member
from testmesh.node.messaging.codec import decode, encode
from testmesh.node.messaging.http_exchange import Answer, Connections
from testmesh.node.messaging.messages import (
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
    Vitals,
    WorkOrder,
)
from testmesh.node.messaging.wire import (
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
    VITALS,
    WORK_ORDER,
)
from testmesh.node.storage.replica import Changes
from testmesh.signing import ANSWER_HEADER, EMPTY_SHA256, RequestSigner

_CALL_TIMEOUT_S = 10.0
_ORDER_TIMEOUT_S = 5.0
_COMPARE_TIMEOUT_S = 3.0  # one thread compares with all peers: one that is silent must not hold up the others for long
_PARTIAL = 206
_REFUSALS = {409: PeerConflictError, 503: PeerUnableError, 507: PeerUnableError}


class HttpPeers:
    """Safe from any thread. Connections are kept open and shared; nothing is tried twice but a stale one."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._signers: dict[str, RequestSigner] = {}
        self._lock = threading.Lock()
        self._connections = Connections()

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
            destination.open("ab" if answer.status == _PARTIAL else "wb") as file,
        ):
            for piece in answer.pieces():
                file.write(piece)

    def vitals(self, address: str, history: bool, timeout: float) -> Vitals:
        path = f"/vitals?history={int(history)}"
        found = decode(VITALS, self._call("GET", address, path, timeout=timeout))
        if found.address != address:
            raise PeerError(f"{found.address} answered for {address}.")
        return found

    def fetch_archives(self, address: str, order: FetchOrder) -> FetchProgress:
        return decode(FETCH_PROGRESS, self._call("POST", address, "/fetch_archives", encode(FETCH_ORDER, order)))

    def held_archives(self, address: str, asked: ArchivesAsked) -> ArchivesHeld:
        return decode(ARCHIVES_HELD, self._call("POST", address, "/held_archives", encode(ARCHIVES_ASKED, asked)))

    def close(self) -> None:
        self._connections.close()

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
            content = answer.read()
            signer = self._signer(address, believe)
            if not signer.verify_answer(headers, answer.status, content, answer.header(ANSWER_HEADER)):
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
    ) -> Iterator[tuple[Answer, dict[str, str]]]:
        """A successful answer, not yet read, and the headers that asked for it; `more` are headers beside these."""
        signer = self._signer(address, believe)
        digest = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        for _ in range(3):  # a first challenge, a stale connection, the answer
            headers = signer.headers_for(method, path, digest) or {}
            sent = {"Content-Type": "application/json"} | dict(more or {}) | headers
            answer = self._connections.send(method, address, path, body, sent, timeout)
            if answer is None:
                continue
            try:
                if answer.status < 300:
                    yield answer, headers
                    return
                answer.read_refusal()
                if answer.status != 401 or not signer.learn(answer.header("WWW-Authenticate")):
                    break
            finally:
                answer.close()
        if answer is None:
            raise PeerError(f"{address} closed the connection without an answer.")
        kind = _REFUSALS.get(answer.status, PeerFailedError)
        raise kind(f"{address} answered {method} {path.partition('?')[0]} with {answer.status}.")

    def _signer(self, address: str, believe: bool) -> RequestSigner:
        """`believe`: the address may be another name of the node, so the name that it gives itself is taken."""
        key = f"{address} {believe}"
        with self._lock:
            signer = self._signers.get(key)
            if signer is None:
                signer = self._signers[key] = RequestSigner(self._secret, None if believe else address)
            return signer
