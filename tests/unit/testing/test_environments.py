import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from testmesh.clock import FakeClock
from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.testing.boxed_command import BoxedCommandRunner
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.environment_shelf import Environment
from testmesh.testing.environments import LOW_FREE, MIN_FREE, CacheEvent, EnvironmentCache
from testmesh.testing.installers import Installation, InstallTimeoutError, find_installer
from testmesh.testing.interpreters import Interpreters, running_interpreter
from testmesh.testing.machine_files import interpreter_folders
from testmesh.testing.package_cache import PackageCache
from testmesh.testing.project_files import FolderFiles
from testmesh.testing.requirement_lines import LocalPath
from testmesh.testing.requirements import RequirementSet, read_requirements
from testmesh.testing.run_command import CommandDispatcher, CommandRunner, RunCommand
from tests.support.boxes import BoxesOf
from tests.support.commands import RecordedCommands
from tests.support.fake_installer import FakeInstaller
from tests.support.wheels import make_project, make_wheel

PLAIN = RequirementSet(("pytest",))


@pytest.fixture
def links(tmp_path: Path) -> Path:
    make_wheel(tmp_path / "links", "pytest", "9.9")
    make_wheel(tmp_path / "links", "alpha", "1.0")
    return tmp_path / "links"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project", "own")


@pytest.fixture
def runner() -> Iterator[CommandRunner]:
    runner = CommandRunner()
    yield runner
    runner.close()


@pytest.fixture
def installer(links: Path) -> FakeInstaller:
    return FakeInstaller(links)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(tmp_path: Path, installer: FakeInstaller, runner: CommandRunner, clock: FakeClock) -> EnvironmentCache:
    return EnvironmentCache(tmp_path / "environments", installer, runner, clock)


def real_cache(tmp_path: Path, links: Path, runner: RunCommand) -> EnvironmentCache:
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}
    found = find_installer(tmp_path / "packages", {"PATH": os.environ["PATH"], **index}, runner)
    return EnvironmentCache(tmp_path / "environments", found, runner, FakeClock())


def says(environment: Environment, code: str) -> str:
    argv = [str(environment.python), "-I", "-c", code]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def test_an_environment_is_built_once_and_found_again(
    cache: EnvironmentCache, installer: FakeInstaller, project: Path
) -> None:
    built = cache.prepare(project, PLAIN, 60)
    assert cache.prepare(project, PLAIN, 60) == built
    assert cache.peek(cache.key(project, PLAIN)) == built
    assert len(installer.installed) == 1
    assert (built.version, built.pytest) == (running_interpreter().version, "9.9")
    assert built.python.parent == built.bin_dir


def test_every_look_and_every_build_is_told_once(
    tmp_path: Path, installer: FakeInstaller, runner: CommandRunner, project: Path
) -> None:
    told: list[CacheEvent] = []
    cache = EnvironmentCache(tmp_path / "environments", installer, runner, FakeClock(), told=told.append)
    cache.prepare(project, PLAIN, 60)
    cache.prepare(project, PLAIN, 60)
    missing = RequirementSet(("pytest", "no-such-package"))
    for _ in range(2):  # the second time it is remembered
        with pytest.raises(EnvironmentFailedError):
            cache.prepare(project, missing, 60)
    first, second = [CacheEvent.MISS, CacheEvent.BUILT, CacheEvent.HIT], [CacheEvent.MISS, CacheEvent.FAILED]
    assert told == [*first, *second, CacheEvent.MISS]


def test_nothing_is_left_beside_a_ready_environment(cache: EnvironmentCache, tmp_path: Path, project: Path) -> None:
    built = cache.prepare(project, replace(PLAIN, paths=()), 60)
    assert sorted(p.name for p in built.bin_dir.parents[1].iterdir()) == ["env"]
    ready = json.loads((tmp_path / "environments" / built.key / "ready.json").read_text())
    assert ready["created_at"] == FakeClock().wall()


