"""gunicorn with one worker process, in which the node lives beside its HTTP front.

The arbiter binds the socket, forks the worker once and waits for it. The node is built and started in the worker, since
threads and database connections do not survive a fork. A worker that ends, for whatever reason, takes the arbiter with
it and gives it its exit status: a node that cannot start ends with one line instead of starting for ever, and whether a
node that died is started again is left to what started it (Docker, boot.sh, systemd). The kernel kills the worker when
the arbiter is killed. So a node never runs twice.

SIGTERM or SIGINT: the node drains while HTTP is still served, then the server stops accepting, answers what it has
begun, and the node is stopped. SIGQUIT, or a second SIGINT, skips the waiting.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.errors import HaltServer  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from testmesh.app.lanes import THREADS
from testmesh.app.streaming import hand_over_streams
from testmesh.app.worker import Worker, WsgiApp, close_after_refusal
from testmesh.errors import TestmeshError
from testmesh.settings import Settings

MAX_CONNECTIONS = 1024
KEEP_ALIVE_S = 75

EXIT_NOT_STARTED = 3
_log = logging.getLogger("testmesh.server")


class Lifecycle(Protocol):
    """What the server needs of a node."""

    def start(self) -> None:
        """Start its threads and return; called in the worker before the first request is taken."""
        ...

    def drain(self, timeout_s: float) -> None:
        """Take no new work and hand over what there is, while requests are still answered."""
        ...

    def stop(self) -> None:
        """End every thread and process of the node; nothing is served any more."""
        ...


def serve(
    settings: Settings,
    build: Callable[[], tuple[Lifecycle, WsgiApp]],
    *,
    listener: socket.socket | None = None,
    graceful_timeout_s: float = 30.0,
) -> int:
    """Run a node until it is told to stop; gives the exit status. Called once, from the main thread of a process.

    `build` makes the node and its WSGI application; it is called in the worker. `listener` is a bound socket to use
    instead of one of `settings.host` and `settings.port`.
    """
    arbiter_pid = os.getpid()
    try:
        bound = listener or _bind(settings)
    except OSError as error:
        where = f"MESH_HOST={settings.host}, MESH_PORT={settings.port}"
        _log.error("cannot listen there (%s): %s", where, error.strerror or error)
        return EXIT_NOT_STARTED
    application = _Application(bound, build, graceful_timeout_s)
    try:
        _Arbiter(application).run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if os.getpid() != arbiter_pid:
            _leave_worker(application, status)
        return status
    return 0


def _bind(settings: Settings) -> socket.socket:
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, settings.port), family=family, backlog=2048)


def _leave_worker(application: "_Application", status: int) -> None:
    """End the worker here: neither the caller's code nor a thread that hangs in a request may go on in it."""
    try:
        if application.node is not None:
            application.node.stop()
    except Exception:  # noqa: BLE001 - it ends all the same
        _log.exception("the node did not stop cleanly")
        status = status or 1
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Application(BaseApplication):  # type: ignore[misc]
    def __init__(
        self, listener: socket.socket, build: Callable[[], tuple[Lifecycle, WsgiApp]], graceful_timeout_s: float
    ) -> None:
        self.node: Lifecycle | None = None
        self._descriptor = listener.detach()  # gunicorn closes it after making its own of it
        self._build = build
        self._graceful_timeout_s = graceful_timeout_s
        super().__init__()

    def load_config(self) -> None:
        chosen = {
            "bind": f"fd://{self._descriptor}",
            "workers": 1,
            "worker_class": Worker,
            "threads": sum(THREADS.values()),
            "worker_connections": MAX_CONNECTIONS,
            "keepalive": KEEP_ALIVE_S,
            "timeout": 0,  # a worker on a host that stands still is not a dead one; peers notice dead ones
            "graceful_timeout": int(self._graceful_timeout_s),
            "limit_request_line": 8190,
            "limit_request_fields": 64,
            "limit_request_field_size": 8190,
            "control_socket_disable": True,
            "forwarded_allow_ips": "",  # nothing here depends on what a proxy says of the client
            "logger_class": _ServerLog,
            "default_proc_name": "testmesh",
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> WsgiApp:
        """In the worker. A node that cannot start ends the process with one line."""
        try:
            self.node, app = self._build()
            self.node.start()
        except TestmeshError as error:
            _log.error("the node cannot start: %s", error.detail)
            sys.exit(EXIT_NOT_STARTED)
        except OSError as error:
            why = f"{error.strerror or error} ({error.filename})" if error.filename else error
            _log.error("the node cannot start: %s; check MESH_DATA_DIR", why)
            sys.exit(EXIT_NOT_STARTED)
        except Exception:  # noqa: BLE001 - whatever it is, it ends here
            _log.exception("the node cannot start")
            sys.exit(EXIT_NOT_STARTED)
        return hand_over_streams(close_after_refusal(app))


class _Arbiter(Arbiter):  # type: ignore[misc]
    """Forks one worker once and ends with it."""

    def __init__(self, application: _Application) -> None:
        self._exit_status = 0
        super().__init__(application)

    def manage_workers(self) -> None:
        if self.worker_age == 0:
            self.spawn_worker()
        elif not self.WORKERS:
            raise HaltServer(None, self._exit_status)

    def reap_workers(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)  # as process 1 of a container it inherits orphans too
                if pid == 0:
                    return
                worker = self.WORKERS.pop(pid, None)
                if worker is not None:
                    worker.tmp.close()
                    code = os.waitstatus_to_exitcode(status)
                    self._exit_status = 128 - code if code < 0 else code
                    if code < 0:
                        _log.error("the node was killed by %s", signal.Signals(-code).name)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:  # noqa: ARG002 - it was logged
        self.stop()
        sys.exit(exit_status or self._exit_status)

    def handle_int(self) -> None:
        raise StopIteration

    def _ignore(self) -> None:
        """One worker, as it was configured: signals that reload or multiply it have no use."""

    handle_hup = handle_ttin = handle_ttou = handle_usr2 = handle_winch = _ignore


class _ServerLog(Logger):  # type: ignore[misc]
    """gunicorn's log goes the way of all others; what it tells of itself in good times is for debugging."""

    def setup(self, _cfg: Any) -> None:
        self.loglevel = logging.DEBUG
        self.error_log = logging.getLogger("testmesh.server.gunicorn")

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def access(self, *_: Any) -> None:
        """No access log: Nginx has one, and peers speak to each other all the time."""

    def reopen_files(self) -> None:
        """There are none of its own."""

    close_on_exec = reopen_files
