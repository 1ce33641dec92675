"""Starts one run of tests so that nothing that they start can outlive it.

The node starts `main` in a process of its own for each run (see `isolation.LAUNCHER`) and writes a line of JSON to its
standard input:
  argv, env, cwd     the tests' command, its whole environment and its folder
  hand_over          passed to the command through a pipe, whose number is appended to argv
  services           [{command, port, timeout_s, seconds}], started before the tests, each once the one before is ready
  status, events     descriptors: this script's answers; the tests' own stream, which only they get
  limits             {"RLIMIT_...": value}
  namespaces         whether the run gets its own network, process ids, mounts and IPC; else processes are hunted down
  user_namespace     whether that takes a user namespace (an ordinary user, or root without the capability)
  fresh_proc         whether a /proc of its own can be mounted there
Standard output and error are the tests'. As soon as standard input ends, everything is killed: the kernel closes it
when the node dies, whichever of its threads started this.

Answers, a line of JSON each: {"started": true}; {"exit": code, "services": [{ready, exit_code, output}]} where code is
null if the tests were killed with the rest; {"cpu_time": seconds}; {"error": sentence} if the run could not be started.

With the argument `probe` it prints what this machine permits: {namespaces, user_namespace, fresh_proc, cause}.

Every run waits for these imports: no typing, no pathlib, which take longer than all the rest.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

from testmesh.testing.namespaces import (
    adopt_orphans,
    die_with_parent,
    enter_namespaces,
    mount_proc,
    no_new_privileges,
    probe,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_LIFELINE = 0
_SERVICE_OUTPUT = 16 * 1024  # bytes kept of what a service prints
_READY_POLL_S = 0.05


# Starting a command --------------------------------------------------------------------------


def _start(request: dict[str, Any], argv: list[str], output: tuple[int, int], passed: tuple[int, ...]) -> int:
    """Fork and run `argv` with `output` as standard output and error and `passed` as its only other descriptors."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _become(request, argv, output, passed)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the forked copy must not go on
        _say(request, error=f"cannot start {argv[0]}: {error}")
    finally:
        os._exit(127)