def test_the_last_use_is_on_the_marker(
    cache: EnvironmentCache, clock: FakeClock, tmp_path: Path, project: Path
) -> None:
    built = cache.prepare(project, PLAIN, 60)
    clock.advance(500)
    cache.prepare(project, PLAIN, 60)
    assert (tmp_path / "environments" / built.key / "ready.json").stat().st_mtime == clock.wall()


def test_the_key_covers_all_that_is_installed(cache: EnvironmentCache, project: Path, tmp_path: Path) -> None:
    own = replace(PLAIN, paths=(LocalPath("."),))
    keys = {
        cache.key(project, each)
        for each in (
            PLAIN,
            RequirementSet(("alpha", "pytest")),
            replace(PLAIN, constraints=("alpha<2",)),
            own,
            replace(own, paths=(LocalPath(".", ("test",)),)),
        )
    }
    (project / "own.py").write_text("value = 2\n")
    keys.add(cache.key(project, own))
    (project / "own.py").chmod(0o755)
    keys.add(cache.key(project, own))
    (project / "own.py").rename(project / "other.py")
    keys.add(cache.key(project, own))
    assert len(keys) == 8


def test_the_key_leaves_out_what_is_not_installed(cache: EnvironmentCache, project: Path, tmp_path: Path) -> None:
    own = replace(PLAIN, paths=(LocalPath("."),))
    plain, whole = cache.key(project, PLAIN), cache.key(project, own)
    (project / "__pycache__").mkdir()
    (project / "__pycache__" / "own.pyc").write_bytes(b"1")
    make_project(project / "venv" / "lib", "other")
    (project / "venv" / "pyvenv.cfg").write_text("")
    assert cache.key(project, own) == whole
    (project / "own.py").write_text("value = 2\n")
    assert cache.key(project, PLAIN) == plain


def test_a_hit_runs_nothing(tmp_path: Path, installer: FakeInstaller, runner: CommandRunner, project: Path) -> None:
    commands = RecordedCommands(runner)
    cache = EnvironmentCache(tmp_path / "environments", installer, commands, FakeClock())
    cache.prepare(project, PLAIN, 60)
    built = len(commands.commands)
    again = EnvironmentCache(tmp_path / "environments", installer, commands, FakeClock())
    for each in (cache, again):
        each.prepare(project, PLAIN, 60)
    assert (len(commands.commands), len(installer.installed)) == (built, 1)


def test_what_runs_installed_code_is_boxed(
    tmp_path: Path, installer: FakeInstaller, runner: CommandRunner, project: Path
) -> None:
    commands = RecordedCommands(runner)
    built = EnvironmentCache(tmp_path / "environments", installer, commands, FakeClock()).prepare(project, PLAIN, 60)
    attempt = built.bin_dir.parents[1]
    assert commands.commands
    for command in commands.commands:
        assert command.foreign
        assert command.writable == (attempt / "env" / "lib", attempt / "check")
        assert command.readable == (*built.readable, attempt / "env")


def test_no_module_has_to_compile_anything(cache: EnvironmentCache, project: Path) -> None:
    built = cache.prepare(project, RequirementSet(("alpha", "pytest")), 60)
    compiled = {file.name.partition(".")[0] for file in built.bin_dir.parent.rglob("__pycache__/*.pyc")}
    assert {"alpha", "pytest"} <= compiled


@pytest.fixture
def later() -> list[Callable[[], None]]:
    return []


@pytest.fixture
def quick(
    tmp_path: Path, links: Path, runner: CommandRunner, later: list[Callable[[], None]]
) -> tuple[EnvironmentCache, RecordedCommands]:
    """A cache that leaves the bytecode for later."""
    (links / "pytest-9.9-py3-none-any.whl").unlink()
    make_wheel(links, "pytest", "9.9", installed("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"))
    commands = RecordedCommands(runner)
    folder = tmp_path / "environments"
    return EnvironmentCache(folder, FakeInstaller(links), commands, FakeClock(), later=later.append), commands


