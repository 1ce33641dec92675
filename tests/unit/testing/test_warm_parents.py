"""A fork of a warm parent is to its tests what a new interpreter is, and nothing goes from one run to the next."""

import json
import os
import platform
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from testmesh.errors import EnvironmentFailedError
from testmesh.model import Counts
from testmesh.testing.boxes import Boxes
from testmesh.testing.environment_shelf import Environment
from testmesh.testing.environments import EnvironmentCache
from testmesh.testing.launcher_process import LauncherProcess
from testmesh.testing.requirements import RequirementSet
from testmesh.testing.runner import ModuleRunner
from testmesh.testing.warm_parents import WarmParent, WarmParents, warm_launcher
from tests.support.boxes import reachable_folder
from tests.support.projects import bare_environment, request_for, wait_until, write_project
from tests.support.waiting import until
from tests.support.warm import WarmRunner, warm_parent


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield bare_environment(folder / "env")


@pytest.fixture(scope="module")
def warm(python: Path) -> Iterator[WarmParent]:
    with warm_parent(python) as parent:
        yield parent


LOOK = """
    import io, json, os, signal, sys
    from pathlib import Path
    AT_IMPORT = {name: getattr(sys, name) for name in ("prefix", "exec_prefix", "base_prefix", "executable", "argv",
                 "orig_argv", "path", "flags", "dont_write_bytecode", "warnoptions", "_base_executable")}
    def deepest(level=0):
        try: return deepest(level + 1)
        except RecursionError: return level
    def _kind(link):
        try: return os.readlink(link).partition(":")[0].rpartition("#")[0]
        except OSError: return "gone"
    def test_look(capfd, pytestconfig, request):
        import _pytest.fixtures, gc, locale, multiprocessing.spawn, random, site, sysconfig, tempfile, threading, time
        import warnings
        main = sys.modules["__main__"]
        with capfd.disabled():
            print("LOOK" + json.dumps({
                **{name: repr(value) for name, value in AT_IMPORT.items()},
                "environ": sorted(os.environ.items()), "cwd": os.getcwd(), "umask": os.umask(0o22),
                "signals": [repr(signal.getsignal(n)) for n in sorted(signal.valid_signals())],
                "mask": repr(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "threads": threading.active_count(),
                "descriptors": sorted(_kind(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")),
                "config": [repr(pytestconfig.invocation_params.args), str(pytestconfig.invocation_params.dir),
                           str(pytestconfig.rootpath), str(pytestconfig.inipath), repr(vars(pytestconfig.option)),
                           [(name, type(one).__name__) for name, one in pytestconfig.pluginmanager.list_name_plugin()
                            if not name.isdigit()]],
                "fixtures": [list(map(str, one)) for one in vars(request.session._fixturemanager).values()
                             if isinstance(one, dict)],
                "fixture manager": [hasattr(_pytest.fixtures, "dir"),
                                    hasattr(_pytest.fixtures.FixtureManager.__init__, "__wrapped__")],
                "main": [main.__name__, main.__file__ and Path(main.__file__).name, main.__package__],
                "site": [site.PREFIXES, site.getsitepackages(), site.ENABLE_USER_SITE],
                "sysconfig": [sysconfig.get_path("purelib"), sysconfig.get_config_var("prefix")],
                "spawn": repr(multiprocessing.spawn.get_executable()), "tmp": tempfile.gettempdir(),
                "gc": [gc.isenabled(), gc.get_threshold()],
                "hash": sys.flags.hash_randomization, "locale": locale.getlocale(), "zone": time.tzname,
                "filters": len(warnings.filters), "recursion": [sys.getrecursionlimit(), deepest()],
                "ours": [name for name in sys.modules if "testmesh" in name],
                "encodings": [sys.stdout.encoding, sys.getfilesystemencoding(), sys.stdin and sys.stdin.encoding],
                "finders": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
                "caps": [l for l in open("/proc/self/status") if l.startswith(("Cap", "NoNewPrivs", "Seccomp:"))],
                "limits": open("/proc/self/limits").read(), "nice": os.nice(0),
                "dumpable": os.access("/proc/self/environ", os.R_OK), "group": os.getpgid(0) == os.getpid(),
            }, default=str))
"""


def looked(runner: ModuleRunner, python: Path, project: Path) -> dict[str, Any]:
    report = runner.run(request_for(python, project))
    assert report.counts == Counts(passed=1), report.tests
    line = next((line for line in report.end.stdout.splitlines() if "LOOK{" in line), None)
    assert line is not None, report
    found: dict[str, Any] = json.loads(re.sub(r"/[\w./-]*/run-[0-9a-f]+", "RUN", line[line.index("LOOK") + 4 :]))
    return found