def _become(request: dict[str, Any], argv: list[str], output: tuple[int, int], passed: tuple[int, ...]) -> NoReturn:
    # A group of its own, but not a session: a session's leader is hung up when a terminal opened by a test is closed.
    os.setpgid(0, 0)
    if os.getppid() > 1:
        die_with_parent()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output[0], 1)
    os.dup2(output[1], 2)
    for descriptor in passed:
        os.set_inheritable(descriptor, True)
    os.umask(0o022)
    for name, value in request["limits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))
    no_new_privileges()
    os.chdir(request["cwd"])
    os.execve(argv[0], argv, request["env"])  # noqa: S606 - the launcher is there to run this


def _say(request: dict[str, Any], **answer: Any) -> None:
    with suppress(OSError):  # the node is gone: the end of standard input will tell
        os.write(request["status"], (json.dumps(answer) + "\n").encode())


# Supervising ---------------------------------------------------------------------------------


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
        import socket  # noqa: PLC0415 - only services need it

        for host in ("127.0.0.1", "::1"):
            with suppress(OSError), socket.create_connection((host, self.settings["port"]), 1):
                return True
        return False


class _Supervisor:
    """Runs the services and the tests; reaps every orphan on the way."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.services: list[_Service] = []
        self.tests: int | None = None
        self.exit_code: int | None = None
        self.node_gone = False
        self.wake, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self.poll = select.poll()
        self.poll.register(_LIFELINE, select.POLLIN)
        self.poll.register(self.wake, select.POLLIN)

    def run(self) -> None:
        """Until the tests have ended or the node wants them to."""
        for settings in self.request["services"]:
            service = self.start_service(settings)
            self.wait_ready(service)
            if self.node_gone:
                break
        else:
            self.start_tests()
        while self.exit_code is None and not self.node_gone:
            self.step(None)
        for service in self.services:
            service.read()
        told = [
            {
                "ready": service.ready,
                "exit_code": service.exit_code,
                "output": service.output.decode("utf-8", "replace"),
            }
            for service in self.services
        ]
        _say(self.request, exit=self.exit_code, services=told)

    def start_tests(self) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.write(writing, json.dumps(self.request["hand_over"]).encode())
        os.close(writing)
        events = self.request["events"]
        _say(self.request, started=True)
        self.tests = _start(self.request, [*self.request["argv"], str(reading)], (1, 2), (reading, events))
        for descriptor in (reading, events, 1, 2):  # so that their readers see the end when the tests have ended
            os.close(descriptor)

    def start_service(self, settings: dict[str, Any]) -> _Service:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        pid = _start(self.request, ["/bin/sh", "-c", settings["command"]], (writing, writing), ())
        os.close(writing)
        os.set_blocking(reading, False)
        service = _Service(settings, pid, reading)
        self.services.append(service)
        self.poll.register(reading, select.POLLIN)
        return service

    def wait_ready(self, service: _Service) -> None:
        """Until its port answers or its seconds are over; in vain where it dies or is too late."""
        port, settings = service.settings["port"], service.settings
        end = time.monotonic() + (settings["seconds"] if port is None else settings["timeout_s"])
        while not self.node_gone and time.monotonic() < end and (service.exit_code is None or port is not None):
            if port is not None and service.answers():
                service.ready = True
                return
            if service.exit_code:
                return
            left = end - time.monotonic()
            self.step(max(0.0, left if port is None else min(left, _READY_POLL_S)))
        service.ready = port is None and not service.exit_code

    def step(self, timeout_s: float | None) -> None:
        for descriptor, _ in self.poll.poll(None if timeout_s is None else timeout_s * 1000 + 1):
            if descriptor == _LIFELINE:
                self.node_gone = True
            elif descriptor == self.wake:
                os.read(self.wake, 4096)
            elif not next(service for service in self.services if service.pipe == descriptor).read():
                self.poll.unregister(descriptor)
        self.reap()

    def reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                code = os.waitstatus_to_exitcode(ended[1])
                if ended[0] == self.tests:
                    self.exit_code = code
                for service in self.services:
                    if service.pid == ended[0]:
                        service.exit_code = code


# The two ways to leave nothing behind --------------------------------------------------------


def _run_in_namespaces(request: dict[str, Any]) -> None:
    """A child is process 1 of a namespace: when it ends, the kernel kills whatever else is in it."""
    enter_namespaces(request["user_namespace"])
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent()
            os.setsid()
            for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # signals without a handler do not reach process 1 from inside
            if request["fresh_proc"]:
                mount_proc()
            _Supervisor(request).run()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - the forked copy must not go on
            _say(request, error=f"{type(error).__name__}: {error}")
        finally:
            os._exit(1)
    for descriptor in (1, 2, request["events"]):
        os.close(descriptor)
    os.waitpid(pid, 0)  # returns once the whole namespace is dead


def _run_and_sweep(request: dict[str, Any]) -> None:
    """Without namespaces: orphans are handed to this process, so that all descendants can be found and killed."""
    adopt_orphans()
    try:
        _Supervisor(request).run()
    finally:
        _kill_descendants()


def _kill_descendants() -> None:
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        alive = _descendants(os.getpid())
        if not alive:
            return
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        with suppress(OSError, ValueError), open(f"/proc/{int(name)}/stat", "rb") as stat:  # noqa: PTH123
            parent = int(stat.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found = list(children.get(ancestor, ()))
    for pid in found:  # grows while it is read
        found += children.get(pid, ())
    return found


# Entry points --------------------------------------------------------------------------------


def _read_request() -> dict[str, Any] | None:
    line = bytearray()
    while not line.endswith(b"\n"):
        data = os.read(_LIFELINE, 65536)
        if not data:
            return None  # the node died before it could ask
        line += data
    return dict(json.loads(line))


def main() -> int:
    if sys.argv[1:] == ["probe"]:
        sys.stdout.write(json.dumps(probe()))
        return 0
    request = _read_request()
    if request is None:
        return 1
    for name in ("status", "events"):
        os.set_inheritable(request[name], False)
    try:
        if request["namespaces"]:
            _run_in_namespaces(request)
        else:
            _run_and_sweep(request)
    except OSError as error:
        _say(request, error=str(error))
        return 1
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    _say(request, cpu_time=used.ru_utime + used.ru_stime)
    return 0