def bytecode(environment: Environment) -> list[Path]:
    return list(environment.bin_dir.parent.rglob("__pycache__/*.pyc"))


def test_bytecode_that_is_written_later_keeps_nobody_waiting(
    quick: tuple[EnvironmentCache, RecordedCommands], later: list[Callable[[], None]], project: Path
) -> None:
    cache, commands = quick
    built = cache.prepare(project, RequirementSet(("alpha", "pytest")), 60)
    assert (commands.commands, bytecode(built), built.compiled, built.pytest) == ([], [], False, "9.9")
    assert later == []
    for _ in range(2):
        cache.complete(cache.prepare(project, RequirementSet(("alpha", "pytest")), 60))
    assert len(later) == 1  # however often it is asked for

    later.pop()()

    found = cache.prepare(project, RequirementSet(("alpha", "pytest")), 60)
    assert (found, found.compiled, later) == (built, True, [])
    assert {"alpha", "_caller"} <= {file.name.partition(".")[0] for file in bytecode(found)}
    assert [p.name for p in found.bin_dir.parents[1].iterdir()] == ["env"]


def test_bytecode_that_could_not_be_written_is_tried_again_with_the_next_use(
    quick: tuple[EnvironmentCache, RecordedCommands], later: list[Callable[[], None]], project: Path
) -> None:
    cache, commands = quick
    built = cache.prepare(project, PLAIN, 60)
    commands.error = InfrastructureError("this node is stopping")
    cache.complete(built)
    later.pop()()
    assert not cache.prepare(project, PLAIN, 60).compiled
    commands.error = None
    cache.complete(built)
    later.pop()()
    assert cache.prepare(project, PLAIN, 60).compiled
    assert bytecode(built)


def test_what_spoils_itself_while_it_is_compiled_is_made_again(
    quick: tuple[EnvironmentCache, RecordedCommands], later: list[Callable[[], None]], project: Path
) -> None:
    cache, _ = quick
    built = cache.prepare(project, PLAIN, 60)
    os.link(built.bin_dir.parent / "pyvenv.cfg", built.bin_dir.parent / "lib" / "linked")
    cache.complete(built)
    later.pop()()
    again = cache.prepare(project, PLAIN, 60)
    assert again.python != built.python
    assert not (again.bin_dir.parent / "lib" / "linked").exists()


