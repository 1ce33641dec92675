"""gunicorn's threaded worker: slow clients cost it little, its refusals are problems, a stop lets the node drain.

A new connection, as an idle one, waits in the poller. Once its client has begun to send a request, a thread of the
request's lane (`lanes`) serves it, and waits for its client so long as `paced` says. Nginx in front adds its own
limits. An answer that goes on for hours leaves the thread: its connection is handed over to the `Streamer`.
"""

import contextlib
import ctypes
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from threading import Thread
from typing import Any

import gunicorn.http.wsgi  # type: ignore[import-untyped]
from gunicorn.http import errors as http_errors
from gunicorn.util import close_graceful, write_nonblock  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from testmesh.app.lanes import HEAD_BYTES, THREADS, Lane, lane_of
from testmesh.app.paced import GRACE_S, PacedSocket, PacedUnreader
from testmesh.app.problems import MEDIA_TYPE, problem_body
from testmesh.app.streaming import HandOver, Streamer

LINGER_S, LINGER_BYTES = 2.0, 16 * 1024 * 1024  # a client that is still sending gets so far to read its refusal

_PR_SET_PDEATHSIG = 1
_log = logging.getLogger("testmesh.server")

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Worker(ThreadWorker):  # type: ignore[misc]
    def init_process(self) -> None:
        _die_with_parent(self.ppid)
        gunicorn.http.wsgi.SERVER = "testmesh"
        self.streamer = Streamer()
        self.lanes = {name: Lane(name) for name in THREADS}
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the arbiter too, which then tells us

    def handle_exit(self, *_: Any) -> None:
        """SIGTERM: let the node drain while requests are answered, then stop. Once."""
        if not getattr(self, "_draining", False):
            self._draining = True
            Thread(target=self._drain, name="drain", daemon=True).start()

    def handle_quit(self, *_: Any) -> None:
        self.alive = False
        sys.exit(0)

    def _drain(self) -> None:
        try:
            self.app.node.drain(self.cfg.graceful_timeout * 0.6)
        except Exception:  # noqa: BLE001 - it stops all the same
            _log.exception("the node did not drain cleanly")
        self.cfg.set("graceful_timeout", max(1, int(self.cfg.graceful_timeout * 0.2)))  # the rest is the node's stop
        self.method_queue.defer(self._stop_listening)

    def _stop_listening(self) -> None:
        """In the thread of the poller. Closed at once, so that whoever connects now is refused and goes elsewhere."""
        self.alive = False
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()
        self.streamer.stop()  # only now, so that their readers come back to another node

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(min(deadline, time.monotonic() + 0.5))

    def accept(self, listener: socket.socket) -> None:
        """A connection waits in the poller, not in a thread, until its client has sent something."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        client = PacedSocket(fileno=client.detach())
        conn = _Connection(self.cfg, client, address, listener.getsockname())
        conn.timeout = time.monotonic() + GRACE_S
        self.nr_conns += 1
        self.pending_conns.append(conn)
        self.poller.register(client, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def enqueue_req(self, conn: "_Connection") -> None:
        lane = self.lanes[lane_of(conn.look())]
        conn.sock.patience = lane.patience
        future = lane.threads.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def handle(self, conn: "_Connection") -> Any:
        result = super().handle(conn)
        if result is False:
            conn.close(graceful=True)  # here, since its lingering must not hold up the loop that accepts
        return result

    def handle_request(self, req: Any, conn: "_Connection") -> bool:
        req.body.request = req
        conn.parser.unreader.head_is_read()
        try:
            return bool(super().handle_request(req, conn))
        except HandOver as answer:
            self.streamer.add(conn.give_away(), answer.head, answer.stream)
            return False
        except TimeoutError as error:
            raise http_errors.NoMoreData from error  # the client does not take its answer

    def _keepalive_after(self, conn: "_Connection", keepalive: bool) -> bool:
        return bool(super()._keepalive_after(conn, keepalive)) and not conn.stalled

    def handle_error(self, _req: Any, client: socket.socket, _addr: Any, exc: BaseException) -> None:
        """gunicorn's own refusals, as problems."""
        status, detail = _explain(exc)
        if status == 500:
            _log.error("a request failed outside of the application", exc_info=exc)
        body = problem_body(status, detail)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\nContent-Type: {MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            write_nonblock(client, head.encode() + body)


class _Connection(TConn):  # type: ignore[misc]
    sock: PacedSocket
    _closed = False

    def look(self) -> bytes:
        """How the next request begins, so far as it has come; in the thread of the poller."""
        if self.initialized and (read := self.parser.unreader.buf.getvalue()):
            return bytes(read[:HEAD_BYTES])
        with contextlib.suppress(OSError):
            return self.sock.without_blocking(lambda: self.sock.recv(HEAD_BYTES, socket.MSG_PEEK)) or b""
        return b""

    def init(self) -> None:
        """Called by every request of the connection, before it is read."""
        if not self.initialized:
            super().init()
            self.parser.unreader = PacedUnreader(self.sock)
        self.sock.begin()
        self.parser.unreader.begin()

    @property
    def stalled(self) -> bool:
        return bool(self.parser.unreader.stalled)

    def give_away(self) -> socket.socket:
        """The bare socket, which is another's from now on."""
        self._closed = True
        return socket.socket(fileno=self.sock.detach())

    def close(self, graceful: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        if self.sock.stalled:
            self.sock.cut_off()
        elif graceful:
            with self.sock.patience.waiting():
                close_graceful(self.sock, self.sock.patience.allowed(LINGER_S, 0), LINGER_BYTES)
        else:
            self.sock.close()


class _Input:
    """The body as WSGI gives it; what gunicorn finds wrong in its framing becomes an error of reading."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._body.read(size))
        except http_errors.ParseException as error:
            raise OSError("the body is not framed as it should be") from error


def close_after_refusal(app: WsgiApp) -> WsgiApp:
    """Tell a client whose long body was not read that the connection ends, instead of reading all of it for nothing."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        environ["wsgi.input"] = _Input(body)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            long = "HTTP_TRANSFER_ENCODING" in environ or len(environ.get("CONTENT_LENGTH") or "") > 5
            if status[0] in "45" and long:
                body.request.force_close()
            return start_response(status, headers, exc_info)

        return app(environ, start)

    return application


def _explain(error: BaseException) -> tuple[int, str]:
    for kinds, status, detail in _REFUSALS:
        if isinstance(error, kinds):
            return status, detail
    if isinstance(error, http_errors.ParseException):
        return 400, "This is not a valid HTTP/1.1 request; check the request line and the headers."
    return 500, "This is an error of the node, not of the request; its log has the details."


_REFUSALS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], int, str], ...] = (
    ((http_errors.InvalidResponseHeader, http_errors.ConfigurationProblem), 500, "The node's answer was not valid."),
    (http_errors.LimitRequestLine, 414, "The request line is over 8190 bytes; send a shorter path or query."),
    (http_errors.LimitRequestHeaders, 431, "The headers are too many or too large; send at most 64 of 8190 bytes."),
    (http_errors.ExpectationFailed, 417, "The only expectation that can be met is 100-continue."),
    (http_errors.UnsupportedTransferCoding, 501, "The only transfer coding that is understood is chunked."),
)


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the arbiter ends, where it can (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
