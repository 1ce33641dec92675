"""Control groups: which there are, on texts; how they are made, on a model of the kernel's files; and real ones."""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from testmesh.testing import cgroups
from testmesh.testing.cgroup_mounts import find
from testmesh.testing.cgroups import Groups, enter, home_name, make_home, remove, sweep, was_over

MIB = 1024 * 1024

# Which there are -----------------------------------------------------------------------------

V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
"""
V2_BESIDE = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
IN_DOCKER_1 = "99 90 0:32 /docker/ab /sys/fs/cgroup/memory ro,nosuid master:3 - cgroup cgroup rw,memory\n"
IN_DOCKER_2 = "99 90 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"
FOUND = {
    "version 1": (
        V1,
        "4:memory:/a/b\n3:cpu,cpuacct:/\n8:pids:/\n",
        [(1, "/sys/fs/cgroup/memory/a/b", ("memory",), False), (1, "/sys/fs/cgroup/pids", ("processes",), False)],
    ),
    "version 2": (V2, "0::/user.slice/a\n", [(2, "/sys/fs/cgroup/user.slice/a", ("memory", "processes"), False)]),
    "version 2, at its root": (V2, "0::/\n", [(2, "/sys/fs/cgroup", ("memory", "processes"), False)]),
    "both, version 1 has the controllers": (
        V1 + V2_BESIDE,
        "8:pids:/p\n4:memory:/m\n0::/\n",
        [(1, "/sys/fs/cgroup/memory/m", ("memory",), False), (1, "/sys/fs/cgroup/pids/p", ("processes",), False)],
    ),
    "both, each has one": (
        V1.replace("rw,memory", "rw,devices") + V2_BESIDE,
        "8:pids:/p\n0::/u\n",
        [(1, "/sys/fs/cgroup/pids/p", ("processes",), False), (2, "/sys/fs/cgroup/unified/u", ("memory",), False)],
    ),
    "two controllers in one hierarchy": (
        "35 31 0:32 / /cg rw - cgroup none rw,cpu,memory,pids\n",
        "4:cpu,memory,pids:/x\n",
        [(1, "/cg/x", ("memory", "processes"), False)],
    ),
    "a container of version 1": (
        IN_DOCKER_1,
        "4:memory:/docker/ab\n",
        [(1, "/sys/fs/cgroup/memory", ("memory",), True)],
    ),
    "a container of version 2": (IN_DOCKER_2, "0::/\n", [(2, "/sys/fs/cgroup", ("memory", "processes"), True)]),
    "mounted twice, writable once": (
        IN_DOCKER_2 + V2.replace("/sys/fs/cgroup", "/cg"),
        "0::/\n",
        [(2, "/cg", ("memory", "processes"), False)],
    ),
    "another's part is mounted": (IN_DOCKER_1, "4:memory:/docker/abc\n", []),
    "its own group is out of sight": (V2, "0::/../../x\n", []),
    "a space in the path": (
        V2.replace("/sys/fs/cgroup", "/a\\040b"),
        "0::/x\n",
        [(2, "/a b/x", ("memory", "processes"), False)],
    ),
    "none mounted": ("22 1 8:1 / / rw - ext4 /dev/sda rw\n", "0::/\n", []),
    "nothing": ("", "", []),
}


@pytest.mark.parametrize(("mountinfo", "own", "expected"), FOUND.values(), ids=FOUND)
def test_what_there_is(mountinfo: str, own: str, expected: list[object]) -> None:
    found = find(mountinfo, own)
    assert [(each.version, each.folder, each.limits, each.is_read_only) for each in found] == expected


# How they are made ---------------------------------------------------------------------------

FILES_1 = {"memory": ["memory.limit_in_bytes"], "pids": ["pids.max"]}
FILES_2 = {"memory": ["memory.max", "memory.swap.max", "memory.oom.group"], "pids": ["pids.max"]}


class Kernel:
    """The files of control groups as the kernel keeps them, in a temporary folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.mountinfo = self.own = ""
        self.refused: dict[str, int] = {}  # errno for what ends so
        changed = {"mkdir": self.mkdir, "rmdir": self.rmdir, "kill": self.kill}
        monkeypatch.setattr(cgroups, "os", SimpleNamespace(**(vars(os) | changed)))
        monkeypatch.setattr(cgroups, "_write", self.write)

    def mount(self, version: int, name: str, group: str) -> Path:
        """A hierarchy whose root group has all controllers; the node is in `group`."""
        point = self.folder / name
        kind, options = ("cgroup", f"rw,{name}") if version == 1 else ("cgroup2", "rw")
        self.mountinfo += f"1 1 0:1 / {point} rw - {kind} none {options}\n"
        self.own += f"1:{name if version == 1 else ''}:/{group}\n"
        point.mkdir()
        (point / "cgroup.procs").touch()
        if version == 2:
            (point / "cgroup.controllers").write_text("cpu memory pids")
            (point / "cgroup.subtree_control").write_text("memory pids")
        self.mkdir(str(point / group))
        return point / group

    def mkdir(self, path: str) -> None:
        self.check(path)
        group = Path(path)
        group.mkdir()
        (group / "cgroup.procs").touch()
        names = next(part for part in group.relative_to(self.folder).parts)
        if names in FILES_1:
            files = FILES_1[names]
        else:
            given = (group.parent / "cgroup.subtree_control").read_text().split()
            (group / "cgroup.controllers").write_text(" ".join(given))
            (group / "cgroup.subtree_control").touch()
            files = [file for controller in given for file in FILES_2[controller]]
        for file in files:
            (group / file).write_text("max")

    def rmdir(self, path: str) -> None:
        group = Path(path)
        if (group / "cgroup.procs").read_text() or any(entry.is_dir() for entry in group.iterdir()):
            raise OSError(errno.EBUSY, "busy")
        for entry in group.iterdir():
            entry.unlink()
        group.rmdir()

    def write(self, path: str, text: str) -> None:
        self.check(path)
        file = Path(path)
        if not file.exists():
            raise FileNotFoundError(errno.ENOENT, path)
        if file.name == "cgroup.procs":
            self.put(file.parent, int(text))
        elif file.name == "cgroup.subtree_control":
            if (file.parent / "cgroup.procs").read_text():
                raise OSError(errno.EBUSY, "Device or resource busy")
            file.write_text(text.replace("+", ""))
        else:
            file.write_text(text)

    def put(self, group: Path, *pids: int) -> None:
        """Also takes them out of the group of the same hierarchy where they were."""
        top = self.folder / group.relative_to(self.folder).parts[0]
        for file in top.rglob("cgroup.procs"):
            file.write_text("".join(f"{pid}\n" for pid in map(int, file.read_text().split()) if pid not in pids))
        with (group / "cgroup.procs").open("a") as file_of_group:
            file_of_group.writelines(f"{pid}\n" for pid in pids)

    def kill(self, pid: int, number: int) -> None:
        assert number == signal.SIGKILL
        assert pid > 0
        for file in self.folder.rglob("cgroup.procs"):
            file.write_text("".join(line for line in file.read_text().splitlines(True) if int(line) != pid))

    def check(self, path: str) -> None:
        for end, number in self.refused.items():
            if path.endswith(end):
                raise OSError(number, os.strerror(number))

    def groups(self) -> set[str]:
        return {str(path.parent.relative_to(self.folder)) for path in self.folder.rglob("cgroup.procs")}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def pids_in(group: Path) -> list[int]:
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