def test_plugins_are_compiled_as_pytest_rewrites_them(
    tmp_path: Path, links: Path, runner: CommandRunner, project: Path
) -> None:
    make_wheel(
        links,
        "plug",
        "1.0",
        {
            "plug.py": "def helper():\n    assert True\n",
            "plug-1.0.dist-info/entry_points.txt": "[pytest11]\nplug = plug\n",
        },
    )
    (links / "pytest-9.9-py3-none-any.whl").unlink()
    make_wheel(
        links, "pytest", "9.9", installed("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
    )
    cache = EnvironmentCache(tmp_path / "environments", FakeInstaller(links), runner, FakeClock())
    built = cache.prepare(project, RequirementSet(("plug", "pytest")), 60)
    assert list(built.bin_dir.parent.rglob("__pycache__/plug.*-pytest-*.pyc"))


def installed(*names: str) -> dict[str, str]:
    """The Python files of packages and modules that this interpreter has."""
    files = {}
    for name in names:
        file = Path(str(import_module(name).__file__))
        for each in file.parent.rglob("*.py") if file.name == "__init__.py" else [file]:
            place = each.relative_to(file.parent.parent if file.name == "__init__.py" else file.parent)
            files[place.as_posix()] = each.read_text(encoding="utf-8")
    return files


def test_an_environment_is_open_to_other_users_whatever_the_umask(
    cache: EnvironmentCache, project: Path, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        built = cache.prepare(project, PLAIN, 60)
    finally:
        os.umask(before)
    environment = built.bin_dir.parent
    for path in (tmp_path / "environments", environment.parents[1], environment.parent, *environment.rglob("*")):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 in ((0o755,) if path.is_dir() else (0o644, 0o755)), path


SIZE = 1_000_000  # bytes, far above what an environment of the fake installer has by itself


@pytest.fixture
def small(
    tmp_path: Path, links: Path, installer: FakeInstaller, runner: CommandRunner, clock: FakeClock
) -> EnvironmentCache:
    """There is room for two environments with one of these packages."""
    for name in ("big", "large", "huge"):
        make_wheel(links, name, "1.0", {f"{name}.py": "", f"{name}.txt": "x" * SIZE})
    return EnvironmentCache(tmp_path / "environments", installer, runner, clock, limit=SIZE * 5 // 2)


def of(name: str) -> RequirementSet:
    return RequirementSet((name, "pytest"))


def test_the_least_recently_used_environment_makes_room(
    small: EnvironmentCache, clock: FakeClock, installer: FakeInstaller, project: Path, tmp_path: Path
) -> None:
    keys = {name: small.key(project, of(name)) for name in ("big", "large", "huge")}
    for name in ("big", "large", "big", "huge"):
        clock.advance(10)
        small.prepare(project, of(name), 60)
    assert [small.peek(keys[name]) is None for name in ("big", "large", "huge")] == [False, True, False]
    assert {folder.name for folder in (tmp_path / "environments").iterdir()} == {keys["big"], keys["huge"]}
    assert small.prepare(project, of("large"), 60).python.exists()
    assert len(installer.installed) == 4


def test_a_leased_environment_is_not_evicted(small: EnvironmentCache, clock: FakeClock, project: Path) -> None:
    oldest = small.prepare(project, of("big"), 60)
    with small.lease(oldest, pytest.fail) as leased:
        for name in ("large", "huge"):
            clock.advance(10)
            small.prepare(project, of(name), 60)
        assert leased == oldest
        assert oldest.python.exists()
    clock.advance(10)
    small.prepare(project, of("large"), 60)
    clock.advance(10)
    small.prepare(project, of("huge"), 60)
    assert small.peek(oldest.key) is None or small.peek(small.key(project, of("large"))) is None


def test_a_lease_is_a_use(small: EnvironmentCache, clock: FakeClock, project: Path) -> None:
    first = small.prepare(project, of("big"), 60)
    clock.advance(10)
    second = small.prepare(project, of("large"), 60)
    clock.advance(10)
    with small.lease(first, pytest.fail):
        pass
    clock.advance(10)
    small.prepare(project, of("huge"), 60)
    assert small.peek(first.key) is not None
    assert small.peek(second.key) is None


def test_a_lease_of_what_was_evicted_has_it_built_again(
    small: EnvironmentCache, clock: FakeClock, project: Path
) -> None:
    evicted = small.prepare(project, of("big"), 60)
    for name in ("large", "huge"):
        clock.advance(10)
        small.prepare(project, of(name), 60)
    assert not evicted.python.exists()
    with small.lease(evicted, lambda: small.prepare(project, of("big"), 60)) as again:
        assert again.key == evicted.key
        assert says(again, "import big, pytest; print(pytest.version)") == "9.9"


def test_a_disk_that_is_nearly_full_makes_room_for_what_is_built(
    tmp_path: Path, links: Path, installer: FakeInstaller, runner: CommandRunner, clock: FakeClock, project: Path
) -> None:
    free = [2 * LOW_FREE]
    packages = PackageCache(tmp_path / "packages", 10**9, clock)
    packages.folder.mkdir()
    cache = EnvironmentCache(
        tmp_path / "environments", installer, runner, clock, free=lambda _: free[0], packages=packages
    )
    first = cache.prepare(project, PLAIN, 60)
    assert packages.folder.exists()
    free[0] = LOW_FREE - 1
    cache.prepare(project, RequirementSet(("alpha", "pytest")), 60)
    assert cache.peek(first.key) is None
    assert not packages.folder.exists()


def test_what_was_being_removed_goes_at_the_next_start(cache: EnvironmentCache, project: Path, tmp_path: Path) -> None:
    built = cache.prepare(project, PLAIN, 60)
    gone = tmp_path / "environments" / ".gone-1"
    gone.mkdir()
    (gone / "ready.json").write_text((tmp_path / "environments" / built.key / "ready.json").read_text())
    cache.sweep()
    assert not gone.exists()
    assert cache.peek(built.key) == built


class WaitingInstaller(FakeInstaller):
    """Its first installation goes on until it is cancelled."""

    def __init__(self, links: Path) -> None:
        super().__init__(links)
        self.has_begun = threading.Event()

    def install(self, wanted: Installation) -> None:
        if self.has_begun.is_set():
            super().install(wanted)
            return
        assert wanted.cancellation is not None
        cancelled = threading.Event()
        with wanted.cancellation.telling(cancelled.set):
            self.has_begun.set()
            assert cancelled.wait(60)
        raise CancelledError


def test_when_a_build_is_cancelled_who_waits_for_it_builds(
    tmp_path: Path, links: Path, runner: CommandRunner, project: Path
) -> None:
    waiting = WaitingInstaller(links)
    cache = EnvironmentCache(tmp_path / "environments", waiting, runner, FakeClock())
    cancellation = Cancellation()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.prepare, project, PLAIN, 60, cancellation)
        assert waiting.has_begun.wait(60)
        second = pool.submit(cache.prepare, project, PLAIN, 60, Cancellation())
        cancellation.cancel()
        with pytest.raises(CancelledError):
            first.result(60)
        assert second.result(60).pytest == "9.9"


def test_who_waits_can_be_cancelled_alone(tmp_path: Path, links: Path, runner: CommandRunner, project: Path) -> None:
    waiting = WaitingInstaller(links)
    cache = EnvironmentCache(tmp_path / "environments", waiting, runner, FakeClock())
    building, joining = Cancellation(), Cancellation()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.prepare, project, PLAIN, 60, building)
        assert waiting.has_begun.wait(60)
        second = pool.submit(cache.prepare, project, PLAIN, 60, joining)
        joining.cancel()
        with pytest.raises(CancelledError):
            second.result(60)
        assert not first.done()
        building.cancel()


def test_eight_threads_build_one_environment(cache: EnvironmentCache, installer: FakeInstaller, project: Path) -> None:
    together = threading.Barrier(8)

    def prepare(_: int) -> Environment:
        together.wait(30)
        return cache.prepare(project, PLAIN, 60)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(prepare, range(8)))) == 1
    assert len(installer.installed) == 1


