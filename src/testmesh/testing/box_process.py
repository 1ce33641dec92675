"""One box as the node sees it: what it is told, what comes back, and its end in time."""

import contextlib
import fcntl
import json
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from testmesh.errors import InfrastructureError
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.launcher_process import LauncherProcess
from testmesh.testing.namespaces import NEWPID

MAX_OUTPUT = 1024 * 1024  # bytes of the process's own output beyond which a report says that it was cut
KEPT_OUTPUT = 64 * 1024  # bytes of its end that a report has, of each stream
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ
_START_S = 60.0  # for a box to be made, services aside
_END_S = 45.0  # for everything in it to be killed, on a machine that may be very busy


@dataclass(frozen=True, slots=True)
class BoxEnd:
    """How a run ended. Times in seconds, from the start of its command to its end."""

    exit_code: int | None  # None: it was killed by us, or is unknown; negative: killed by that signal
    timed_out: bool
    cancelled: bool
    over_limit: str  # the limit for which it was killed, or ""
    duration: float
    cpu_time: float
    stdout: str  # the end of what it printed
    stderr: str
    output_cut: bool
    services: tuple[Mapping[str, Any], ...]


class Tail:
    """The end of a stream of any length."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._kept = 0
        self.received = 0

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        self._pieces.append(data)
        self._kept += len(data)
        while self._kept - len(self._pieces[0]) >= self._limit:
            self._kept -= len(self._pieces.popleft())

    def text(self) -> str:
        return b"".join(self._pieces)[-self._limit :].decode("utf-8", "replace")


class BoxProcess:
    """Call `follow` once, at once: it ends and frees what this starts."""

    def __init__(
        self,
        launcher: LauncherProcess,
        request: Mapping[str, Any],
        timeout_s: float,
        with_events: bool = False,
        lock: int | None = None,
    ) -> None:
        """`request`: see launcher.py. `lock`: a descriptor that is held until everything in the box is dead.

        Raises:
            InfrastructureError: no process or no descriptor is to be had.
        """
        self._launcher = launcher
        self._request = request
        self._is_out_of_reach = bool(request["namespaces"] & NEWPID)  # nothing in the box can hurt what watches it
        self._timeout_s = timeout_s
        self._stdout, self._stderr, self._answers = Tail(KEPT_OUTPUT), Tail(KEPT_OUTPUT), bytearray()
        self._answered: dict[str, Any] = {}
        self._timed_out = False
        self._cancelled = False
        self._hangs = False
        self._killed_at: float | None = None
        self._started_at: float | None = None
        self._ended_at: float | None = None
        with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as always:
            try:
                lifeline = os.pipe()
                always.callback(os.close, lifeline[0])
                on_failure.callback(os.close, lifeline[1])
                pipes = [_pipe(on_failure, always) for _ in range(4 if with_events else 3)]
            except OSError as error:
                raise InfrastructureError(f"a run cannot be started on this node: {error}") from error
            given = [lifeline[0], *(writing for _, writing in pipes), *(() if lock is None else (lock,))]
            launcher.start_run(given)
            on_failure.pop_all()
        self._lifeline: int | None = lifeline[1]
        self._status, *self._outputs = [reading for reading, _ in pipes]

    def follow(
        self,
        cancellation: Cancellation,
        on_started: Callable[[], None] = lambda: None,
        on_events: Callable[[bytes], None] = lambda _: None,
    ) -> BoxEnd:
        """Read everything until the box is gone, and end it in time; nothing in it is left.

        Raises:
            InfrastructureError: its command could not be started.
        """
        with contextlib.ExitStack() as stack:
            for descriptor in (self._status, *self._outputs):
                stack.callback(os.close, descriptor)
            stack.callback(self._end_box)
            try:
                selector = stack.enter_context(selectors.DefaultSelector())
                wake_read, wake_write = os.pipe()
            except OSError as error:
                raise InfrastructureError(f"a run cannot be followed on this node: {error}") from error
            for descriptor in (wake_read, wake_write):
                stack.callback(os.close, descriptor)
            stack.enter_context(cancellation.telling(partial(_wake, wake_write)))
            self._send_request()
            _register(selector, self._status, partial(self._take_answers, on_started))
            for descriptor, take in zip(self._outputs, (self._stdout.feed, self._stderr.feed, on_events), strict=False):
                _register(selector, descriptor, take)
            _register(selector, wake_read, self._cancel)
            self._loop(selector)
        return self._end()

    # the loop --------------------------------------------------------------------------------

    def _send_request(self) -> None:
        if self._lifeline is None:
            return
        data = json.dumps(self._request).encode() + b"\n"
        with contextlib.suppress(OSError):  # it is dead already, or stopped: the missing answers tell
            os.set_blocking(self._lifeline, False)
            fcntl.fcntl(self._lifeline, _SET_PIPE_SIZE, max(len(data), 4096))
            os.write(self._lifeline, data)

    def _loop(self, selector: selectors.BaseSelector) -> None:
        begun = time.monotonic()
        services = self._request["services"]
        waiting = sum(one["seconds"] if one["port"] is None else one["timeout_s"] for one in services)
        killed_at = self._killed_at
        while self._status in selector.get_map():
            if killed_at is not None:
                deadline = killed_at + _END_S
            elif self._started_at is None:
                deadline = begun + _START_S + waiting
            else:
                deadline = self._started_at + self._timeout_s
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                _read(selector, key)
            is_late = time.monotonic() >= deadline and self._status in selector.get_map()
            if is_late and killed_at is not None:
                self._hangs = True  # what it watches is closed, so it ends when it can
                return
            if killed_at is None and (is_late or self._cancelled):
                self._timed_out = not self._cancelled and self._ended_at is None
                self._end_box()
                self._killed_at = killed_at = time.monotonic()
        # All processes are dead, so what is left in the pipes is all there is; a survivor must not hold us up.
        for key in list(selector.get_map().values()):
            _read(selector, key, at_most=1024 * 1024)

    def _take_answers(self, on_started: Callable[[], None], data: bytes) -> None:
        *lines, rest = (self._answers + data).split(b"\n")
        self._answers = bytearray(rest)
        for line in lines:
            with contextlib.suppress(ValueError):  # its writer was killed in the middle
                self._answered = {**json.loads(line), **self._answered}  # the first reason is the right one
        if self._started_at is None and "started" in self._answered:
            self._started_at = time.monotonic()
            on_started()
        if self._ended_at is None and "exit" in self._answered:
            self._ended_at = time.monotonic()

    def _cancel(self, _: bytes) -> None:
        self._cancelled = self._ended_at is None

    def _end_box(self) -> None:
        """Close what the box watches: everything in it is killed."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    # the end ---------------------------------------------------------------------------------

    def _end(self) -> BoxEnd:
        answered, cause = self._answered, ""
        has_run = bool(self._request["services"]) and "made" in answered  # then foreign code may be what is in the way
        over = answered.get("over", "")
        if self._hangs:
            cause = "its processes do not end"
        elif self._started_at is None and not self._cancelled and not has_run and not over:
            cause = answered.get("error") or answered.get("refused") or "it did not start in time"
        elif not has_run:
            cause = answered.get("refused", "")
        if not cause and "cpu_time" not in answered and self._killed_at is None and self._is_out_of_reach:
            cause = "the process that watches the run was killed"
        if not answered and not self._cancelled:
            self._launcher.replace()  # it may be stopped, or stuck
        if cause:
            raise BoxError(cause, answered.get("errno"), has_begun=self._started_at is not None)
        ended_at = self._ended_at or time.monotonic()
        return BoxEnd(
            exit_code=self._answered.get("exit"),
            timed_out=self._timed_out,
            cancelled=self._cancelled,
            over_limit=over,
            duration=max(0.0, ended_at - (self._started_at or ended_at)),
            cpu_time=self._answered.get("cpu_time", 0.0),
            stdout=self._stdout.text(),
            stderr=self._stderr.text(),
            output_cut=self._stdout.received + self._stderr.received > MAX_OUTPUT,
            services=tuple(self._answered.get("services", ())),
        )


class BoxError(InfrastructureError):
    """A box could not be made, or its command not be started in it."""

    def __init__(self, reason: str, number: int | None, *, has_begun: bool = False) -> None:
        """`has_begun`: its command was started, as far as is known."""
        super().__init__(f"the tests cannot be started on this node: {reason}")
        self.reason, self.errno, self.has_begun = reason, number, has_begun


def _register(selector: selectors.BaseSelector, descriptor: int, take: Callable[[bytes], None]) -> None:
    os.set_blocking(descriptor, False)
    selector.register(descriptor, selectors.EVENT_READ, take)


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey, at_most: int = 1) -> None:
    taken = 0
    while taken < at_most:
        try:
            data = os.read(key.fd, 65536)
        except BlockingIOError:
            return
        if not data:
            selector.unregister(key.fd)
            return
        taken += len(data)
        key.data(data)


def _pipe(on_failure: contextlib.ExitStack, always: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose read end is closed on failure only; its write end, which the box gets, is closed here always."""
    reading, writing = os.pipe()
    on_failure.callback(os.close, reading)
    always.callback(os.close, writing)
    return reading, writing


def _wake(descriptor: int) -> None:
    os.write(descriptor, b"x")