def test_it_looks_like_a_new_interpreter_from_inside(
    place: Path, python: Path, level_boxes: Boxes, warm: WarmParent
) -> None:
    project = write_project(place / "project", {"test_it.py": LOOK})
    cold = looked(ModuleRunner(place / "cold", level_boxes, place / "lock"), python, project)
    forked = looked(WarmRunner(place / "warm", level_boxes, warm, place / "lock"), python, project)
    assert {name: (cold[name], forked[name]) for name in cold if cold[name] != forked[name]} == {}


ALIKE = {
    "multiprocessing": """
        import multiprocessing, sys
        def double(x): return 2 * x
        def test_it():
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    assert pool.map(double, [1, 2]) == [2, 4]
    """,
    "subprocess": """
        import subprocess, sys
        def test_it():
            code = "import pytest, sys; print(sys.prefix, pytest.__file__)"
            out = subprocess.check_output([sys.executable, "-c", code], text=True).split()
            assert out[0] == sys.prefix and out[1].startswith(sys.prefix)
    """,
    "metadata": """
        import importlib.metadata, pytest
        def test_it(): assert importlib.metadata.version("pytest") == pytest.__version__
    """,
    "threads": """
        import threading
        def test_it():
            assert threading.current_thread() is threading.main_thread()
            done = threading.Event(); threading.Thread(target=done.set).start(); assert done.wait(10)
    """,
    "asyncio": """
        import asyncio
        async def go(): await asyncio.sleep(0); return 3
        def test_it(): assert asyncio.run(go()) == 3
    """,
    "signals": """
        import os, signal, pytest
        def test_it():
            with pytest.raises(KeyboardInterrupt): os.kill(os.getpid(), signal.SIGINT)
    """,
    "resource usage": """
        import resource
        def test_it(): assert resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)
    """,
    "its own modules come first": """
        import json, fractions
        def test_it(): assert json.MINE and fractions.MINE
    """,
    "its own modules are found beside it": """
        import resource, ctypes
        def test_it(): assert resource.MINE and ctypes.MINE
    """,
    "a replaced exit": """
        import os, threading, atexit
        def test_it():
            os._exit = lambda *_: None; threading._shutdown = None; atexit._run_exitfuncs = None
    """,
    "end": """
        import atexit, threading, time
        atexit.register(print, "said at the end")
        def test_it(): threading.Thread(target=lambda: (time.sleep(0.2), print("said by a thread"))).start()
    """,
}


@pytest.mark.parametrize("source", ALIKE.values(), ids=ALIKE)
@pytest.mark.parametrize("start", ["cold", "warm"])
def test_what_tests_do_works_in_both(
    place: Path, python: Path, boxes: Boxes, warm: WarmParent, start: str, source: str
) -> None:
    names = ("json", "fractions") if "json.MINE" in source else ("tests/resource", "tests/ctypes")
    own = {f"{name}.py": "MINE = True\n" for name in names} if "MINE" in source else {}
    module = "tests/test_it.py" if "ctypes.MINE" in source else "test_it.py"
    project = write_project(place / "project", {module: source, **own})
    work, locks = place / "work", place / "lock"
    runner = ModuleRunner(work, boxes, locks) if start == "cold" else WarmRunner(work, boxes, warm, locks)
    report = runner.run(request_for(python, project, module))
    assert report.counts == Counts(passed=1), report
    assert report.end.exit_code == 0
    if "said" in source:
        assert report.end.stdout.count("said by a thread") == report.end.stdout.count("said at the end") == 1


def test_nothing_of_a_run_is_there_in_the_next(place: Path, python: Path, boxes: Boxes, warm: WarmParent) -> None:
    leave = """
        import builtins, os, sys, json, tempfile, pytest, random, signal
        def test_it():
            for module in (builtins, os, sys, json, pytest): module.left_behind = 1
            sys.modules["left_behind"] = json; os.environ["LEFT"] = "1"; sys.path.append("/left")
            signal.signal(signal.SIGUSR1, lambda *_: None); random.seed(1)
            print("NUMBER", random.SystemRandom().random())
    """
    look = """
        import builtins, os, sys, json, pytest, signal
        def test_it():
            assert not [m for m in (builtins, os, sys, json, pytest) if hasattr(m, "left_behind")]
            assert "left_behind" not in sys.modules and "LEFT" not in os.environ and "/left" not in sys.path
            assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    """
    runner = WarmRunner(place / "work", boxes, warm, place / "lock")
    for name, source in (("leave", leave), ("look", look)):
        report = runner.run(request_for(python, write_project(place / name / "project", {"test_it.py": source})))
        assert report.counts == Counts(passed=1), report