def test_a_folder_without_its_marker_is_rebuilt(
    cache: EnvironmentCache, installer: FakeInstaller, project: Path, tmp_path: Path
) -> None:
    built = cache.prepare(project, PLAIN, 60)
    folder = tmp_path / "environments" / built.key
    (folder / "ready.json").unlink()
    site = next((built.bin_dir.parent / "lib").glob("*/site-packages"))
    (site / "pytest.py").unlink()
    assert cache.peek(built.key) is None
    assert says(cache.prepare(project, PLAIN, 60), "import pytest; print(pytest.version)") == "9.9"
    assert len(installer.installed) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"attempt": 1}'])
def test_a_damaged_marker_is_none(cache: EnvironmentCache, project: Path, tmp_path: Path, content: str) -> None:
    built = cache.prepare(project, PLAIN, 60)
    (tmp_path / "environments" / built.key / "ready.json").write_text(content)
    assert cache.peek(built.key) is None
    assert cache.prepare(project, PLAIN, 60).python.exists()


def test_the_sweep_keeps_what_is_ready_and_removes_the_rest(
    cache: EnvironmentCache, project: Path, tmp_path: Path
) -> None:
    built = cache.prepare(project, PLAIN, 60)
    (tmp_path / "environments" / "half" / "env").mkdir(parents=True)
    (tmp_path / "environments" / "stray").write_text("")
    cache.sweep()
    assert cache.peek(built.key) == built
    assert not (tmp_path / "environments" / "half").exists()


