import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testmesh.local import processes
from testmesh.local.health import wait_until
from testmesh.local.processes import ProcessId
from testmesh.local.run_folder import RunFolder

# Tells that it is ready by making a file; STUBBORN ignores SIGTERM, PARENT has a child that does.
SLEEPER = "import pathlib, sys, threading; pathlib.Path(sys.argv[1]).touch(); threading.Event().wait()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
PARENT = """
import pathlib, subprocess, sys, threading
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1] + ".child"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
threading.Event().wait()
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[ProcessId]]:
    made: list[ProcessId] = []
    yield made
    processes.stop(made, 0)


def start(tmp_path: Path, code: str, started: list[ProcessId], *arguments: str) -> ProcessId:
    ready = tmp_path / f"ready-{len(started)}"
    command = [sys.executable, "-c", code, str(ready), *arguments]
    process = processes.start(command, os.environ, tmp_path / "log", tmp_path)
    started.append(process)
    assert wait_until(ready.exists, 20)
    return process


def test_a_process_is_stopped(tmp_path: Path, started: list[ProcessId]) -> None:
    process = start(tmp_path, SLEEPER, started)
    assert processes.is_alive(process)
    processes.stop([process], 20)
    assert not processes.is_alive(process)


def test_one_that_ignores_the_polite_way_is_killed(tmp_path: Path, started: list[ProcessId]) -> None:
    process = start(tmp_path, STUBBORN, started)
    processes.stop([process], 0.1)
    assert not processes.is_alive(process)


def test_a_child_that_stays_behind_is_killed_too(tmp_path: Path, started: list[ProcessId]) -> None:
    process = start(tmp_path, PARENT, started, STUBBORN)
    ready = tmp_path / "ready-0"
    assert wait_until(lambda: bool(ready.read_text()) and Path(f"{ready}.child").exists(), 20)
    child = int(ready.read_text())
    processes.stop([process], 20)
    # An orphan may stay a zombie for a moment, until init has waited for it.
    assert child not in processes._table()


def test_a_pid_that_was_given_to_another_is_left_alone(tmp_path: Path, started: list[ProcessId]) -> None:
    process = start(tmp_path, SLEEPER, started)
    earlier = ProcessId(process.pid, "another boot:1")
    assert not processes.is_alive(earlier)
    processes.stop([earlier], 0)
    assert processes.is_alive(process)


def test_a_zombie_counts_as_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = ProcessId(child.pid, processes._table()[child.pid][1])
    assert child.stdin is not None
    child.stdin.close()
    assert wait_until(lambda: not processes.is_alive(found), 20)


def test_ps_and_proc_agree() -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("there is no /proc here")
    try:
        listed = processes._from_ps()
    except OSError:
        pytest.skip("there is no ps here")
    assert listed[os.getpid()][0] == os.getppid() == processes._from_proc()[os.getpid()][0]


def test_records_survive_and_a_broken_file_is_no_record(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / ".run")
    run.prepare()
    assert run.started() == []
    run.record([ProcessId(1, "x")])
    assert run.started() == [ProcessId(1, "x")]
    (run.path / "processes.json").write_text("[{")
    assert run.started() == []
