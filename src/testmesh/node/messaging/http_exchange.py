"""One HTTP exchange with another node, over connections that are kept open and used again.

By http.client itself: what requests or urllib3 add to it takes as long as all the rest of a call between nodes.
"""

import select
import socket
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse

from testmesh.errors import PeerError, PeerRefusedError

_NODES = 512  # that are spoken to; beyond, the connections to the one that was not spoken to for longest are closed
_KEPT = 64  # connections to one node; as many are open as calls were under way at once
_REFUSAL = 64 * 1024  # bytes of an answer that are read for nothing
_PIECE = 1 << 16


class Connections:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._idle: OrderedDict[str, list[HTTPConnection]] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def send(
        self, method: str, address: str, target: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> "Answer | None":
        """The answer, whatever its status, not yet read. None: the connection was closed meanwhile; send it again.

        A server that closed it has not processed the request, or it is one that may come twice. `timeout` is of each
        wait, in seconds.

        Raises:
            PeerRefusedError: nothing listens there. PeerError: no answer came.
        """
        with _peer_errors(address):
            connection = self._take(address) or HTTPConnection(address)
            try:
                connection.timeout = timeout
                if connection.sock is not None:
                    connection.sock.settimeout(timeout)
                connection.request(method, target, body or None, dict(headers))
                return Answer(self, address, connection, connection.getresponse())
            except (ConnectionResetError, BrokenPipeError):
                connection.close()
                self._drop(address)  # that node ended, or was restarted: the others are closed too
                return None
            except BaseException:
                connection.close()
                raise

    def keep(self, address: str, connection: HTTPConnection) -> None:
        """For the next call."""
        dropped = []
        with self._lock:
            idle = self._idle.setdefault(address, [])
            self._idle.move_to_end(address)
            if self._closed or len(idle) >= _KEPT:
                dropped.append(connection)
            else:
                idle.append(connection)
            if len(self._idle) > _NODES:
                dropped += self._idle.popitem(last=False)[1]
        for each in dropped:
            each.close()

    def _drop(self, address: str) -> None:
        with self._lock:
            idle = self._idle.pop(address, [])
        for connection in idle:
            connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle = [connection for of_one in self._idle.values() for connection in of_one]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _take(self, address: str) -> HTTPConnection | None:
        """The one that was used last, so that what is not needed any more grows old and is closed by the server."""
        while True:
            with self._lock:
                idle = self._idle.get(address)
                if not idle:
                    return None
                connection = idle.pop()
            if connection.sock is not None and not _has_ended(connection.sock):
                return connection
            connection.close()


class Answer:
    """To be closed; what was read to its end leaves its connection to others. Reading raises PeerError."""

    def __init__(
        self, connections: Connections, address: str, connection: HTTPConnection, response: HTTPResponse
    ) -> None:
        self._connections = connections
        self._address = address
        self._connection = connection
        self._response = response
        self._is_broken = False
        self.status = response.status

    def header(self, name: str) -> str | None:
        return self._response.headers.get(name)

    def read(self) -> bytes:
        with self._reading():
            return self._response.read()

    def pieces(self) -> Iterator[bytes]:
        while True:
            with self._reading():
                piece = self._response.read(_PIECE)
                if not piece and self._response.length:
                    raise HTTPException("it ended too soon")
            if not piece:
                return
            yield piece

    def read_refusal(self) -> None:
        """For nothing but the use of its connection. A long one is not worth it."""
        if self._response.length is not None and self._response.length <= _REFUSAL:
            self.read()

    def close(self) -> None:
        if self._response.isclosed() and not self._response.will_close and not self._is_broken:
            self._connections.keep(self._address, self._connection)
        else:
            self._connection.close()
            self._response.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What breaks off leaves a connection of which nobody knows where it is."""
        try:
            with _peer_errors(self._address):
                yield
        except BaseException:
            self._is_broken = True
            raise


@contextmanager
def _peer_errors(address: str) -> Iterator[None]:
    """What goes wrong on the way, as errors of the mesh."""
    try:
        yield
    except ConnectionRefusedError:
        raise PeerRefusedError(f"Nothing listens at {address}.") from None
    except TimeoutError:
        raise PeerError(f"{address} did not answer in time.") from None
    except (OSError, HTTPException, ValueError):  # ValueError: no address, or nothing that goes into a header
        raise PeerError(f"{address} could not be reached.") from None


def _has_ended(connection: socket.socket) -> bool:
    """Whether something is to be read where nothing was asked: its end, or what nobody understands."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
