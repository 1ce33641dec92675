"""Connections whose clients cannot hold a thread by being slow: neither in sending a request nor in taking the answer.

Only the time that is spent waiting for the client counts. All headers must come within HEAD_S. A body must come, and
an answer be taken, at MIN_RATE bytes a second on average beyond a grace of GRACE_S; where many threads of a lane wait
for their clients, its `Patience` allows less.
"""

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]

from testmesh.app.lanes import Patience

HEAD_S, GRACE_S = 5.0, 10.0
MIN_RATE = 1024
_LOOK_S = 0.25  # how soon a wait notices that its lane is crowded
T = TypeVar("T")


class PacedSocket(socket.socket):
    """Raises TimeoutError where the client does not take what is sent, and is `stalled` from then on."""

    patience: Patience  # of the lane that serves its request
    stalled = False
    _waited, _taken = 0.0, 0

    def begin(self) -> None:
        """An answer begins."""
        self._waited, self._taken = 0.0, 0

    def send(self, data: Any, flags: int = 0, /) -> int:
        return self._send(lambda: super(PacedSocket, self).send(data, flags), len(data))

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        left = memoryview(data)
        while left:
            left = left[self.send(left, flags) :]

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        start, end = offset, os.fstat(file.fileno()).st_size if count is None else offset + count
        while offset < end:
            sent = self._send(partial(os.sendfile, self.fileno(), file.fileno(), offset, end - offset))
            if not sent:
                raise ConnectionAbortedError("the file has become shorter while it was sent")
            offset += sent
        return offset - start

    def _send(self, some: Callable[[], int], pending: int = 0) -> int:
        """How many bytes went; those that went before the first wait only filled buffers."""
        sent = self.without_blocking(some)
        while sent is None:
            waited = self.wait(select.POLLOUT, GRACE_S + self._taken / MIN_RATE, self._waited, self._taken, pending)
            if waited is None:
                self.stalled = True
                raise TimeoutError("the client does not take its answer")
            self._waited += waited
            sent = self.without_blocking(some)
        if self._waited:
            self._taken += sent
        return sent

    def without_blocking(self, act: Callable[[], T]) -> T | None:
        """None where it would block."""
        before = self.gettimeout()
        self.settimeout(0)
        try:
            return act()
        except BlockingIOError:
            return None
        finally:
            self.settimeout(before)

    def wait(self, event: int, seconds: float, waited: float, moved: int, pending: int = 0) -> float | None:
        """How long it took; None where the client, waited for `waited` seconds before, has no more time."""
        poll = select.poll()
        poll.register(self, event)
        began = time.monotonic()
        with self.patience.waiting(pending):
            while True:
                passed = time.monotonic() - began
                left = self.patience.allowed(seconds, moved) - waited - passed
                if left <= 0:
                    return None
                if poll.poll(min(left, _LOOK_S) * 1000):
                    return time.monotonic() - began

    def cut_off(self) -> None:
        """Close at once; what the client has not taken is dropped, and the kernel does not keep it either."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class PacedUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads as long as the client keeps the pace. One that does not is as if it had gone, and `stalled`."""

    stalled = False
    sock: PacedSocket

    def begin(self) -> None:
        """A request begins."""
        self._waited, self._received, self._in_head = 0.0, 0, True

    def head_is_read(self) -> None:
        """A head is a packet or two: time for it does not grow with what has come, a body's does."""
        self._in_head = False

    def chunk(self, size_hint: int | None = None) -> bytes:
        most = self.sock.gettimeout()  # set where a body is only read to be dropped
        data = self.sock.without_blocking(lambda: self._chunk(size_hint))
        while data is None:
            seconds, received = (HEAD_S, 0) if self._in_head else (GRACE_S + self._received / MIN_RATE, self._received)
            if most is not None:
                seconds = min(seconds, self._waited + most)
            waited = self.sock.wait(select.POLLIN, seconds, self._waited, received)
            if waited is None:
                self.stalled = True
                return b""
            self._waited += waited
            data = self.sock.without_blocking(lambda: self._chunk(size_hint))
        self._received += len(data)
        return data

    def _chunk(self, size_hint: int | None) -> bytes:
        return bytes(super().chunk(size_hint))