NAMES = """
    import _pytest.fixtures, _pytest.tmpdir, pytest
    ASKED, get = [], _pytest.fixtures.safe_getattr
    _pytest.fixtures.safe_getattr = lambda holder, name, default: (ASKED.append(name), get(holder, name, default))[1]
    @pytest.fixture
    def number(): return 7
    _pytest.tmpdir.number = number
    del number
"""


def test_a_fork_looks_for_fixtures_where_there_can_be_any(
    place: Path, python: Path, boxes: Boxes, warm: WarmParent
) -> None:
    look = """
        from conftest import ASKED
        def test_it(number, capfd):
            assert number == 7
            with capfd.disabled(): print("ASKED", len(ASKED))
    """
    project = write_project(place / "project", {"conftest.py": NAMES, "test_it.py": look})
    asked = {}
    for name, runner in (
        ("cold", ModuleRunner(place / "cold", boxes, place / "lock")),
        ("warm", WarmRunner(place / "warm", boxes, warm, place / "lock")),
    ):
        report = runner.run(request_for(python, project))
        assert report.counts == Counts(passed=1), report.tests
        asked[name] = int(report.end.stdout.partition("ASKED")[2].split()[0])
    assert 0 < asked["warm"] < asked["cold"] / 2, asked


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_a_fixture_in_the_place_of_one_of_pytests_own_names_is_found(
    place: Path, python: Path, boxes: Boxes, warm: WarmParent, start: str
) -> None:
    replace_names = """
        import _pytest.terminal, _pytest.tmpdir, pytest
        def pytest_configure(config):
            _pytest.tmpdir.Generator = pytest.fixture(name="of_module")(lambda: 7)
            _pytest.terminal.TerminalReporter.section = pytest.fixture(name="of_class")(lambda self: 8)
    """
    use = "def test_it(of_module, of_class): assert (of_module, of_class) == (7, 8)"
    project = write_project(place / "project", {"conftest.py": replace_names, "test_it.py": use})
    work, locks = place / "work", place / "lock"
    runner = ModuleRunner(work, boxes, locks) if start == "cold" else WarmRunner(work, boxes, warm, locks)
    report = runner.run(request_for(python, project))
    assert report.counts == Counts(passed=1), report.tests


def test_runs_draw_different_random_numbers(place: Path, python: Path, boxes: Boxes, warm: WarmParent) -> None:
    draw = """
        import random, tempfile, uuid
        def test_it(capfd):
            with capfd.disabled(): print("DREW", random.random(), next(tempfile._get_candidate_names()), uuid.uuid4())
    """
    project = write_project(place / "project", {"test_it.py": draw})
    runner = WarmRunner(place / "work", boxes, warm, place / "lock")
    drawn = [
        next(line for line in runner.run(request_for(python, project)).end.stdout.splitlines() if "DREW" in line)
        for _ in range(2)
    ]
    assert not set(drawn[0].split()[-3:]) & set(drawn[1].split()[-3:])


def test_a_parent_loads_nothing_but_its_own(tmp_path: Path, python: Path) -> None:
    (tmp_path / "conftest.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w').close()")
    launcher = warm_launcher(python, {"TMPDIR": str(tmp_path)})
    try:
        assert launcher.wait_ready(60)
    finally:
        launcher.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["conftest.py"]


def test_a_parent_that_was_killed_is_started_again(place: Path, python: Path, boxes: Boxes) -> None:
    project = write_project(place / "project", {"test_it.py": "def test_it(): pass"})
    with warm_parent(python) as parent:
        runner = WarmRunner(place / "work", boxes, parent, place / "lock")
        first = parent.launcher.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not _is_alive(first), "the parent's end")
        assert runner.run(request_for(python, project)).counts == Counts(passed=1)
        assert parent.launcher.pid not in (None, first)


def test_a_parent_that_cannot_serve_is_done_without(place: Path, python: Path, boxes: Boxes) -> None:
    project = write_project(place / "project", {"test_it.py": "def test_it(): pass"})
    with warm_parent(python) as parent:
        parent.launcher.close()
        request = replace(request_for(python, project), warm=parent)
        assert ModuleRunner(place / "work", boxes, place / "lock").run(request).counts == Counts(passed=1)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# Which environment is served by which ----------------------------------------------------------


