"""Control groups count and hold, wherever and in whichever version they are mounted."""

import os
import subprocess
from pathlib import Path

import pytest

from bench.systems.groups import Group, NoGroupError, busy_seconds, group


def mountinfo(folder: Path, *lines: str) -> Path:
    """Lines of `kind options`, each mounted on a folder called as its options."""
    path = folder / "mountinfo"
    mounts = []
    for line in lines:
        kind, options = line.split()
        (folder / options).mkdir()
        mounts.append(f"31 23 0:28 / {folder / options} rw,relatime - {kind} {kind} {options}")
    path.write_text("\n".join(mounts))
    return path


def test_version_two_counts_microseconds(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    assert Group((tmp_path,)).cpu_seconds() == 2.5


def test_version_one_counts_nanoseconds(tmp_path: Path) -> None:
    (tmp_path / "cpuacct.usage").write_text("2500000000\n")
    assert Group((tmp_path,)).cpu_seconds() == 2.5


def test_a_command_enters_every_hierarchy_before_it_starts(tmp_path: Path) -> None:
    folders = (tmp_path / "a b", tmp_path / "c")
    for folder in folders:
        folder.mkdir()
    command = Group(folders).entered_by(["sh", "-c", 'echo $$ "$1"', "sh", "it's"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate()[0] == f"{process.pid} it's\n"
    assert [(folder / "cgroup.procs").read_text() for folder in folders] == [f"{process.pid}\n"] * 2


@pytest.mark.parametrize(
    ("mounts", "counting", "file", "text"),
    [
        (("cgroup2 rw",), "rw", "rw/bench-*/cpu.max", "50000 100000"),
        (("cgroup cpu", "cgroup cpuacct"), "cpuacct", "cpu/bench-*/cpu.cfs_quota_us", "50000"),
        (("cgroup cpu,cpuacct",), "cpu,cpuacct", "cpu,cpuacct/bench-*/cpu.cfs_quota_us", "50000"),
        (("cgroup cpu", "cgroup memory", "cgroup2 rw"), "rw", "cpu/bench-*/cpu.cfs_quota_us", "50000"),
    ],
)
def test_half_a_core_is_set_in_the_version_that_has_the_controller(
    tmp_path: Path, mounts: tuple[str, ...], counting: str, file: str, text: str
) -> None:
    with group(0.5, mountinfo(tmp_path, *mounts)) as found:
        assert found.folders[0].parent.name == counting
        assert [path.read_text() for path in tmp_path.glob(file)] == [text]
        for path in tmp_path.glob("*/bench-*/*"):
            path.unlink()  # of real groups the files go with the folder


def test_where_nothing_is_mounted_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoGroupError, match="mounted"), group(mounts=mountinfo(tmp_path)):
        pass


def test_a_real_group_counts_what_runs_in_it_and_is_gone_afterwards() -> None:
    try:
        with group() as found:
            subprocess.run(found.entered_by(["sh", "-c", "true"]), check=True)
            assert found.cpu_seconds() > 0
            sleeper = subprocess.Popen(found.entered_by(["sleep", "600"]))
            folder = found.folders[0]
    except NoGroupError as error:
        pytest.skip(str(error))
    assert sleeper.wait() != 0
    assert not folder.exists()


def test_the_machines_own_time_leaves_out_idling(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 50 99999 7777 0 50 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert busy_seconds(tmp_path) == 200 / os.sysconf("SC_CLK_TCK")
