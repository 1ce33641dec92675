"""One POST to a stranger, in bounded time and size, at an address that was checked.

The name is resolved once, every address of it is checked, and the connection goes to one of those: whoever answers
otherwise the next time he is asked (DNS rebinding) gains nothing. No redirect is followed and no proxy used.
Messages name the host only: path and query often are a password.
"""

import io
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Protocol

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from testmesh import __version__
from testmesh.clock import Clock
from testmesh.errors import MalformedError, SettingsError, TestmeshError
from testmesh.node.callbacks.addresses import is_allowed
from testmesh.node.callbacks.message import headers_of
from testmesh.node.callbacks.target import Target, parse_target
from testmesh.settings import KIB

TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 3.0
_ADDRESSES_TRIED = 4
_MAX_ANSWER = 64 * KIB
_PIECE = 64 * KIB


class CallbackError(TestmeshError):
    """It could not be told; a later try may do better."""


class NoKeyError(CallbackError):
    """This node cannot sign, so it cannot tell anybody anything."""


class Resolver(Protocol):
    def resolve(self, host: str, port: int) -> Sequence[str]:
        """All IP addresses of a name. Raises OSError or UnicodeError where it has none."""
        ...


class SystemResolver:
    def resolve(self, host: str, port: int) -> Sequence[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def trusted_certificates(bundle: str | None = None) -> ssl.SSLContext:
    """Certificates and names are checked. `bundle`: a file or folder of authorities besides the system's own.

    Raises:
        SettingsError: it cannot be read.
    """
    context = ssl.create_default_context()
    found = bundle or DEFAULT_CA_BUNDLE_PATH
    try:
        if Path(found).is_dir():
            context.load_verify_locations(capath=found)
        else:
            context.load_verify_locations(cafile=found)
    except OSError as error:
        raise SettingsError(f"REQUESTS_CA_BUNDLE={found!r} cannot be read: {error}") from None
    return context


class KeylessCourier:
    """Of a node that cannot sign: nothing is sent."""

    def deliver(self, url: str, evaluation_id: str, body: bytes) -> int:
        del url, evaluation_id, body
        raise NoKeyError("Set MESH_CALLBACK_SECRET, the same on every node, to have callbacks signed and sent.")


class HttpCourier:
    """Safe from any thread. What it sends is signed with `key`."""

    def __init__(
        self,
        key: str,
        clock: Clock,
        context: ssl.SSLContext,
        *,
        private: bool = False,
        resolver: Resolver | None = None,
    ) -> None:
        self._key = key
        self._clock = clock
        self._context = context
        self._private = private
        self._resolver = resolver or SystemResolver()

    def deliver(self, url: str, evaluation_id: str, body: bytes) -> int:
        """POST it, and give the status of the answer.

        Raises:
            CallbackError: there was none, or the URL may not be called.
        """
        end = self._clock.monotonic() + TIMEOUT_S
        try:
            target = parse_target(url, private=self._private)
        except MalformedError as error:
            raise CallbackError(error.detail) from None
        headers = headers_of(evaluation_id, body, self._key, self._clock.wall())
        try:
            with self._connect(target, end) as connection:
                return self._exchange(connection, target, headers, body, end)
        except TimeoutError:
            failure = f"{target.origin} did not answer in time."
        except ssl.SSLCertVerificationError as error:
            failure = f"The certificate of {target.origin} cannot be verified: {error.verify_message}."
        except (OSError, HTTPException) as error:
            failure = f"{target.origin} gave no answer ({type(error).__name__})."
        raise CallbackError(failure)  # out here, so that it has no context

    # Connecting ------------------------------------------------------------------------------

    def _connect(self, target: Target, end: float) -> socket.socket:
        connection = self._reach(target, self._addresses(target), end)
        if target.scheme == "http":
            return connection
        try:
            connection.settimeout(self._left(end))
            return self._context.wrap_socket(connection, server_hostname=target.host.rstrip("."))
        except BaseException:
            connection.close()
            raise

    def _addresses(self, target: Target) -> Sequence[str]:
        try:
            found = self._resolver.resolve(target.host, target.port)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise CallbackError(f"The name of {target.origin} is not known.")
        refused = [address for address in found if not is_allowed(address, private=self._private)]
        if refused:
            raise CallbackError(f"{target.origin} is at {refused[0]}, which is no address that may be called.")
        return found

    def _reach(self, target: Target, addresses: Sequence[str], end: float) -> socket.socket:
        """Raises OSError of the last that was tried."""
        failure: OSError = ConnectionError()
        for address in addresses[:_ADDRESSES_TRIED]:
            timeout = min(_CONNECT_TIMEOUT_S, self._left(end))
            try:
                return socket.create_connection((address, target.port), timeout=timeout)
            except OSError as error:
                failure = error
        raise failure

    # Asking and listening --------------------------------------------------------------------

    def _exchange(
        self, connection: socket.socket, target: Target, headers: Mapping[str, str], body: bytes, end: float
    ) -> int:
        told = {
            "Host": target.authority,
            "User-Agent": f"testmesh/{__version__}",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Content-Length": str(len(body)),
            **headers,
        }
        lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items()), "", ""]
        left = memoryview("\r\n".join(lines).encode("ascii") + body)
        while left:
            connection.settimeout(self._left(end))
            left = left[connection.send(left[:_PIECE]) :]
        with HTTPResponse(_Answer(connection, self, end), method="POST") as response:  # type: ignore[arg-type]
            response.begin()
            with suppress(OSError, HTTPException):  # the status has said it; this is so that nobody is hung up on
                while response.read(_PIECE):
                    pass
            return response.status

    def _left(self, end: float) -> float:
        left = end - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Answer(io.RawIOBase):
    """What comes on a connection, no more of it and no longer than it may: a socket's timeout begins anew each time."""

    def __init__(self, connection: socket.socket, courier: HttpCourier, end: float) -> None:
        super().__init__()
        self._connection = connection
        self._courier = courier
        self._end = end
        self._allowed = _MAX_ANSWER

    def makefile(self, _mode: str) -> io.BufferedReader:
        """As a socket has it."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._allowed:
            return 0
        self._connection.settimeout(self._courier._left(self._end))
        received = self._connection.recv_into(buffer, min(len(buffer), self._allowed))
        self._allowed -= received
        return received
