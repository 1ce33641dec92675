"""The one seam through which an installer's commands run: a process group with a time limit and bounded output."""

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from testmesh.errors import InfrastructureError
from testmesh.testing.cancellation import Cancellation

_HEAD, _TAIL = 32 * 1024, 96 * 1024  # bytes kept of the output's beginning and end
_LOOK_S = 0.1  # how often the end of a silent process is looked for
_UMASK = 0o022  # tests run as another user than the node may: what is installed is readable whatever the node's umask


@dataclass(frozen=True, slots=True)
class Completed:
    """`returncode` is negative where a signal ended it; `output` is stdout and stderr, its middle cut when long."""

    returncode: int
    output: str
    timed_out: bool = False


class RunCommand(Protocol):
    def __call__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        *,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        foreign: bool = False,
        cancellation: Cancellation | None = None,
    ) -> Completed:
        """Run to the end, or for `timeout` seconds; nothing that it started is left running.

        `foreign`: it runs code that others wrote, so it is boxed where this machine can: with network, seeing /usr,
        `readable` and `writable` (files and folders, at their own paths) and changing only what is in `writable`,
        which belongs to the node again when this returns.

        A foreign command that what it may write keeps from starting has ended with status 127.

        Raises:
            InfrastructureError: it cannot be started, or the node stops.
            EnvironmentFailedError: what a foreign one left cannot be taken over.
            concurrent.futures.CancelledError: it was ended because of `cancellation`.
        """
        ...


class CommandRunner:
    """Runs commands on this machine as they are, foreign or not. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    def __call__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        *,
        writable: Sequence[Path] = (),  # noqa: ARG002 - for whom boxes it
        readable: Sequence[Path] = (),  # noqa: ARG002
        foreign: bool = False,  # noqa: ARG002
        cancellation: Cancellation | None = None,
    ) -> Completed:
        cancellation = cancellation or Cancellation()
        if cancellation.is_set:
            raise CancelledError
        deadline = time.monotonic() + timeout
        process = self._start(argv, env, cwd)
        try:
            with cancellation.telling(lambda: _kill_group(process)):
                output, timed_out = _collect(process, deadline)
        finally:
            _kill_group(process)
            returncode = process.wait()
            if process.stdout:
                process.stdout.close()
            with self._lock:
                self._running.discard(process)
                was_closed = self._is_closed
        if cancellation.is_set:
            raise CancelledError
        if was_closed and returncode < 0:
            raise InfrastructureError("this node is stopping; the work goes to another one")
        return Completed(returncode, output, timed_out)

    def close(self) -> None:
        """End what runs, and start nothing more: the node stops."""
        with self._lock:
            self._is_closed = True
            for process in self._running:
                if process.poll() is None:
                    _kill_group(process)

    def _start(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_closed:
                raise InfrastructureError("this node is stopping; the work goes to another one")
            try:
                process = subprocess.Popen(
                    argv,
                    env=dict(env),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    umask=_UMASK,
                )
            except OSError as error:
                raise InfrastructureError(f"{argv[0]} cannot be started on this node: {error}") from error
            self._running.add(process)
            return process


class CommandDispatcher:
    """Foreign commands go to `boxed`, where this machine has a box, and all others to `plain`."""

    def __init__(self, plain: RunCommand, boxed: RunCommand | None) -> None:
        self._plain = plain
        self._boxed = boxed

    def __call__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        *,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        foreign: bool = False,
        cancellation: Cancellation | None = None,
    ) -> Completed:
        run = self._boxed if foreign and self._boxed is not None else self._plain
        return run(
            argv,
            env,
            cwd,
            timeout,
            writable=writable,
            readable=readable,
            foreign=foreign,
            cancellation=cancellation,
        )


def _collect(process: subprocess.Popen[bytes], deadline: float) -> tuple[str, bool]:
    """Read until the process ends, not until its pipe does: a child left behind may hold that open."""
    if process.stdout is None:
        raise ValueError("the process has no pipe to read")
    pipe = process.stdout.fileno()
    head, tail, cut = bytearray(), bytearray(), False
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        at_end = False
        while time.monotonic() < deadline:
            # Asked before the read: what is then in the pipe, one read takes whole, and those are its last words.
            has_ended = process.poll() is not None
            if at_end:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(_LOOK_S, max(0.0, deadline - time.monotonic())))
            elif selector.select(0 if has_ended else min(_LOOK_S, max(0.0, deadline - time.monotonic()))):
                chunk = os.read(pipe, 65536)
                at_end = not chunk
                room = max(0, _HEAD - len(head))
                head += chunk[:room]
                tail += chunk[room:]
                cut = cut or len(tail) > _TAIL
                del tail[:-_TAIL]
            if has_ended:
                break
    text = head + (b"\n[...]\n" if cut else b"") + tail
    return text.decode("utf-8", errors="replace"), process.poll() is None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Also after its end: what a build left in the background is in the same group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
