"""Process 1 of a box: starts the services, each once the one before is ready, then the tests; reaps every orphan.

It runs what it is asked to by the launcher (which says what a request is) and answers through a pipe that no test has.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress

from testmesh.testing.confinement import Unwinding, become_test, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from testmesh.testing.confinement import Program

_SERVICE_OUTPUT = 16 * 1024  # bytes kept of what a service prints
_READY_POLL_S = 0.05
_REAPED_AT_ONCE = 1000


class Pipes:
    """The node's ends: `lifeline` ends when the run has to; `events` is for the tests alone, -1 for none."""

    def __init__(self, lifeline: int, status: int, stdout: int, stderr: int, events: int = -1) -> None:
        self.lifeline, self.status, self.events = lifeline, status, events
        self.stdout, self.stderr = stdout, stderr

    def say(self, **answer: Any) -> None:
        left = memoryview((json.dumps(answer) + "\n").encode())
        with suppress(OSError):  # the node is gone: the end of the lifeline will tell
            while left:  # a signal cuts a write short
                left = left[os.write(self.status, left) :]


def wake_at_child_end() -> int:
    """A descriptor that can be read once a child of this process has ended."""
    reading, writing = os.pipe()
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


class _Service:
    def __init__(self, settings: dict[str, Any], pid: int, pipe: int) -> None:
        self.settings, self.pid, self.pipe = settings, pid, pipe
        self.ready = False
        self.exit_code: int | None = None
        self.output = b""

    def read(self) -> bool:
        """Take what it printed; False at the end."""
        try:
            data = os.read(self.pipe, 65536)
        except BlockingIOError:
            return True
        self.output = (self.output + data)[-_SERVICE_OUTPUT:]
        return bool(data)

    def answers(self) -> bool:
        """Whether something accepts connections on its port."""
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.settimeout(1)
                probe.connect((host, self.settings["port"]))
                return True
        return False

    def takes_datagrams(self) -> bool:
        """Whether something takes datagrams on its port, which does not tell that it is ready to answer them."""
        return any(_is_bound(path, self.settings["port"]) for path in ("/proc/net/udp", "/proc/net/udp6"))

    def report(self) -> dict[str, Any]:
        self.read()
        return {
            "ready": self.ready,
            "exit_code": self.exit_code,
            "output": self.output.decode("utf-8", "replace"),
        }


def _is_bound(path: str, port: int) -> bool:
    """Whether a socket is bound to the port, by the kernel's list of them: `sl local_address ...` in hexadecimal."""
    end = b":%04X" % port
    with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123 - as bytes: codecs cannot be imported in a box
        return any(line.split()[1].endswith(end) for line in list(file)[1:])
    return False


class Supervisor:
    """Takes its process over: the handling of SIGCHLD, and every child. `tests` is what the tests' process becomes."""

    def __init__(self, request: dict[str, Any], pipes: Pipes, tests: Program = execute) -> None:
        self._request, self._pipes, self._program = request, pipes, tests
        self._services: list[_Service] = []
        self._tests: int | None = None
        self._exit_code: int | None = None
        self._node_gone = False
        self._wake = wake_at_child_end()
        self._poll = select.poll()
        self._poll.register(pipes.lifeline, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def run(self) -> None:
        """Until the tests have ended or the node wants them to."""
        self._pipes.say(made=True)
        for settings in self._request["services"]:
            service = self._start_service(settings)
            self._wait_ready(service)
            if self._node_gone:
                break
        else:
            self._start_tests()
        while self._exit_code is None and not self._node_gone:
            self._step(None)
        self._pipes.say(exit=self._exit_code, services=[service.report() for service in self._services])

    def _start_tests(self) -> None:
        argv, passed = list(self._request["argv"]), []
        pipes = self._pipes
        if self._request["hand_over"] is not None:
            reading, writing = os.pipe()
            told = {**self._request["hand_over"], "events": pipes.events}
            os.write(writing, json.dumps(told).encode())
            os.close(writing)
            del told  # a test that is a fork of this process could find it
            argv.append(str(reading))
            passed = [reading, pipes.events]
        pipes.say(started=True)
        self._tests = self._start(argv, (pipes.stdout, pipes.stderr), passed, self._program)
        for descriptor in {*passed, pipes.stdout, pipes.stderr}:  # their readers see the end when the tests have ended
            os.close(descriptor)

    def _start_service(self, settings: dict[str, Any]) -> _Service:
        reading, writing = os.pipe()
        pid = self._start(["/bin/sh", "-c", settings["command"]], (writing, writing), [], execute)
        os.close(writing)
        os.set_blocking(reading, False)
        service = _Service(settings, pid, reading)
        self._services.append(service)
        self._poll.register(reading, select.POLLIN)
        return service

    def _start(self, argv: list[str], output: tuple[int, int], passed: list[int], program: Program) -> int:
        """Fork and run `argv` with `output` as standard output and error and `passed` as its only other descriptors."""
        pid = os.fork()
        if pid:
            return pid
        unwinds = False
        try:
            become_test(self._request, argv, output, passed, program)
        except Unwinding:
            unwinds = True
            raise
        except BaseException as error:  # noqa: BLE001 - whatever else it is, the forked copy must not go on
            self._pipes.say(refused=f"cannot start {argv[0]}: {error}", errno=getattr(error, "errno", None))
        finally:
            if not unwinds:
                os._exit(127)
        raise SystemError  # not reached

    def _wait_ready(self, service: _Service) -> None:
        """Until its port answers or its seconds are over; in vain where it dies or is too late.

        A server of datagrams is given the whole time, since only the clients of its protocol could tell.
        """
        port, settings = service.settings["port"], service.settings
        end = time.monotonic() + (settings["seconds"] if port is None else settings["timeout_s"])
        while not self._node_gone and time.monotonic() < end and (service.exit_code is None or port is not None):
            if port is not None and service.answers():
                service.ready = True
                return
            if service.exit_code:
                return
            left = end - time.monotonic()
            self._step(max(0.0, left if port is None else min(left, _READY_POLL_S)))
        service.ready = not service.exit_code and (port is None or service.takes_datagrams())

    def _step(self, timeout_s: float | None) -> None:
        for descriptor, _ in self._poll.poll(None if timeout_s is None else timeout_s * 1000 + 1):
            if descriptor == self._pipes.lifeline:
                self._node_gone = True
            elif descriptor == self._wake:
                os.read(self._wake, 4096)
            elif not next(service for service in self._services if service.pipe == descriptor).read():
                self._poll.unregister(descriptor)
        self._reap()

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            for _ in range(_REAPED_AT_ONCE):  # a storm of orphans must not keep it from anything else
                ended = os.waitpid(-1, os.WNOHANG)
                if not ended[0]:
                    return
                code = os.waitstatus_to_exitcode(ended[1])
                if ended[0] == self._tests and self._exit_code is None:  # an orphan may get the same id later
                    self._exit_code = code
                for service in self._services:
                    if service.pid == ended[0] and service.exit_code is None:
                        service.exit_code = code
            os.kill(os.getpid(), signal.SIGCHLD)  # there are more: come back soon
