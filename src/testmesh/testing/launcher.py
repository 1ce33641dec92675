"""Starts the boxes of a node: a small process that stays and is copied for each run, which takes about a millisecond.

The node starts `main` once (see launcher_process.py) with a socket as standard input. Each message on it starts one
run; its descriptors are, in this order: the lifeline, the pipe for answers, the run's standard output and error, and,
where it has them, the pipe of the tests' own events and a lock that is held until the run has ended. It ends when the
node does. It has a single thread and nothing of the node's memory, environment or descriptors.

On the lifeline the run reads its request, a line of JSON, and then waits for nothing but its end:
  level           "full", "portable" or "none"
  name            of the run
  argv, env, cwd  the tests' command, its whole environment and its folder
  hand_over       passed to the command through a pipe, whose number is appended to argv; null for none
  services        [{command, port, timeout_s, seconds}], started before the tests
  namespaces      flags of clone(2): the namespaces that it gets
  user_namespace  whether tests and services get one more, inside
  uid             the user that it runs as, where the node is root; null for the node's own
  root            what it sees of the file system (see private_root.py); null for all
  fresh_proc      whether a /proc of its own can be mounted in it
  landlock        {read: [path], write: [path], abi} or null
  limits          {"RLIMIT_...": value} of each process
  wall            seconds after which it ends, whatever the node does
  memory, processes, cpu_time   bytes, number and seconds of all processes together; 0 for no limit
  folder, disk    a folder whose size is watched, and its limit in bytes; null for none
  cgroup          where groups are made (see cgroups.py), or null

Answers, a line of JSON each: {"made": true}; {"started": true} once the services are; {"exit": code, "services":
[{ready, exit_code, output}]} where code is null if the tests were killed with the rest; {"cpu_time": seconds, "over":
limit or ""}; {"error" or "refused": sentence, "errno": number or null} if the box could not be made, or a command not
be started.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress

from testmesh.testing.box import run
from testmesh.testing.confinement import Unwinding, execute
from testmesh.testing.namespaces import release_memory
from testmesh.testing.supervisor import Pipes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from testmesh.testing.confinement import Program

_FEWEST_DESCRIPTORS, _MOST_DESCRIPTORS = 4, 6


def main(tests: Program = execute) -> int:
    """Serve until the node ends. `tests`: what the process of a run's tests becomes.

    Raises:
        Unwinding: `tests` raised it, in their process.
    """
    node = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    if hasattr(os, "setgroups"):
        with suppress(OSError):  # an ordinary user keeps its groups
            os.setgroups([])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are for the node, which then ends this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    gc.collect()
    gc.freeze()
    release_memory()
    while True:
        message, descriptors, _, _ = socket.recv_fds(node, 1, _MOST_DESCRIPTORS)
        if not message:
            return 0
        if len(descriptors) < _FEWEST_DESCRIPTORS:  # no more could be opened: the end of the pipes tells the node
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # nothing is executed in between: this process has one thread
        try:
            pid = os.fork()
        except OSError as error:  # no process to be had
            Pipes(*descriptors[:4]).say(error=str(error), errno=error.errno)
        else:
            if pid == 0:
                node.close()
                _run(descriptors, tests)
        for descriptor in descriptors:
            os.close(descriptor)


def _run(descriptors: list[int], tests: Program) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pipes = Pipes(*descriptors[:5])
    code, unwinds = 1, False
    try:
        request = _read_request(pipes.lifeline)
        if request is not None:
            run(request, pipes, tests)
            code = 0
    except Unwinding:
        unwinds = True
        raise
    except OSError as error:
        pipes.say(error=str(error), errno=error.errno)
    except BaseException as error:  # noqa: BLE001 - this copy must not go on as the launcher
        pipes.say(error=f"{type(error).__name__}: {error}", errno=None)
    finally:
        if not unwinds:
            os._exit(code)
    raise SystemError  # not reached


def _read_request(lifeline: int) -> dict[str, Any] | None:
    """None where the node died before it could ask."""
    line = bytearray()
    while not line.endswith(b"\n"):
        data = os.read(lifeline, 65536)
        if not data:
            return None
        line += data
    return dict(json.loads(line))


if __name__ == "__main__":
    sys.exit(main())