class Cache:
    """Makes environments of the index's own pytest, as an EnvironmentCache would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.fails = folder, list[RequirementSet](), False

    def prepare(self, _project: Path, requirements: RequirementSet, _timeout_s: float, *, trusted: bool) -> Environment:
        assert trusted
        self.asked.append(requirements)
        if self.fails:
            raise EnvironmentFailedError("no index")
        name = f"base-{requirements.lines!r}"
        python = self.folder / name / "bin" / "python"
        return environment(python if python.exists() else bare_environment(self.folder / name), name)

    @contextmanager
    def lease(self, found: Environment, _again: Callable[[], Environment]) -> Iterator[Environment]:
        yield found


def environment(python: Path, key: str = "theirs", version: str = "") -> Environment:
    return Environment(key, python, python.parent, version or platform.python_version(), "1", ())


@pytest.fixture
def cache(place: Path) -> Cache:
    return Cache(place)


@pytest.fixture
def parents(cache: Cache, place: Path) -> Iterator[WarmParents]:
    parents = WarmParents(cast("EnvironmentCache", cache), place / "empty", most=1)
    yield parents
    parents.close()


def test_an_environment_with_the_same_pytest_is_served(parents: WarmParents, cache: Cache, place: Path) -> None:
    theirs = environment(bare_environment(place / "env"))
    parent = parents.wait(theirs)
    assert parent is not None
    assert parents.of(theirs) is parent
    assert parents.wait(environment(bare_environment(place / "other"))) is parent
    assert all(
        line.partition("==")[0] in ("iniconfig", "packaging", "pluggy", "pygments", "pytest")
        for asked in cache.asked
        for line in asked.lines
    )


CHANGES = {
    "another content": lambda site: (site / "_pytest" / "main.py").write_text("pass\n"),
    "one more module": lambda site: (site / "_pytest" / "more.py").write_text(""),
    "one less": lambda site: (site / "pluggy" / "_tracing.py").unlink(),
    "a link": lambda site: ((site / "pluggy").rename(site / "elsewhere"), (site / "pluggy").symlink_to("elsewhere")),
    "a link to a file": lambda site: (
        (site / "_pytest" / "py.typed").unlink(),
        (site / "_pytest" / "py.typed").symlink_to("/dev/null"),
    ),
    "twice": lambda site: (site / "Pytest-1.dist-info").mkdir(),
    "no pytest": lambda site: [found.rename(found.with_suffix(".gone")) for found in site.glob("*.dist-info")],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_one_whose_pytest_was_changed_starts_cold(
    parents: WarmParents, place: Path, change: Callable[[Path], object]
) -> None:
    python = bare_environment(place / "env")
    change(next(python.parent.parent.glob("lib/*/site-packages")))
    assert parents.wait(environment(python)) is None


def test_without_an_index_or_for_old_pythons_it_starts_cold(parents: WarmParents, cache: Cache, place: Path) -> None:
    python = bare_environment(place / "env")
    assert parents.wait(environment(python, version="3.10.4")) is None
    assert cache.asked == []
    cache.fails = True
    other = bare_environment(place / "other")
    assert parents.wait(environment(other)) is None


def test_no_more_parents_stay_than_may_and_one_that_went_comes_back(parents: WarmParents, place: Path) -> None:
    first, second = (environment(bare_environment(place / name)) for name in ("a", "b"))
    info = next(second.bin_dir.parent.glob("lib/*/site-packages/pytest-*.dist-info"))
    info.rename(info.with_name("pytest-0.0.1.dist-info"))  # another base, alike but for its name
    kept = parents.wait(first)
    assert kept is not None
    other = parents.wait(second)
    assert other is not None
    assert other is not kept
    assert parents.of(first) is None
    again = parents.wait(first)
    assert again is not None
    assert again is not kept


def test_nothing_is_started_after_the_end(parents: WarmParents, place: Path) -> None:
    theirs = environment(bare_environment(place / "env"))
    parent = parents.wait(theirs)
    parents.close()
    assert parents.of(theirs) is None
    assert parent is not None
    assert parent.launcher.pid is None


def test_one_that_warms_up_at_the_end_is_not_left(
    parents: WarmParents, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[LauncherProcess] = []

    def recorded(python: Path) -> LauncherProcess:
        started.append(warm_launcher(python))
        return started[-1]

    monkeypatch.setattr("testmesh.testing.warm_parents.warm_launcher", recorded)
    parents.want(environment(bare_environment(place / "env")))
    until(lambda: started and started[0].pid is not None)
    pid = started[0].pid
    assert pid is not None
    assert _is_alive(pid)
    parents.close()
    assert not _is_alive(pid)
