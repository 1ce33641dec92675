"""The launcher by itself: what it answers, and that the end of its standard input ends everything."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from testmesh.testing.isolation import LAUNCHER, LAUNCHER_ENV, probe
from tests.support.projects import SHARED, processes_with, wait_until

PRIVATE = probe()
needs_namespaces = pytest.mark.skipif(PRIVATE.loopback == "shared", reason=f"no namespaces here: {PRIVATE.cause}")
LEVELS = pytest.mark.parametrize(
    "level",
    [
        pytest.param(
            {"namespaces": True, "user_namespace": PRIVATE.user_namespace}, id="private", marks=needs_namespaces
        ),
        pytest.param({"namespaces": True, "user_namespace": True}, id="user", marks=needs_namespaces),
        pytest.param({"namespaces": False, "user_namespace": False}, id="shared"),
    ],
)
Level = dict[str, bool]


class Launched:
    """A launcher that runs a python snippet in place of tests."""

    def __init__(self, folder: Path, level: Level, code: str, **changed: Any) -> None:
        self.status, status = os.pipe()
        self.events, events = os.pipe()
        request: Mapping[str, Any] = {
            "argv": [sys.executable, "-c", code],
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": str(folder),
            "hand_over": {"events": events},
            "services": [],
            "status": status,
            "events": events,
            "limits": {},
            "fresh_proc": PRIVATE.fresh_proc,
        }
        self.process = subprocess.Popen(
            LAUNCHER,
            env=LAUNCHER_ENV,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(status, events),
            start_new_session=True,
        )
        os.close(status)
        os.close(events)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({**request, **level, **changed}).encode() + b"\n")
        self.process.stdin.flush()

    def answers(self) -> dict[str, Any]:
        """All of them, once the launcher has ended."""
        with os.fdopen(self.status) as pipe:
            lines = pipe.read().splitlines()
        self.status = -1
        assert self.process.wait(30) is not None
        return {key: value for line in lines for key, value in json.loads(line).items()}

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
        for descriptor in (self.status, self.events):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Any]:
    launched: list[Launched] = []

    def start(level: Level, code: str, **changed: Any) -> Launched:
        launched.append(Launched(tmp_path, level, code, **changed))
        return launched[-1]

    yield start
    for one in launched:
        one.end()


@LEVELS
@pytest.mark.parametrize(
    ("code", "exit_code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 15)", -15)]
)
def test_the_exit_status_comes_from_the_parent(launch: Any, level: Level, code: str, exit_code: int) -> None:
    answers = launch(level, code).answers()
    assert answers["started"] is True
    assert answers["exit"] == exit_code
    assert answers["services"] == []
    assert answers["cpu_time"] > 0


@LEVELS
def test_the_command_gets_what_is_handed_over_and_its_stream(launch: Any, level: Level) -> None:
    code = "import json, os, sys; given = json.load(open(int(sys.argv[1]))); os.write(given['events'], b'hello')"
    launched = launch(level, code)
    assert launched.answers()["exit"] == 0
    with os.fdopen(launched.events) as pipe:
        assert pipe.read() == "hello"
    launched.events = -1


@LEVELS
def test_the_end_of_standard_input_ends_everything(launch: Any, level: Level) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    code = (
        "import subprocess, sys, time\n"
        f"sleep = [sys.executable, '-c', 'import time; time.sleep(600)', '{mark}']\n"
        "subprocess.Popen(sleep, start_new_session=True); subprocess.Popen(sleep); time.sleep(600)"
    )
    launched = launch(level, code)
    wait_until(lambda: len(processes_with(mark)) >= 3, "the processes run")
    launched.process.stdin.close()
    assert launched.answers()["exit"] is None
    assert processes_with(mark) == []


@LEVELS
def test_a_killed_launcher_takes_the_tests_with_it(launch: Any, level: Level) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    launched = launch(level, f"import time; time.sleep(600)  # {mark}")
    wait_until(lambda: processes_with(mark), "the command runs")
    launched.process.kill()
    wait_until(lambda: not processes_with(mark), "it is gone")


@LEVELS
def test_a_command_that_cannot_start_is_an_error_with_its_reason(launch: Any, level: Level) -> None:
    answers = launch(level, "", argv=["/no/such/python"]).answers()
    assert "/no/such/python" in answers["error"]


def test_a_node_that_dies_before_it_asks_leaves_nothing() -> None:
    ended = subprocess.run(LAUNCHER, env=LAUNCHER_ENV, input=b'{"argv": [', timeout=30, check=False)
    assert ended.returncode == 1


@LEVELS
def test_limits_are_set(launch: Any, level: Level) -> None:
    code = "import resource, sys; sys.exit(resource.getrlimit(resource.RLIMIT_FSIZE) != (4096, 4096))"
    assert launch(level, code, limits={"RLIMIT_FSIZE": 4096}).answers()["exit"] == 0


def test_probing_says_what_it_found_and_why_there_is_no_better() -> None:
    assert PRIVATE.loopback in ("private", "shared")
    assert PRIVATE.loopback == "private" or PRIVATE.cause
    assert SHARED.loopback == "shared"
    assert probe() == PRIVATE