def test_a_failure_is_remembered_for_a_minute_and_leaves_nothing(
    cache: EnvironmentCache, installer: FakeInstaller, clock: FakeClock, project: Path, tmp_path: Path
) -> None:
    broken = RequirementSet(("alpha==9", "pytest"))
    for _ in range(40):
        with pytest.raises(EnvironmentFailedError, match="alpha==9"):
            cache.prepare(project, broken, 60)
    assert len(installer.installed) == 1
    assert list((tmp_path / "environments").iterdir()) == []
    clock.advance(61)
    with pytest.raises(EnvironmentFailedError):
        cache.prepare(project, broken, 60)
    assert len(installer.installed) == 2


def test_an_infrastructure_failure_is_not_remembered(tmp_path: Path, links: Path, project: Path) -> None:
    unreachable = FakeInstaller(links, is_reachable=False)
    cache = EnvironmentCache(tmp_path / "environments", unreachable, CommandRunner(), FakeClock())
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="out of reach"):
            cache.prepare(project, PLAIN, 60)
    assert len(unreachable.installed) == 2
    assert list((tmp_path / "environments").iterdir()) == []


class SlowInstaller(FakeInstaller):
    """Needs 100 s, as it says."""

    def install(self, wanted: Installation) -> None:
        super().install(wanted)
        if wanted.timeout_s < 100:
            raise InstallTimeoutError(wanted.timeout_s)


def test_who_gives_more_time_is_not_told_that_it_took_too_long(tmp_path: Path, links: Path, project: Path) -> None:
    slow = SlowInstaller(links)
    cache = EnvironmentCache(tmp_path / "environments", slow, CommandRunner(), FakeClock())
    for _ in range(2):
        with pytest.raises(EnvironmentFailedError, match="more than 50 s"):
            cache.prepare(project, PLAIN, 50)
    assert len(slow.installed) == 1
    assert cache.prepare(project, PLAIN, 200).pytest == "9.9"


class LateInstaller(FakeInstaller):
    """Takes `seconds` of the clock, and once says that the project cannot be packed."""

    def __init__(self, links: Path, clock: FakeClock, seconds: float) -> None:
        super().__init__(links)
        self._clock = clock
        self._seconds = seconds

    def install(self, wanted: Installation) -> None:
        self._clock.advance(self._seconds)
        super().install(wanted)
        if len(self.installed) == 1:
            raise EnvironmentFailedError("Multiple top-level packages")


def test_a_second_try_is_given_new_folders_and_what_is_left_of_the_time(
    tmp_path: Path, links: Path, runner: CommandRunner, clock: FakeClock, project: Path
) -> None:
    late = LateInstaller(links, clock, 20)
    cache = EnvironmentCache(tmp_path / "environments", late, runner, clock)
    built = cache.prepare(project, replace(PLAIN, without_project=RequirementSet(("alpha", "pytest"))), 60)
    first, second = late.installed
    assert (first.timeout_s, second.timeout_s, second.lines) == (60, 40, ("alpha", "pytest"))
    assert first.target.parent != second.target.parent
    assert not first.target.parent.exists()
    assert built.bin_dir.parent == second.target


def test_when_the_time_is_over_nothing_more_is_begun(
    tmp_path: Path, links: Path, runner: CommandRunner, clock: FakeClock, project: Path
) -> None:
    for seconds, begun in ((70, 1), (30, 2)):
        commands, late = RecordedCommands(runner), LateInstaller(links, clock, seconds)
        cache = EnvironmentCache(tmp_path / "environments", late, commands, clock)
        with pytest.raises(InstallTimeoutError, match="more than 60 s"):
            cache.prepare(project, replace(PLAIN, without_project=PLAIN), 60)
        assert (len(late.installed), commands.commands) == (begun, [])


