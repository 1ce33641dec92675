"""Node-to-node signatures: HMAC-SHA256 with the mesh secret, replays refused, no clock involved.

A request carries one header:

    Authorization: Mesh nonce=<48 hex>,seq=<decimal>,body=<sha256 hex of the body>,signature=<sha256 hex>

The signature covers the verifier's address, the nonce, the sequence number, the method, the path with its query and the
body's hash. A request that is unsigned, or signed with a nonce that the verifier does not know, is answered 401 with

    WWW-Authenticate: Mesh nonce="<48 hex>", node="<host:port>"

and the client signs again with that nonce, which from then on is its session: every request takes the next sequence
number. Why it is safe:

* A nonce is a serial number and its MAC under a key that the verifier drew when it started. Handing one out stores
  nothing, so requests without the secret cannot fill the memory; a nonce from before a restart is not known any more.
* A session (what was used of a nonce) is made by the first request that is signed with the secret. Each keeps a sliding
  window of the last WINDOW numbers, as IPsec does: requests may overtake each other, none is taken twice.
* Sessions are bounded. The one with the lowest serial is forgotten first, and no serial at or below it is ever taken
  again: what was recorded under a forgotten session cannot be replayed. Its client is challenged anew, which costs it
  one more round trip.
* The verifier's address is signed, so whoever listens at a dead peer's address cannot pass what it is sent to another.
* An answer is signed over the request's signature, its status and its body's hash: only a holder of the secret can have
  given it, and to that request alone.
"""

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, field
from threading import Lock

from testmesh.errors import UnauthorizedError

