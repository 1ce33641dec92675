"""A command alone: all that it starts is counted, and nothing of it is left."""

import os
import socket
import sys
from pathlib import Path

import pytest

from bench.systems.alone import Order, Took, alone, can_have_own_network
from bench.systems.groups import NoGroupError, group

# Started and heard to its end, but never waited for: it is left to whoever adopts it.
NOT_WAITED_FOR = """
import os, subprocess, sys
burn = "import time\\nwhile time.process_time() < 0.3: pass"
process = subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE)
process.stdout.read()
os._exit(0)
"""
# The kernel adds the times of such children to nobody's.
IGNORED = f"import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n{NOT_WAITED_FOR}"
LEFT_BEHIND = """
import subprocess, sys
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(process.pid)
"""
LISTENS = "import socket; socket.create_server(('127.0.0.1', {port}))"


def run(folder: Path, code: str, timeout_s: float = 30.0, *, own_network: bool = False, counting: str = "") -> Took:
    command = [sys.executable, "-c", code]
    output = str(folder / "output")
    return alone(Order(command, str(folder), dict(os.environ), output, timeout_s, own_network, counting or None))


def test_what_nobody_waited_for_is_counted(tmp_path: Path) -> None:
    assert run(tmp_path, NOT_WAITED_FOR).cpu >= 0.3


def test_a_control_group_counts_even_where_nobody_can_wait(tmp_path: Path) -> None:
    try:
        with group() as counting:
            assert run(tmp_path, IGNORED, counting=str(counting.folders[0])).cpu >= 0.3
    except NoGroupError as error:
        pytest.skip(str(error))


def test_nothing_of_it_is_left(tmp_path: Path) -> None:
    run(tmp_path, LEFT_BEHIND)
    assert not Path(f"/proc/{int((tmp_path / 'output').read_text())}").exists()


def test_what_takes_too_long_is_ended_and_said_so(tmp_path: Path) -> None:
    took = run(tmp_path, "import time; time.sleep(600)", timeout_s=0.5)
    assert not took.in_time


def test_its_status_and_what_it_prints_are_kept(tmp_path: Path) -> None:
    took = run(tmp_path, "print('hello'); raise SystemExit(3)")
    assert (took.in_time, took.status, (tmp_path / "output").read_text()) == (True, 3, "hello\n")


def test_it_can_have_a_loopback_of_its_own(tmp_path: Path) -> None:
    if not can_have_own_network():
        pytest.skip("no network of its own is permitted here")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = LISTENS.format(port=taken.getsockname()[1])
        assert run(tmp_path, code, own_network=True).status == 0
        assert run(tmp_path, code).status != 0