def test_an_environment_whose_interpreter_is_gone_is_none(
    cache: EnvironmentCache, project: Path, tmp_path: Path
) -> None:
    built = cache.prepare(project, PLAIN, 60)
    marker = tmp_path / "environments" / built.key / "ready.json"
    ready = json.loads(marker.read_text())
    marker.write_text(json.dumps({**ready, "readable": [*ready["readable"], str(tmp_path / "gone")]}))
    assert cache.peek(built.key) is None


def test_a_full_disk_is_nobodys_fault(tmp_path: Path, links: Path, project: Path, runner: CommandRunner) -> None:
    full, enough = MIN_FREE - 1, MIN_FREE
    room = iter([full, full, enough, enough, full])
    cache = EnvironmentCache(
        tmp_path / "environments", FakeInstaller(links), runner, FakeClock(), free=lambda _: next(room)
    )
    with pytest.raises(InfrastructureError, match="disk is full"):
        cache.prepare(project, PLAIN, 60)
    with pytest.raises(InfrastructureError, match="filled up"):
        cache.prepare(project, RequirementSet(("alpha==9",)), 60)


def test_a_package_that_takes_pytests_place_is_the_projects_fault(
    cache: EnvironmentCache, links: Path, project: Path
) -> None:
    make_wheel(links, "pytest", "99", {"pytest.py": "raise ImportError('not the real one')"})
    with pytest.raises(EnvironmentFailedError, match="not the real one"):
        cache.prepare(project, PLAIN, 60)


def test_requires_python_chooses_the_interpreter_or_names_those_there(
    tmp_path: Path, installer: FakeInstaller, runner: CommandRunner, project: Path
) -> None:
    here = running_interpreter()
    old = replace(here, version="3.9.1", path=Path("/nowhere/python3.9"))
    cache = EnvironmentCache(
        tmp_path / "environments", installer, runner, FakeClock(), Interpreters([old], lambda: [here])
    )
    assert cache.prepare(project, replace(PLAIN, requires_python=">=3.10"), 60).version == here.version
    with pytest.raises(EnvironmentFailedError, match=f"3.9.1, {here.version}"):
        cache.prepare(project, replace(PLAIN, requires_python=">=4"), 60)


def test_a_project_is_installed_from_a_copy(tmp_path: Path, links: Path, project: Path, runner: CommandRunner) -> None:
    (project / "backend.py").write_text((project / "backend.py").read_text() + "\nopen('dirt', 'w').close()\n")
    requirements = read_requirements(FolderFiles(project), allow_vcs=False)
    built = real_cache(tmp_path, links, runner).prepare(project, requirements, 60)
    assert says(built, "import own; print(own.value)") == "1"
    assert not (project / "dirt").exists()


def test_a_folder_that_is_no_single_package_still_gets_its_dependencies(
    tmp_path: Path, links: Path, runner: CommandRunner
) -> None:
    project = make_project(tmp_path / "several", "own", build="raise SystemExit('Multiple top-level packages')")
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace("[build", 'dependencies = ["alpha"]\n[build'))
    requirements = read_requirements(FolderFiles(project), allow_vcs=False)
    built = real_cache(tmp_path, links, runner).prepare(project, requirements, 60)
    assert says(built, "import alpha; print(alpha.version)") == "1.0"


IN_ATTEMPT = "import os; attempt = os.path.dirname(os.path.dirname(os.environ['TMPDIR']))\n"


def boxed_cache(tmp_path: Path, links: Path, runner: CommandRunner, boxes_of: BoxesOf) -> EnvironmentCache:
    return real_cache(tmp_path, links, CommandDispatcher(runner, BoxedCommandRunner(boxes_of("full"))))