WINDOW = 4096  # how far a request may be overtaken; far more than the requests one peer has in flight
MAX_SESSIONS = 4096
ANSWER_HEADER = "X-Mesh-Signature"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_SERIAL_BYTES, _MAC_BYTES = 8, 16
_MAX_SEQUENCE = 2**63
_CREDENTIALS = re.compile(
    r"Mesh nonce=(?P<nonce>[0-9a-f]{48}),seq=(?P<seq>[1-9][0-9]{0,18}),"
    r"body=(?P<body>[0-9a-f]{64}),signature=(?P<signature>[0-9a-f]{64})"
)
_CHALLENGE = re.compile(r'Mesh nonce="(?P<nonce>[0-9a-f]{48})", node="(?P<node>[^"\\]{1,300})"')


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a valid signature says: the body must have this hash, which its reader has still to check."""

    body_sha256: str
    signature: str


class RequestVerifier:
    """The server's side. Safe from any thread.

    `node` is the address this node tells its peers; `boot_key` is fresh for every start of the node.
    """

    def __init__(self, secret: str, node: str, boot_key: bytes | None = None, max_sessions: int = MAX_SESSIONS) -> None:
        self._keys = _Keys(secret)
        self._node = node
        self._boot_key = boot_key or secrets.token_bytes(32)
        self._max_sessions = max_sessions
        self._lock = Lock()
        self._last_serial = 0
        self._floor = 0  # no serial at or below it is taken any more
        self._sessions: dict[int, _Window] = {}

    def challenge(self) -> str:
        """The value of `WWW-Authenticate`, with a nonce that was never given before."""
        with self._lock:
            self._last_serial += 1
            serial = self._last_serial
        return f'Mesh nonce="{self._nonce(serial)}", node="{self._node}"'

    def verify(self, authorization: str | None, method: str, path_query: str) -> SignedRequest:
        """Check the header `Authorization` of a request and mark its number as used.

        Raises:
            UnauthorizedError: unsigned, changed on the way, replayed, or of a session that is not known (any more).
        """
        match = _CREDENTIALS.fullmatch(authorization or "")
        if not match:
            raise UnauthorizedError("This path is for the nodes of the mesh; sign the request with the mesh secret.")
        nonce, sequence = match["nonce"], int(match["seq"])
        serial = int(nonce[: 2 * _SERIAL_BYTES], 16)
        if not hmac.compare_digest(nonce, self._nonce(serial)):
            raise UnauthorizedError("The nonce is not of this node's present run; sign again with the new one.")
        expected = self._keys.request(self._node, nonce, sequence, method, path_query, match["body"])
        if not hmac.compare_digest(expected, match["signature"]):
            raise UnauthorizedError("The signature is wrong; check that both nodes have the same MESH_SECRET.")
        if not self._take(serial, sequence):
            raise UnauthorizedError("This request was seen before, or is too old; sign again with the new nonce.")
        return SignedRequest(match["body"], match["signature"])

    def sign_answer(self, request: SignedRequest, status: int, body: bytes) -> str:
        """The value of `X-Mesh-Signature` for the answer to a request that was verified."""
        return self._keys.answer(request.signature, status, body)

    def _nonce(self, serial: int) -> str:
        number = serial.to_bytes(_SERIAL_BYTES, "big")
        return (number + hmac.digest(self._boot_key, number, "sha256")[:_MAC_BYTES]).hex()

    def _take(self, serial: int, sequence: int) -> bool:
        with self._lock:
            if serial <= self._floor or sequence >= _MAX_SEQUENCE:
                return False
            window = self._sessions.get(serial)
            if window is None:
                window = self._sessions[serial] = _Window()
                if len(self._sessions) > self._max_sessions:
                    self._floor = min(self._sessions)
                    del self._sessions[self._floor]
                    if serial == self._floor:
                        return False
            return window.take(sequence)


class RequestSigner:
    """The client's side, one for each peer. Safe from any thread.

    `peer` is the address that the peer tells others, or None where it is not known yet (a bootstrap address may be
    another name of the node): then the name in its challenge is believed.
    """

    def __init__(self, secret: str, peer: str | None = None) -> None:
        self._keys = _Keys(secret)
        self._peer = peer
        self._lock = Lock()
        self._session: _Session | None = None

    def headers_for(self, method: str, path_query: str, body_sha256: str = EMPTY_SHA256) -> dict[str, str] | None:
        """The headers that sign one sending of a request; None before the first challenge was learnt.

        `path_query` is exactly what goes into the request line. Every sending, a repeated one too, needs new headers.
        """
        with self._lock:
            session = self._session
            if session is None:
                return None
            session.sequence += 1
            sequence = session.sequence
        signature = self._keys.request(session.node, session.nonce, sequence, method, path_query, body_sha256)
        return {"Authorization": f"Mesh nonce={session.nonce},seq={sequence},body={body_sha256},signature={signature}"}

    def learn(self, challenge: str | None) -> bool:
        """Take the `WWW-Authenticate` of a 401 as the session from now on.

        False where it is no challenge of this peer; then sending again is of no use.
        """
        match = _CHALLENGE.fullmatch(challenge or "")
        if not match or (self._peer is not None and match["node"] != self._peer):
            return False
        with self._lock:
            if self._session is None or self._session.nonce != match["nonce"]:
                self._session = _Session(match["nonce"], match["node"])
        return True

    def verify_answer(self, headers: dict[str, str], status: int, body: bytes, signature: str | None) -> bool:
        """Whether an answer is a mesh node's answer to the request that was sent with these `headers`."""
        match = _CREDENTIALS.fullmatch(headers.get("Authorization", ""))
        if not match:
            return False
        return _same(self._keys.answer(match["signature"], status, body), signature or "")


@dataclass(slots=True)
class _Session:
    nonce: str
    node: str
    sequence: int = 0


@dataclass(slots=True)
class _Window:
    """The highest number taken, and which of the WINDOW numbers up to it were (bit 0 is the highest)."""

    top: int = 0
    taken: int = 0

    def take(self, number: int) -> bool:
        if number > self.top:
            step = number - self.top
            self.taken = 1 if step >= WINDOW else ((self.taken << step) | 1) & ((1 << WINDOW) - 1)
            self.top = number
            return True
        age = self.top - number
        if age >= WINDOW or self.taken >> age & 1:
            return False
        self.taken |= 1 << age
        return True


@dataclass(frozen=True, slots=True)
class _Keys:
    """A key for each use, so that a request's signature can never pass for an answer's."""

    secret: str = field(repr=False)

    def request(self, node: str, nonce: str, sequence: int, method: str, path_query: str, body_sha256: str) -> str:
        return self._mac("request", [node, nonce, sequence, method, path_query, body_sha256])

    def answer(self, request_signature: str, status: int, body: bytes) -> str:
        return self._mac("answer", [request_signature, status, hashlib.sha256(body).hexdigest()])

    def _mac(self, use: str, parts: list[str | int]) -> str:
        key = hmac.digest(self.secret.encode(), f"testmesh {use} 1".encode(), "sha256")
        return hmac.new(key, json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))
