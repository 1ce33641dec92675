"""No more modules start at once on a host than there are gates; whichever is free is passed."""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testmesh.testing.start_gate import HostGates, NoGates, gate_name, try_again_after


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_each_gate_is_passed_once_until_it_is_opened(folder: Path) -> None:
    gates = HostGates(3, folder)
    opens = [gates.enter() for _ in range(3)]
    assert None not in opens
    assert gates.enter() is None
    middle = opens[1]
    assert middle is not None
    middle()
    assert gates.enter() is not None, "whichever is free"
    assert gates.enter() is None


def test_two_nodes_of_a_host_share_them(folder: Path) -> None:
    one, another = HostGates(2, folder), HostGates(2, folder)
    first = one.enter()
    assert first is not None
    assert another.enter() is not None
    assert another.enter() is None
    first()
    assert another.enter() is not None


def test_nodes_with_processors_of_their_own_have_their_own_gates(folder: Path) -> None:
    names = [gate_name("machine"), gate_name("/sys/fs/cgroup/half")]
    one, another = (HostGates(1, folder, name) for name in names)
    assert one.enter() is not None
    assert another.enter() is not None
    assert gate_name("machine") == names[0]


def test_to_open_it_twice_does_not_open_anothers(folder: Path) -> None:
    gates = HostGates(1, folder)
    first = gates.enter()
    assert first is not None
    first()
    assert gates.enter() is not None
    first()
    assert gates.enter() is None


def test_a_node_that_is_killed_holds_no_gate(folder: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from testmesh.testing.start_gate import HostGates\n"
        "held = HostGates(1, Path(sys.argv[1])).enter()\n"
        "print(held is not None, flush=True)\n"
        "time.sleep(600)\n"
    )
    source = Path(__file__).parents[3] / "src"
    environ = {**os.environ, "PYTHONPATH": str(source)}
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True, env=environ) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == "True\n"
        gates = HostGates(1, folder)
        assert gates.enter() is None
        node.send_signal(signal.SIGKILL)
        node.wait(30)
        assert gates.enter() is not None


def test_where_the_folder_cannot_be_used_modules_start_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "open to others"
    folder.mkdir()
    folder.chmod(0o777)
    gates = HostGates(1, folder)
    with caplog.at_level(logging.WARNING):
        assert [gates.enter() is not None for _ in range(3)] == [True] * 3
    assert [record.message for record in caplog.records if "open to others" in record.message] == [
        caplog.records[0].message
    ], "said once"


def test_where_the_file_system_has_no_locks_modules_start_all_the_same(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    gates = HostGates(2, folder)
    with caplog.at_level(logging.WARNING):
        assert [gates.enter() is not None for _ in range(3)] == [True] * 3
    assert ["No locks available" in record.message for record in caplog.records] == [True], "said once"


def test_who_is_refused_for_long_tries_less_often() -> None:
    assert try_again_after(0.0) < try_again_after(1.0)


def test_a_node_that_need_not_mind_others_passes_always() -> None:
    gates = NoGates()
    assert all(gates.enter() is not None for _ in range(5))
