"""One run's launcher process as the node sees it: what it is told, what comes back, and its end in time."""

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from testmesh.errors import InfrastructureError
from testmesh.model import Service
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.events import Event, EventParser, ProcessEnd, RunReport, ServiceReport
from testmesh.testing.isolation import LAUNCHER, LAUNCHER_ENV

MAX_OUTPUT = 1024 * 1024  # bytes of the process's own output beyond which a report says that it was cut
KEPT_OUTPUT = 64 * 1024  # bytes of its end that a report has, of each stream
_START_S = 60.0  # for the launcher to start the tests, services aside
_END_S = 15.0  # for the launcher to kill everything and end


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


class Launch:
    """One launcher process and the pipes to it. Call `follow` once, at once: it ends and frees what this starts."""

    def __init__(
        self,
        commands: Mapping[str, Any],
        module: str,
        services: Sequence[Service],
        timeout_s: float,
        lock: int | None,
    ) -> None:
        """`commands`: the launcher's request, but for the pipes. `lock`: a descriptor that it holds to its end.

        Raises:
            InfrastructureError: no process or no descriptor is to be had.
        """
        nonce = secrets.token_hex(8)
        self._services = services
        self._timeout_s = timeout_s
        self._parser = EventParser(nonce, module)
        self._stdout, self._stderr, self._answers = Tail(KEPT_OUTPUT), Tail(KEPT_OUTPUT), bytearray()
        self._answered: dict[str, Any] = {}
        self._timed_out = False
        self._cancelled = False
        self._started_at: float | None = None
        self._ended_at: float | None = None
        with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as always:
            try:
                status, events = _pipe(on_failure, always), _pipe(on_failure, always)
                self._process = subprocess.Popen(
                    LAUNCHER,
                    env=LAUNCHER_ENV,
                    cwd="/",
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    pass_fds=(status[1], events[1], *(() if lock is None else (lock,))),
                    start_new_session=True,
                )
            except OSError as error:
                raise InfrastructureError(f"a run cannot be started on this node: {error}") from error
            on_failure.pop_all()
        self._status, self._events = status[0], events[0]
        arguments = commands["arguments"]
        hand_over = {"nonce": nonce, "events": events[1], "module": module, "arguments": arguments}
        self._to_send = {**commands, "hand_over": hand_over, "status": status[1], "events": events[1]}

    def follow(
        self, on_started: Callable[[], None], on_event: Callable[[Event], None], cancellation: Cancellation
    ) -> RunReport:
        """Read everything until the launcher has ended, and end it in time; nothing it started is left.

        Raises:
            InfrastructureError: the tests could not be started.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._kill)
            try:
                selector = stack.enter_context(selectors.DefaultSelector())
                wake_read, wake_write = os.pipe()
            except OSError as error:
                raise InfrastructureError(f"a run cannot be followed on this node: {error}") from error
            for descriptor in (wake_read, wake_write):
                stack.callback(os.close, descriptor)
            stack.enter_context(cancellation.telling(partial(_wake, wake_write)))
            self._send_request()
            self._register(selector, wake_read, on_started, on_event)
            self._loop(selector)
        return self._report()

    # the loop --------------------------------------------------------------------------------

    def _send_request(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is dead already: the missing answers tell
            _stream(self._process.stdin).write(json.dumps(self._to_send).encode() + b"\n")

    def _register(
        self,
        selector: selectors.BaseSelector,
        wake: int,
        on_started: Callable[[], None],
        on_event: Callable[[Event], None],
    ) -> None:
        def take_events(data: bytes) -> None:
            for event in self._parser.feed(data):
                on_event(event)

        def take_answers(data: bytes) -> None:
            self._take_answers(data)
            if self._started_at is None and "started" in self._answered:
                self._started_at = time.monotonic()
                on_started()

        for descriptor, take in (
            (self._status, take_answers),
            (self._events, take_events),
            (_stream(self._process.stdout).fileno(), self._stdout.feed),
            (_stream(self._process.stderr).fileno(), self._stderr.feed),
            (wake, self._cancel),
        ):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ, take)

    def _loop(self, selector: selectors.BaseSelector) -> None:
        begun = time.monotonic()
        waiting = sum(service.timeout_s if service.port else service.seconds for service in self._services)
        killed_at: float | None = None
        while self._status in selector.get_map():
            if killed_at is not None:
                deadline = killed_at + _END_S
            elif self._started_at is None:
                deadline = begun + _START_S + waiting
            else:
                deadline = self._started_at + self._timeout_s
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                self._read(selector, key)
            is_late = time.monotonic() >= deadline and self._status in selector.get_map()
            if is_late and killed_at is not None:
                return  # the launcher itself hangs, and is killed
            if killed_at is None and (is_late or self._cancelled):
                self._timed_out = not self._cancelled and self._ended_at is None
                killed_at = self._end_launcher()
        # All processes are dead, so what is left in the pipes is all there is; a survivor must not hold us up.
        for key in list(selector.get_map().values()):
            self._read(selector, key, at_most=1024 * 1024)

    def _read(self, selector: selectors.BaseSelector, key: selectors.SelectorKey, at_most: int = 1) -> None:
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

    def _take_answers(self, data: bytes) -> None:
        *lines, rest = (self._answers + data).split(b"\n")
        self._answers = bytearray(rest)
        for line in lines:
            self._answered |= json.loads(line)
        if self._ended_at is None and "exit" in self._answered:
            self._ended_at = time.monotonic()

    def _cancel(self, _: bytes) -> None:
        self._cancelled = self._ended_at is None

    def _end_launcher(self) -> float:
        """Close what the launcher watches: it kills everything and then ends itself."""
        _stream(self._process.stdin).close()
        self._process.send_signal(signal.SIGCONT)  # without namespaces a test can have stopped it
        return time.monotonic()

    def _kill(self) -> None:
        """Whatever happened, leave no process and no descriptor."""
        self._end_launcher()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _stream(self._process.stdout).close()
        _stream(self._process.stderr).close()
        os.close(self._status)
        os.close(self._events)

    # the report ------------------------------------------------------------------------------

    def _report(self) -> RunReport:
        error = self._answered.get("error")
        if error or (self._started_at is None and not self._cancelled):
            reason = error or self._stderr.text()[-500:] or "the launcher did not answer in time"
            raise InfrastructureError(f"the tests cannot be started on this node: {reason}")
        ended_at = self._ended_at or time.monotonic()
        told = self._answered.get("services", [])
        end = ProcessEnd(
            exit_code=self._answered.get("exit"),
            timed_out=self._timed_out,
            cancelled=self._cancelled,
            duration=ended_at - (self._started_at or ended_at),
            cpu_time=self._answered.get("cpu_time", 0.0),
            stdout=self._stdout.text(),
            stderr=self._stderr.text(),
            output_cut=self._stdout.received + self._stderr.received > MAX_OUTPUT,
            services=tuple(
                ServiceReport(service.command, **report) for service, report in zip(self._services, told, strict=False)
            ),
        )
        return self._parser.report(end)


def _pipe(on_failure: contextlib.ExitStack, always: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose read end is closed on failure only; its write end, which the child inherits, is closed always."""
    reading, writing = os.pipe()
    on_failure.callback(os.close, reading)
    always.callback(os.close, writing)
    return reading, writing


def _wake(descriptor: int) -> None:
    os.write(descriptor, b"x")


def _stream(stream: Any) -> Any:
    """A pipe of a process that was started with all three."""
    if stream is None:
        raise ValueError("the process was started without this pipe")
    return stream
