"""A launcher: one small process that stays, and starts boxes (see launcher.py, and warm_process.py for warm ones)."""

import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from testmesh.errors import InfrastructureError

_END_S = 5.0
_SEND_S = 5.0

# Without site and its folders an interpreter starts in a third of the time; as a module the launcher is compiled once.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from testmesh.testing.launcher import main; sys.exit(main())"
_COMMAND = (sys.executable, "-I", "-S", "-c", _START, str(Path(__file__).parents[2]))
_ENVIRON = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}  # nothing of the node's


class LauncherProcess:
    """Safe from any thread. Started with the first run, and again should it have died; runs outlive it."""

    def __init__(self, command: Sequence[str] = _COMMAND, environ: Mapping[str, str] = _ENVIRON) -> None:
        self._command, self._environ = tuple(command), dict(environ)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """None before the first run."""
        process = self._process
        return None if process is None else process.pid

    def start_run(self, descriptors: Sequence[int]) -> None:
        """Have a process made that goes on with these descriptors (see launcher.py); they stay open here.

        Raises:
            InfrastructureError: it cannot be had, or the node stops.
        """
        with self._lock:
            if self._is_closed:
                raise InfrastructureError("this node is stopping; the work goes to another one")
            for is_last in (False, True):
                try:
                    socket.send_fds(self._socket or self._start(), [b"x"], descriptors)
                except OSError as error:
                    self._end()
                    if is_last:
                        raise InfrastructureError(f"a run cannot be started on this node: {error}") from error
                else:
                    return

    def wait_ready(self, timeout_s: float) -> bool:
        """Start it, unless it was, and wait for the byte by which a warm one says that it can serve."""
        try:
            with self._lock:
                if self._is_closed:
                    return False
                connection = (self._socket or self._start()).dup()
            with connection:
                connection.settimeout(timeout_s)
                return connection.recv(1) != b""
        except OSError:
            return False

    def replace(self) -> None:
        """Start another one with the next run: this one does not answer."""
        with self._lock:
            self._end()

    def close(self) -> None:
        """End it, and start none any more. Runs that go on end with the node."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environ,
                    cwd="/",
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        ours.settimeout(_SEND_S)
        self._socket = ours
        return ours

    def _end(self) -> None:
        process, self._process = self._process, None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if process is None:
            return
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
