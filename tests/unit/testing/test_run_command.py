import os
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from testmesh.errors import InfrastructureError
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.run_command import CommandDispatcher, CommandRunner
from tests.support.commands import RecordedCommands


@pytest.fixture
def runner() -> Iterator[CommandRunner]:
    runner = CommandRunner()
    yield runner
    runner.close()


def test_foreign_commands_are_boxed_where_there_is_a_box(tmp_path: Path) -> None:
    plain, boxed = RecordedCommands(CommandRunner()), RecordedCommands(CommandRunner())
    dispatcher = CommandDispatcher(plain, boxed)
    assert dispatcher(["/bin/true"], {}, tmp_path, 30).returncode == 0
    assert dispatcher(["/bin/false"], {}, tmp_path, 30, writable=[tmp_path], foreign=True).returncode == 1
    assert [command.argv for command in plain.commands] == [("/bin/true",)]
    assert [(command.argv, command.writable) for command in boxed.commands] == [(("/bin/false",), (tmp_path,))]


def test_without_a_box_they_run_all_the_same(tmp_path: Path) -> None:
    plain = RecordedCommands(CommandRunner())
    assert CommandDispatcher(plain, None)(["/bin/true"], {}, tmp_path, 30, foreign=True).returncode == 0
    assert len(plain.commands) == 1


def test_what_is_installed_can_be_read_whatever_the_nodes_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        CommandRunner()([sys.executable, "-c", "open('made', 'w')"], {}, tmp_path, 30)
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o644


def test_a_cancelled_command_is_ended_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    cancellation = Cancellation()
    argv = [sys.executable, "-c", f"import time; keep = open({str(fifo)!r}, 'w'); time.sleep(600)"]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(CommandRunner(), argv, {}, tmp_path, 100.0, cancellation=cancellation)
        with fifo.open() as stream:  # opens when the command runs
            cancellation.cancel()
            assert stream.read() == ""
        with pytest.raises(CancelledError):
            running.result(30)


def test_what_was_cancelled_before_is_not_started(tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(CancelledError):
        CommandRunner()(["/none"], {}, tmp_path, 100.0, cancellation=cancellation)


def test_a_closed_runner_ends_what_runs_and_starts_nothing(tmp_path: Path) -> None:
    runner = CommandRunner()
    fifo = tmp_path / "running"
    os.mkfifo(fifo)
    argv = [sys.executable, "-c", f"import time; open({str(fifo)!r}, 'w').close(); time.sleep(600)"]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner, argv, {}, tmp_path, 100.0)
        fifo.read_text()
        runner.close()
        with pytest.raises(InfrastructureError, match="stopping"):
            running.result(30)
    with pytest.raises(InfrastructureError, match="stopping"):
        runner(argv, {}, tmp_path, 100.0)


def test_output_is_bounded_and_keeps_its_beginning_and_end(tmp_path: Path, runner: CommandRunner) -> None:
    argv = [sys.executable, "-c", "print('first'); print('x' * 3_000_000); print('last')"]
    done = runner(argv, {}, tmp_path, 60.0)
    assert done.output.startswith("first")
    assert done.output.endswith("last\n")
    assert len(done.output) < 200_000


def test_what_a_command_left_in_the_background_ends_with_it(tmp_path: Path, runner: CommandRunner) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    code = f"import subprocess as s; out = open({str(fifo)!r}, 'w'); s.Popen(['sleep', '600'], pass_fds=[out.fileno()])"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner, [sys.executable, "-c", code], {"PATH": os.environ["PATH"]}, tmp_path, 60.0)
        assert fifo.read_text() == ""  # ends only when the last holder of the pipe is gone
        assert running.result(30).returncode == 0
