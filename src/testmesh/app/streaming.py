"""Answers that go on for hours, without a thread each: one thread writes to all their connections.

A view answers with `StreamBody`. Our worker then hands the connection over to a `Streamer` instead of iterating; any
other WSGI server iterates.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from testmesh.node.service import EventStream

HEARTBEAT_S = 15.0
STALLED_S = 30.0  # a reader that takes nothing for so long is cut off
_HEARTBEAT = b":\n\n"  # a comment: it keeps proxies from closing, and shows who has gone
_LOOK_S = 1.0
_MOST_SENT_BY_READER = 64 * 1024  # it has nothing to say

_log = logging.getLogger("testmesh.server")
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class StreamBody:
    """The body of a streamed answer: `first`, then what the stream has."""

    def __init__(self, stream: EventStream, first: bytes) -> None:
        self.stream = stream
        self.first = first

    def __iter__(self) -> Iterator[bytes]:
        more = threading.Event()
        self.stream.listen(more.set)
        try:
            yield self.first
            while True:
                more.clear()
                pieces = self.stream.take()
                yield from pieces
                if not pieces and self.stream.has_ended:
                    return
                if not pieces and not more.wait(HEARTBEAT_S):
                    yield _HEARTBEAT
        finally:
            self.stream.close()


class HandOver(Exception):  # noqa: N818 - it is no error
    """Raised out of the application: the connection is to be given to a `Streamer`, with this head."""

    def __init__(self, head: bytes, stream: EventStream) -> None:
        super().__init__()
        self.head = head
        self.stream = stream


def hand_over_streams(app: WsgiApp) -> WsgiApp:
    """For our worker: raise `HandOver` where the answer is a stream."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [status, headers]
            return start_response(status, headers, exc_info)

        body = app(environ, start)
        if isinstance(body, StreamBody):
            raise HandOver(_head(*started) + body.first, body.stream)
        return body

    return application


def _head(status: str, headers: list[tuple[str, str]]) -> bytes:
    """The body ends with the connection, so it has neither a length nor chunks."""
    own = [("Server", "testmesh"), ("Connection", "close")]
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in [*own, *headers])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Streamer:
    """Safe from any thread. The thread starts with the first connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arriving: deque[_Connection] = deque()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._open: set[_Connection] = set()

    def add(self, connection: socket.socket, head: bytes, stream: EventStream) -> None:
        """Take over the connection: it is written to, and closed, here."""
        connection.setblocking(False)
        with self._lock:
            is_taken = not self._is_stopped and self._is_running()
            if is_taken:
                self._arriving.append(_Connection(connection, stream, head))
        if not is_taken:  # its reader comes back, and finds another node
            stream.close()
            connection.close()
            return
        stream.listen(self.wake)

    def _is_running(self) -> bool:
        """With the lock held: whether the thread runs, which is started if need be."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="streams", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError) as error:  # the machine has no more threads
                _log.warning("an event stream is closed: %s", error)
                return False
            self._thread = thread
        return True

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes already; closed: it was stopped
            self._ringer.send(b"x")

    def stop(self) -> None:
        """End all streams; their readers come back, to another node."""
        with self._lock:
            self._is_stopped = True
        self.wake()
        if self._thread is not None:
            self._thread.join()
        else:
            self._close()

    # In the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._selector.register(self._bell, selectors.EVENT_READ)
            while not self._is_stopped:
                ready = self._selector.select(_LOOK_S if self._open else None)
                self._serve(ready)
        except Exception:  # noqa: BLE001 - the readers come back, and find another node
            _log.exception("the event streams end")
        finally:
            with self._lock:
                self._is_stopped = True
                left = [*self._open, *self._arriving]
            for connection in left:
                connection.close()
            self._close()

    def _close(self) -> None:
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    def _serve(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        now = time.monotonic()
        for key, mask in ready:
            if key.fileobj is self._bell:
                with contextlib.suppress(BlockingIOError):
                    self._bell.recv(65536)
            elif mask & selectors.EVENT_READ and not key.data.is_there():
                self._end(key.data)
        while self._arriving:
            arrived = self._arriving.popleft()
            self._open.add(arrived)
            self._selector.register(arrived.socket, selectors.EVENT_READ, arrived)
        for connection in list(self._open):
            if not connection.write(now):
                self._end(connection)
            else:
                self._mind(connection)

    def _mind(self, connection: "_Connection") -> None:
        """Look for room to write only where something waits for it."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.is_waiting else 0)
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, connection)

    def _end(self, connection: "_Connection") -> None:
        if connection in self._open:
            self._open.discard(connection)
            self._selector.unregister(connection.socket)
            connection.close()


class _Connection:
    """One reader. What it has not taken waits in the stream, but for one piece."""

    def __init__(self, connection: socket.socket, stream: EventStream, head: bytes) -> None:
        self.socket = connection
        self._stream = stream
        self._out = memoryview(head)
        self._moved_at = time.monotonic()
        self._heard = 0

    @property
    def is_waiting(self) -> bool:
        return bool(self._out)

    def is_there(self) -> bool:
        """Called when there is something to read: the end, or what is of no use."""
        try:
            heard = len(self.socket.recv(4096))
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._heard += heard
        return heard > 0 and self._heard <= _MOST_SENT_BY_READER

    def write(self, now: float) -> bool:
        """As much as there is and as fits; False where the connection is to be closed."""
        try:
            while self._out or self._fill(now):
                self._out = self._out[self.socket.send(self._out) :]
                self._moved_at = now
        except BlockingIOError:
            return now - self._moved_at < STALLED_S
        except OSError:
            return False
        return not self._stream.has_ended

    def _fill(self, now: float) -> bool:
        pieces = self._stream.take()
        if not pieces and now - self._moved_at >= HEARTBEAT_S:
            pieces = [_HEARTBEAT]
        self._out = memoryview(b"".join(pieces))
        return bool(pieces)

    def close(self) -> None:
        self._stream.close()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.socket.close()
