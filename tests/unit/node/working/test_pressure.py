"""The sensor reads what Linux tells, as its files have it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testmesh.node.working.pressure import BlindSensor, MachineSensor, open_sensor
from testmesh.testing.process_tree import ready_below
from tests.support.waiting import until

TICKS = os.sysconf("SC_CLK_TCK")
OWN = sorted(os.sched_getaffinity(0))
COUNT = len(OWN)


class Machine:
    """A folder with a /proc; its processors are those that this process may use, and one that it may not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proc = root / "proc"
        (self.proc / "pressure").mkdir(parents=True)
        (self.proc / "self").mkdir()
        self.meminfo(total=8_000_000, free=6_000_000)
        self.stat(idle_s=100.0)
        self.stalled(50.0)

    def meminfo(self, total: int, free: int) -> None:
        (self.proc / "meminfo").write_text(f"MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {free} kB\n")

    def stat(self, idle_s: float, ready: int = 1) -> None:
        """`idle_s` of each of the processors, half of it waiting for a disk."""
        half = int(idle_s * TICKS / 2)
        lines = [f"cpu{number} 5 5 5 {half} {half} 0 0 0 0 0" for number in OWN]
        other = max(OWN) + 1
        lines.append(f"cpu{other} 5 5 5 999999999 0 0 0 0 0 0")
        (self.proc / "stat").write_text("\n".join(["cpu 1 1 1 1 1 1 1", *lines, f"procs_running {ready}", ""]))

    def stalled(self, seconds: float) -> None:
        text = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={int(seconds * 1e6)}\nfull avg10=0.00 total=9\n"
        (self.proc / "pressure/cpu").write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_tells_what_this_node_may_use(machine: Machine) -> None:
    sensor = MachineSensor(machine.root)
    assert sensor.cores == COUNT
    assert sensor.memory == 8_000_000 * 1024
    assert sensor.read().memory == 6_000_000 * 1024


def test_what_is_not_idle_is_busy(machine: Machine) -> None:
    sensor = MachineSensor(machine.root)
    before = sensor.read()
    machine.stat(idle_s=110.0)
    after = sensor.read()
    (first,), (last,) = before.processors, after.processors
    assert last.busy_s - first.busy_s == pytest.approx(COUNT * (after.at - before.at - 10.0))


def test_tasks_wait_as_long_as_the_kernel_says_they_were_stalled(machine: Machine) -> None:
    """On all processors, which are busy: no more idle time passes."""
    sensor = MachineSensor(machine.root)
    before = sensor.read()
    machine.stalled(50.5)
    after = sensor.read()
    waited = after.processors[0].waited_s - before.processors[0].waited_s
    assert waited == pytest.approx(0.5 * COUNT)


def test_without_that_word_of_the_kernel_those_that_are_ready_count(machine: Machine) -> None:
    (machine.proc / "pressure/cpu").unlink()
    sensor = MachineSensor(machine.root)
    before = sensor.read()
    machine.stat(idle_s=100.0, ready=COUNT + 1 + 3)
    after = sensor.read()
    waited = after.processors[0].waited_s - before.processors[0].waited_s
    assert waited == pytest.approx(3 * (after.at - before.at))


def test_a_group_with_a_quota_bounds_too(machine: Machine) -> None:
    group = machine.root / "sys/fs/cgroup/node"
    group.mkdir(parents=True)
    (machine.proc / "self/mountinfo").write_text("30 20 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (machine.proc / "self/cgroup").write_text("0::/node\n")
    (group / "cpu.max").write_text("50000 100000\n")
    (group / "cpu.stat").write_text("usage_usec 3000000\nthrottled_usec 1000000\n")
    (group / "memory.max").write_text("1000000\n")
    (group / "memory.current").write_text("400000\n")
    (group / "memory.stat").write_text("inactive_file 100000\n")
    sensor = MachineSensor(machine.root)
    assert (sensor.cores, sensor.memory) == (0.5, 1_000_000)
    assert sensor.scope == str(group)
    sample = sensor.read()
    assert [processors.cores for processors in sample.processors] == [COUNT, 0.5]
    assert (sample.processors[1].busy_s, sample.processors[1].waited_s) == (3.0, 1.0)
    assert sample.processors[1].window_s == pytest.approx(0.2)
    assert sample.memory == 700_000


def test_a_machine_that_tells_nothing_has_a_blind_sensor(tmp_path: Path, machine: Machine) -> None:
    assert isinstance(open_sensor(tmp_path / "nothing"), BlindSensor)
    (machine.proc / "stat").write_text("cpu 0 0 0 0\n" + "".join(f"cpu{n} 0 0 0 0 0 0 0\n" for n in OWN))
    assert isinstance(open_sensor(machine.root), BlindSensor)


def test_what_gives_way_to_the_modules_is_not_counted_among_those_that_compute() -> None:
    """As an environment that is compiled beside them."""
    spin = "import os; os.nice(10)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-S", "-c", spin]) as compiling:
        try:
            until(lambda: os.getpriority(os.PRIO_PROCESS, compiling.pid) >= 10)
            until(lambda: ready_below(os.getpid(), 19) == 1)
            assert ready_below(os.getpid(), 9) == 0
        finally:
            compiling.kill()
