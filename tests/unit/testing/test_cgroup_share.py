"""The tightest quota and the limits of memory above a process are found, in both versions of control groups."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from testmesh.testing.cgroup_share import own_share

GROUPS = "/sys/fs/cgroup"
VERSION_2 = f"30 20 0:27 / {GROUPS} rw - cgroup2 cgroup2 rw\n"
VERSION_1 = "".join(
    f"{number} 30 0:{number} {{root}} {GROUPS}/{name} rw - cgroup cgroup rw,{name}\n"
    for number, name in enumerate(("cpu,cpuacct", "memory"), 31)
)
APART = "".join(
    f"{number} 30 0:{number} / {GROUPS}/{name} rw - cgroup cgroup rw,{name}\n"
    for number, name in enumerate(("cpu", "cpuacct"), 31)
)
NO_LIMIT = "9223372036854771712\n"


def machine(tmp_path: Path, mountinfo: str, own: str, files: Mapping[str, str]) -> Path:
    for name, text in {"/proc/self/mountinfo": mountinfo, "/proc/self/cgroup": own, **files}.items():
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_version_2(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        VERSION_2,
        "0::/pod/node/leaf\n",
        {
            f"{GROUPS}/pod/cpu.max": "200000 100000\n",
            f"{GROUPS}/pod/node/cpu.max": "50000 100000\n",
            f"{GROUPS}/pod/node/cpu.stat": "usage_usec 2500000\nuser_usec 1\nthrottled_usec 1500000\n",
            f"{GROUPS}/pod/node/leaf/cpu.max": "max 100000\n",
            f"{GROUPS}/pod/memory.max": "1000\n",
            f"{GROUPS}/pod/memory.current": "700\n",
            f"{GROUPS}/pod/memory.stat": "anon 5\ninactive_file 200\n",
            f"{GROUPS}/pod/node/memory.max": "max\n",
        },
    )
    share = own_share(root)
    assert share.quota is not None
    assert share.quota.cores == 0.5
    assert share.quota.period_s == pytest.approx(0.1)
    assert share.quota.used_s() == 2.5
    assert share.quota.throttled_s() == 1.5
    assert [(limit.limit, limit.free()) for limit in share.memory] == [(1000, 500)]


@pytest.mark.parametrize(("root", "own"), [("/", "/docker/abc"), ("/docker/abc", "/docker/abc")])
def test_version_1(tmp_path: Path, root: str, own: str) -> None:
    below = own.removeprefix(root.rstrip("/"))
    cpu, memory = f"{GROUPS}/cpu,cpuacct{below}", f"{GROUPS}/memory{below}"
    found = own_share(
        machine(
            tmp_path,
            VERSION_1.replace("{root}", root),
            f"2:cpu,cpuacct:{own}\n1:memory:{own}\n",
            {
                f"{GROUPS}/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                f"{GROUPS}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                f"{cpu}/cpu.cfs_quota_us": "150000\n",
                f"{cpu}/cpu.cfs_period_us": "100000\n",
                f"{cpu}/cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 250000000\n",
                f"{cpu}/cpuacct.usage": "3000000000\n",
                f"{GROUPS}/memory/memory.limit_in_bytes": NO_LIMIT,
                f"{memory}/memory.limit_in_bytes": "4096\n",
                f"{memory}/memory.usage_in_bytes": "5000\n",
                f"{memory}/memory.stat": "cache 7\ntotal_inactive_file 1000\n",
            },
        )
    )
    assert found.quota is not None
    assert (found.quota.cores, found.quota.used_s(), found.quota.throttled_s()) == (1.5, 3.0, 0.25)
    assert (4096, 96) in [(limit.limit, limit.free()) for limit in found.memory if limit.limit < int(NO_LIMIT)]


@pytest.mark.parametrize(("account", "used"), [("/half", 7.0), ("/", None)])
def test_version_1_where_use_is_counted_elsewhere(tmp_path: Path, account: str, used: float | None) -> None:
    """It may be the same group there, or one that counts others too."""
    root = machine(
        tmp_path,
        APART,
        f"2:cpuacct:{account}\n1:cpu:/half\n",
        {
            f"{GROUPS}/cpu/half/cpu.cfs_quota_us": "50000\n",
            f"{GROUPS}/cpu/half/cpu.cfs_period_us": "100000\n",
            f"{GROUPS}/cpu/half/cpu.stat": "throttled_time 0\n",
            f"{GROUPS}/cpuacct/half/cpuacct.usage": "7000000000\n",
            f"{GROUPS}/cpuacct/cpuacct.usage": "99000000000\n",
        },
    )
    quota = own_share(root).quota
    assert quota is not None
    assert quota.used_s() == used


@pytest.mark.parametrize(
    ("mountinfo", "own"), [(VERSION_2, "0::/../outside\n"), ("", ""), ("nonsense\n", "nonsense\n"), (VERSION_2, "")]
)
def test_where_nothing_can_be_told_nothing_bounds(tmp_path: Path, mountinfo: str, own: str) -> None:
    share = own_share(machine(tmp_path, mountinfo, own, {}))
    assert (share.quota, share.memory) == (None, ())


def test_a_machine_without_proc_has_no_bound(tmp_path: Path) -> None:
    assert own_share(tmp_path).quota is None


REPORT = """
import os, sys
from pathlib import Path
for group in sys.argv[1:]:
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
from testmesh.testing.cgroup_share import own_share
quota = own_share().quota
print(quota.cores, quota.used_s() is not None, quota.throttled_s() >= 0)
"""


def test_a_process_finds_the_quota_of_the_real_group_it_was_put_into(tmp_path: Path) -> None:
    name = f"testmesh-test-{os.getpid()}"
    version_1 = [Path(GROUPS) / controller / name for controller in ("cpu", "cpuacct")]
    version_2 = [Path(GROUPS) / name]
    is_version_1 = version_1[0].parent.is_dir()
    groups = list(dict.fromkeys(path.resolve() for path in (version_1 if is_version_1 else version_2)))
    made = []
    try:
        try:
            for group in groups:
                group.mkdir()
                made.append(group)
            if is_version_1:
                (groups[0] / "cpu.cfs_quota_us").write_text("50000")
            else:
                (groups[0] / "cpu.max").write_text("50000 100000")
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
        done = subprocess.run(
            [sys.executable, "-c", REPORT, *map(str, groups)], capture_output=True, text=True, env=environ, check=False
        )
        assert done.stdout.split() == ["0.5", "True", "True"], done.stderr
    finally:
        for group in made:
            group.rmdir()