def made(home: tuple[Groups | None, str]) -> Groups:
    assert home[0] is not None, home[1]
    return home[0]


def test_a_run_is_limited_in_every_hierarchy_of_version_1(kernel: Kernel) -> None:
    memory, pids = kernel.mount(1, "memory", "own"), kernel.mount(1, "pids", "own")
    home, cause = make_home("home", kernel.mountinfo, kernel.own, 1)
    assert cause == ""
    assert made((home, cause)).limits == {"memory", "processes"}
    group = enter(made((home, cause)), "run", 77, memory=5 * MIB, processes=9)
    assert (memory / "home/run/memory.limit_in_bytes").read_text() == str(5 * MIB)
    assert (pids / "home/run/pids.max").read_text() == "9"
    assert pids_in(memory / "home/run") == pids_in(pids / "home/run") == [77]
    assert remove(group)
    assert kernel.groups() == {"memory", "pids", "memory/own", "pids/own", "memory/own/home", "pids/own/home"}


def test_version_2_gives_both_limits_in_one_group(kernel: Kernel) -> None:
    own = kernel.mount(2, "unified", "own")
    home, cause = make_home("home", kernel.mountinfo, kernel.own, 1)
    assert cause == ""
    enter(made((home, cause)), "run", 77, memory=5 * MIB, processes=9)
    written = {name: (own / "home/run" / name).read_text() for name in (*FILES_2["memory"], *FILES_2["pids"])}
    assert written == {
        "memory.max": str(5 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "9",
    }
    assert pids_in(own / "home/run") == [77]


def test_a_home_survives_being_sent_as_json(kernel: Kernel) -> None:
    kernel.mount(2, "unified", "own")
    home = made(make_home("home", kernel.mountinfo, kernel.own, 1))
    again = Groups(tuple(folder) for folder in [[*each] for each in home.folders])  # type: ignore[misc]
    assert again.folders == home.folders


def test_a_node_alone_in_its_group_moves_into_a_leaf(kernel: Kernel) -> None:
    own = kernel.mount(2, "unified", "own")
    kernel.put(own, os.getpid())
    home, cause = make_home("home", kernel.mountinfo, kernel.own, os.getpid())
    assert cause == ""
    assert pids_in(own) == []
    assert pids_in(own / "home-node") == [os.getpid()]
    assert made((home, cause)).limits == {"memory", "processes"}


def test_a_node_that_starts_again_in_its_leaf_makes_its_home_above(kernel: Kernel) -> None:
    own = kernel.mount(2, "unified", "own")
    kernel.put(own, os.getpid())
    made(make_home("testmesh-1-2-3", kernel.mountinfo, kernel.own, os.getpid()))
    in_leaf = kernel.own.replace("/own", "/own/testmesh-1-2-3-node")
    home, cause = make_home("testmesh-1-4-5", kernel.mountinfo, in_leaf, os.getpid())
    assert cause == ""
    assert [path for _, path, _ in made((home, cause)).folders] == [str(own / "testmesh-1-4-5")]
    assert pids_in(own / "testmesh-1-2-3-node") == [os.getpid()]


def test_others_in_its_group_are_never_moved(kernel: Kernel) -> None:
    own = kernel.mount(2, "unified", "own")
    kernel.put(own, os.getpid(), os.getppid())
    home, cause = make_home("home", kernel.mountinfo, kernel.own, os.getpid())
    assert home is None
    assert "Delegate=yes" in cause
    assert sorted(pids_in(own)) == sorted([os.getpid(), os.getppid()])
    assert kernel.groups() == {"unified", "unified/own"}


def test_a_move_that_does_not_help_is_undone(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    own = kernel.mount(2, "unified", "own")
    kernel.put(own, os.getpid())
    kernel.refused["own/cgroup.subtree_control"] = errno.EBUSY
    home, cause = make_home("home", kernel.mountinfo, kernel.own, os.getpid())
    assert home is None
    assert cause
    assert pids_in(own) == [os.getpid()]
    assert kernel.groups() == {"unified", "unified/own"}


def test_a_controller_that_is_not_given_is_said(kernel: Kernel) -> None:
    own = kernel.mount(2, "unified", "own")
    (own / "cgroup.controllers").write_text("cpu pids")
    home, cause = make_home("home", kernel.mountinfo, kernel.own, 1)
    assert made((home, cause)).limits == {"processes"}
    assert cause.startswith("no limit by control groups of memory: ")
    (own / "cgroup.controllers").write_text("cpu")
    home, cause = make_home("other", kernel.mountinfo, kernel.own, 1)
    assert home is None
    assert "memory and processes" in cause


@pytest.mark.parametrize(("number", "said"), [(errno.EACCES, "Delegate=yes"), (errno.EROFS, "writable-cgroups=true")])
def test_why_there_is_no_home(kernel: Kernel, number: int, said: str) -> None:
    kernel.mount(1, "memory", "own")
    kernel.refused["/home"] = number
    home, cause = make_home("home", kernel.mountinfo, kernel.own, 1)
    assert home is None
    assert said in cause
    assert "processes: no control groups for that are mounted here" in cause


def test_read_only_groups_are_left_alone(kernel: Kernel) -> None:
    kernel.mount(2, "unified", "own")
    home, cause = make_home("home", kernel.mountinfo.replace(" rw - ", " ro - "), kernel.own, 1)
    assert home is None
    assert "read-only" in cause
    assert kernel.groups() == {"unified", "unified/own"}


def test_a_run_that_cannot_be_limited_leaves_nothing(kernel: Kernel) -> None:
    memory, _ = kernel.mount(1, "memory", "own"), kernel.mount(1, "pids", "own")
    home = made(make_home("home", kernel.mountinfo, kernel.own, 1))
    kernel.put(memory, 77)
    before = kernel.groups()
    kernel.refused["run/pids.max"] = errno.EINVAL
    with pytest.raises(OSError):
        enter(home, "run", 77, 5 * MIB, 9)
    assert kernel.groups() == before
    assert pids_in(memory) == [77]


def test_what_is_left_in_a_run_is_killed_with_groups_below_it(kernel: Kernel) -> None:
    own = kernel.mount(2, "unified", "own")
    group = enter(made(make_home("home", kernel.mountinfo, kernel.own, 1)), "run", 77, 5 * MIB, 9)
    kernel.mkdir(str(own / "home/run/below"))
    kernel.put(own / "home/run/below", 78)
    assert remove(group)
    assert remove(group)  # a second time is fine
    assert kernel.groups() == {"unified", "unified/own", "unified/own/home"}


EVENTS = {
    "nothing": (2, {}, ""),
    "version 2, killed": (2, {"memory.events": "low 0\noom 1\noom_kill 3\n"}, "memory"),
    "version 2, killed as the machine was short": (2, {"memory.events": "oom 0\noom_kill 1\n"}, ""),
    "version 2, memory was refused only": (2, {"memory.events": "oom 4\noom_kill 0\n"}, ""),
    "version 2, processes": (2, {"pids.events": "max 5\n"}, "processes"),
    "version 2, full": (2, {"pids.events": "max 5\n", "pids.peak": "9"}, "processes"),
    "version 2, a group above was full": (2, {"pids.events": "max 5\n", "pids.peak": "4"}, ""),
    "both": (2, {"memory.events": "oom 1\noom_kill 1\n", "pids.events": "max 1\n"}, "memory"),
    "version 1, killed": (
        1,
        {"memory.oom_control": "under_oom 0\noom_kill 1\n", "memory.max_usage_in_bytes": str(5 * MIB)},
        "memory",
    ),
    "version 1, killed as the machine was short": (
        1,
        {"memory.oom_control": "oom_kill 1\n", "memory.max_usage_in_bytes": str(2 * MIB)},
        "",
    ),
    "version 1, an old kernel": (1, {"memory.oom_control": "under_oom 1\n"}, ""),
}


@pytest.mark.parametrize(("version", "files", "over"), EVENTS.values(), ids=EVENTS)
def test_what_a_run_was_over(kernel: Kernel, version: int, files: dict[str, str], over: str) -> None:
    own = kernel.mount(version, "memory" if version == 1 else "unified", "own")
    group = enter(made(make_home("home", kernel.mountinfo, kernel.own, 1)), "run", 77, 5 * MIB, 9)
    for name, text in files.items():
        (own / "home/run" / name).write_text(text)
    assert was_over(group) == over


def test_only_homes_of_dead_nodes_are_swept(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> None:
    proc = tmp_path_factory.mktemp("proc")
    for name, start in (("10", 500), ("11", 600), ("self", 1)):
        (proc / name / "ns").mkdir(parents=True)
        (proc / name / "stat").write_text(f"{name} (a) b) S {' '.join('0' for _ in range(18))} {start} 0\n")
        (proc / name / "ns" / "pid").touch()
    same, other = (proc / "self/ns/pid").stat().st_ino, (proc / "10/ns/pid").stat().st_ino
    lives, again, dead = f"testmesh-{same}-10-500", f"testmesh-{same}-11-599", f"testmesh-{same}-12-500"
    elsewhere = f"testmesh-{other}-12-500"
    assert home_name(10, str(proc)) == f"testmesh-{other}-10-500"
    memory = kernel.mount(1, "memory", "own")
    names = (lives, again, dead, elsewhere, f"{dead}-node", "testmesh-x", "another")
    for name in names:
        kernel.mkdir(str(memory / name))
    kernel.mkdir(str(memory / dead / "run"))
    kernel.put(memory / dead / "run", 78)
    sweep(kernel.mountinfo, kernel.own, str(proc))
    assert kernel.groups() == {"memory", "memory/own"} | {
        f"memory/own/{name}" for name in (lives, elsewhere, "testmesh-x", "another")
    }


# That they limit -----------------------------------------------------------------------------


def read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8") if Path(path).exists() else ""


@pytest.fixture
def real_home(request: pytest.FixtureRequest) -> Iterator[Groups]:
    home, cause = make_home(
        f"{home_name(os.getpid())}-test", read("/proc/self/mountinfo"), read("/proc/self/cgroup"), node=0
    )
    if home is None:
        pytest.skip(f"needs control groups: {cause}")
    yield home
    assert remove(home)
    assert not [path for _, path, _ in home.folders if Path(path).exists()]


def start(action: Callable[[], None]) -> tuple[int, int]:
    """A process that does `action` once the pipe is closed: its id and the pipe."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writing)
            os.read(reading, 1)
            action()
        finally:
            os._exit(0)
    os.close(reading)
    return pid, writing


def take(size: int) -> None:
    assert len(bytearray(size)) == size


def test_too_much_memory_kills(real_home: Groups) -> None:
    if "memory" not in real_home.limits:
        pytest.skip("this machine's control groups do not limit memory here")
    pid, go = start(lambda: take(300 * MIB))
    group = enter(real_home, "run", pid, memory=100 * MIB, processes=20)
    assert was_over(group) == ""
    os.close(go)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert was_over(group) == "memory"
    assert remove(group)


def test_enough_memory_does_not(real_home: Groups) -> None:
    pid, go = start(lambda: take(50 * MIB))
    group = enter(real_home, "run", pid, memory=100 * MIB, processes=20)
    os.close(go)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert was_over(group) == ""
    assert remove(group)


def test_a_fork_bomb_is_held_and_removed(real_home: Groups) -> None:
    if "processes" not in real_home.limits:
        pytest.skip("this machine's control groups do not limit processes here")

    def bomb() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                os.fork()
            except OSError:
                signal.pause()

    pid, go = start(bomb)
    group = enter(real_home, "run", pid, memory=1024 * MIB, processes=20)
    os.close(go)
    end = time.monotonic() + 60
    while was_over(group) != "processes":
        assert time.monotonic() < end
        time.sleep(0.01)
    folder = next(path for _, path, limits in group.folders if "processes" in limits)
    assert len((Path(folder) / "cgroup.procs").read_text().split()) <= 20
    assert remove(group)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