def test_a_build_cannot_have_the_second_try_write_elsewhere(
    tmp_path: Path, links: Path, runner: CommandRunner, boxes_of: BoxesOf
) -> None:
    """The second one begins unboxed, as the node, which may write anything."""
    victim = tmp_path / "victim"
    victim.write_text("the key of the node")
    build = f"""{IN_ATTEMPT}
for name in ("requirements.txt", "constraints.txt"):
    path = attempt + "/work/" + name
    os.path.lexists(path) and os.remove(path)
    os.symlink({str(victim)!r}, path)
raise SystemExit("Multiple top-level packages")
"""
    project = make_project(tmp_path / "several", "own", build=build)
    requirements = read_requirements(FolderFiles(project), allow_vcs=False)
    built = boxed_cache(tmp_path, links, runner, boxes_of).prepare(project, requirements, 60)
    assert says(built, "import pytest; print(pytest.version)") == "9.9"
    assert victim.read_text() == "the key of the node"


@pytest.mark.parametrize(
    "how",
    [
        "pass",
        "os.symlink('python', python)",
        "os.symlink('/bin/' + os.path.basename(os.path.realpath(sys.executable)), python)",
    ],
)
def test_a_build_that_replaces_python_changes_nothing_and_shows_no_more(
    tmp_path: Path, links: Path, runner: CommandRunner, boxes_of: BoxesOf, how: str
) -> None:
    build = (
        f"{IN_ATTEMPT}import sys\npython = attempt + '/env/bin/python'\n"
        f"os.path.lexists(python) and os.remove(python)\n{how}\n"
    )
    project = make_project(tmp_path / "own", "own", build=build)
    cache = boxed_cache(tmp_path, links, runner, boxes_of)
    built = cache.prepare(project, RequirementSet(("pytest",), paths=(LocalPath("."),)), 60)
    here = running_interpreter()
    assert built.python.readlink() == here.path
    assert set(map(str, built.readable)) == set(interpreter_folders(here.path, here.prefix))


NODE = """
import sys
from pathlib import Path
from testmesh.testing.requirements import RequirementSet
from tests.support.wheels import make_wheel
from tests.unit.testing import test_environments as here
from testmesh.testing.run_command import CommandRunner
from testmesh.testing.requirement_lines import LocalPath
work, links, project = map(Path, sys.argv[1:])
cache = here.real_cache(work, links, CommandRunner())
cache.prepare(project, RequirementSet(("pytest",), paths=(LocalPath("."),)), 60)
"""


def test_after_a_kill_in_an_installation_the_next_one_works(tmp_path: Path, links: Path, runner: CommandRunner) -> None:
    fifo, once = tmp_path / "building", tmp_path / "once"
    os.mkfifo(fifo)
    build = (
        f"import os, time\nif not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w').close()\n"
        f"    with open({str(fifo)!r}, 'w') as out: out.write(str(os.getpgid(0)))\n    time.sleep(600)"
    )
    project = make_project(tmp_path / "project", "own", build=build)
    argv = [sys.executable, "-c", NODE, str(tmp_path), str(links), str(project)]
    repository = Path(__file__).parents[3]
    path = os.pathsep.join([str(repository / "src"), str(repository)])
    with subprocess.Popen(argv, env=os.environ | {"PYTHONPATH": path}, start_new_session=True) as node:
        installer_group = int(fifo.read_text())
        os.killpg(node.pid, signal.SIGKILL)
    try:
        wanted = RequirementSet(("pytest",), paths=(LocalPath("."),))
        cache = real_cache(tmp_path, links, runner)
        assert cache.peek(cache.key(project, wanted)) is None
        assert says(cache.prepare(project, wanted, 60), "import own, pytest; print(own.value)") == "1"
    finally:
        os.killpg(installer_group, signal.SIGKILL)
