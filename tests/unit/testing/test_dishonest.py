"""Ends and tricks by the dozen: what is no success is never called one, and what is honest keeps its verdict.

Each is a real run. `tests/unit/testing/test_runner.py` has the plain ways to die; here are those that try to look well.
"""

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from testmesh.model import Counts, ModuleResult, Verdict
from testmesh.testing.boxes import open_boxes
from testmesh.testing.grading import grade_module
from testmesh.testing.runner import ModuleRunner
from tests.support.boxes import reachable_folder, reachable_python
from tests.support.projects import bare_environment, request_for, write_project
from tests.support.warm import STARTS, WarmRunner, warm_parent

Case = tuple[str, Mapping[str, str]]
AT_ONCE = 4

# One test that passes and one that fails, or does not get to run.
FAILS = "\ndef test_a(): pass\ndef test_b(): assert 0\n"
SILENCER = """
import gc
def plugin(): return next(o for o in gc.get_objects() if type(o).__name__ == "StreamPlugin")
def stream(): return next(o for o in gc.get_objects() if type(o).__name__ == "EventStream")
"""


def ini(options: str) -> dict[str, str]:
    return {"pytest.ini": f"[pytest]\naddopts = {options}\n"}


def conftest(source: str) -> dict[str, str]:
    return {"conftest.py": source}


def failing(source: str) -> str:
    return dedent(source) + FAILS


def silencing(source: str) -> str:
    return SILENCER + dedent(source)


DISHONEST: dict[str, Case] = {
    "a thread leaves": (
        """
        import os, threading, time
        def test_a(): pass
        def test_b():
            threading.Thread(target=os._exit, args=(0,)).start(); time.sleep(60)
        """,
        {},
    ),
    "a signal handler leaves": (
        """
        import os, signal
        def test_a(): pass
        def test_b():
            signal.signal(10, lambda *_: os._exit(0)); os.kill(os.getpid(), 10)
        """,
        {},
    ),
    "an alarm leaves": (
        """
        import os, signal, time
        def test_a(): pass
        def test_b():
            signal.signal(14, lambda *_: os._exit(0)); signal.setitimer(0, 0.01); time.sleep(60)
        """,
        {},
    ),
    "a destructor leaves": (
        failing("""
        import os
        class Last:
            def __del__(self, leave=os._exit): leave(0)
        last = Last()
        """),
        {},
    ),
    "a finalizer leaves": (
        failing("""
        import os, weakref, pytest
        weakref.finalize(pytest, os._exit, 0)
        """),
        {},
    ),
    "the end of the threads leaves": (
        failing("""
        import os, threading
        threading._register_atexit(os._exit, 0)
        """),
        {},
    ),
    "sys.exit replaced": (
        failing("""
        import os, sys
        sys.exit = lambda *_: os._exit(0)
        """),
        {},
    ),
    "at the end of the session": (
        FAILS,
        conftest("""
        import os
        def pytest_sessionfinish(): os._exit(0)
        """),
    ),
    "when pytest is unconfigured": (
        FAILS,
        conftest("""
        import os
        def pytest_unconfigure(): os._exit(0)
        """),
    ),
    "in the summary": (
        FAILS,
        conftest("""
        import os
        def pytest_terminal_summary(): os._exit(0)
        """),
    ),
    "in the session's start": (
        FAILS,
        conftest("""
        import os
        def pytest_sessionstart(): os._exit(0)
        """),
    ),
    "in a fixture's teardown": (
        """
        import os, pytest
        @pytest.fixture
        def f():
            yield
            os._exit(0)
        def test_a(f): pass
        def test_b(): assert 0
        """,
        {},
    ),
    "abort": (
        """
        import os
        def test_a(): pass
        def test_b(): os.abort()
        """,
        {},
    ),
    "over its processor time": (
        """
        import resource
        def test_a(): pass
        def test_b():
            resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
            while True: pass
        """,
        {},
    ),
    "becomes a good program": (
        """
        import os, sys
        def test_a(): pass
        def test_b(): os.execv(sys.executable, [sys.executable, '-c', 'print("2 passed")'])
        """,
        {},
    ),
    "becomes a better pytest": (
        """
        import os, sys
        def test_a(): pass
        def test_b(): os.execv(sys.executable, [sys.executable, '-m', 'pytest', '-k', 'test_a'])
        """,
        {},
    ),
    "a child goes on": (
        """
        import os
        def test_a(): pass
        def test_b():
            if os.fork(): os._exit(0)
        """,
        {},
    ),
    "a child's status": (
        """
        import os
        def test_a(): pass
        def test_b():
            pid = os.fork()
            if pid: os.waitpid(pid, 0); os._exit(0)
            assert 0
        """,
        {},
    ),
    "the launcher's process": (
        """
        import os
        def test_a(): pass
        def test_b():
            os.kill(os.getppid(), 19); os.kill(os.getppid(), 15); os._exit(0)
        """,
        {},
    ),
    "pytest.exit in a fixture": (
        """
        import pytest
        @pytest.fixture
        def f(): pytest.exit('x', returncode=0)
        def test_a(): pass
        def test_b(f): pass
        """,
        {},
    ),
    "pytest.exit in a conftest": (
        FAILS,
        conftest("""
        import pytest
        pytest.exit('x', returncode=0)
        """),
    ),
    "pytest.exit while it collects": (
        FAILS,
        conftest("""
        import pytest
        def pytest_itemcollected(item): pytest.exit('x', returncode=0)
        """),
    ),
    "pytest.exit in its configuration": (
        FAILS,
        conftest("""
        import pytest
        def pytest_configure(): pytest.exit('x', returncode=0)
        """),
    ),
    "pytest.exit at the very end": (
        FAILS,
        conftest("""
        import pytest
        def pytest_sessionfinish(): pytest.exit('x', returncode=0)
        """),
    ),
    "Ctrl-C": (
        """
        def test_a(): pass
        def test_b(): raise KeyboardInterrupt
        """,
        {},
    ),
    "Ctrl-C in a fixture": (
        """
        import pytest
        @pytest.fixture
        def f(): raise KeyboardInterrupt
        def test_a(): pass
        def test_b(f): pass
        """,
        {},
    ),
    "the session stops": (
        """
        def test_a(request): request.session.shouldstop = 'enough'
        def test_b(): assert 0
        """,
        {},
    ),
    "the session forgets": (
        """
        def test_a(request): request.session.items.clear()
        def test_b(): assert 0
        """,
        {},
    ),
    "the session forgets the rest": (
        """
        def test_a(request): del request.session.items[1:]
        def test_b(): assert 0
        """,
        {},
    ),
    "the session forgets failures": (
        """
        def test_a(): assert 0
        def test_b(request): request.session.testsfailed = 0
        """,
        {},
    ),
    "the session says it is well": (
        FAILS,
        conftest("""
        import pytest
        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish(session): session.exitstatus = 0
        """),
    ),
    "another main": (FAILS, conftest("def pytest_cmdline_main(config): return 0")),
    "another protocol": (FAILS, conftest("def pytest_runtest_protocol(item): return True")),
    "another protocol that logs": (
        FAILS,
        conftest("""
        def pytest_runtest_protocol(item):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            return True
        """),
    ),
    "reports that end it": (FAILS, conftest("def pytest_runtest_logreport(report): raise SystemExit(0)")),
    "failures by another name": (
        FAILS,
        conftest("""
        import pytest
        @pytest.hookimpl(tryfirst=True)
        def pytest_report_teststatus(report): return 'passed', '.', 'PASSED'
        """),
    ),
    "failures skipped by name": (
        FAILS,
        conftest("""
        import pytest
        @pytest.hookimpl(tryfirst=True)
        def pytest_report_teststatus(report): return 'skipped', 's', 'SKIPPED'
        """),
    ),
    "failures without a name": (
        FAILS,
        conftest("""
        import pytest
        @pytest.hookimpl(tryfirst=True)
        def pytest_report_teststatus(report): return '', '', ''
        """),
    ),
    "no collector": (FAILS, conftest("collect_ignore_glob = ['*']")),
    "no tests in it": (failing("__test__ = False"), {}),
    "a broken pytest": (
        failing("""
        import _pytest.runner
        _pytest.runner.runtestprotocol = lambda *a, **k: []
        """),
        {},
    ),
    "plans only": (FAILS, ini("--setup-plan")),
    "only markers": (FAILS, ini("--markers")),
    "only the version": (FAILS, ini("--version --version")),
    "only fixtures of tests": (FAILS, ini("--fixtures-per-test")),
    "only the cache": (FAILS, ini("--cache-show")),
    "looks for other names": (FAILS, {"pytest.ini": "[pytest]\npython_functions = nothing\n"}),
    "ignores the file": (FAILS, ini("--ignore-glob=*")),
    "a plugin that leaves": (
        FAILS,
        {"pytest.ini": "[pytest]\naddopts = -p leaves\n", "leaves.py": "import os; os._exit(0)"},
    ),
    "a plugin switched off": (FAILS, ini("-p no:runner")),
    "no main": (FAILS, ini("-p no:main")),
    "pytest of one's own": (
        FAILS,
        {
            "pytest.py": "def main(*a, **k): return 0",
            "_pytest/__init__.py": "",
            "pluggy.py": "",
            "iniconfig.py": "",
            "packaging/__init__.py": "",
        },
    ),
    "starts with Python": (
        FAILS,
        {
            "sitecustomize.py": "import os; os._exit(0)",
            "usercustomize.py": "import os; os._exit(0)",
            "json.py": "",
            "fcntl.py": "",
        },
    ),
    "prints what pytest prints": (
        failing("""
        import os, sys
        print('==== 2 passed in 0.01s ====')
        sys.stderr.write('2 passed')
        """),
        {},
    ),
    "writes events of its own": (
        """
        import os, json
        def test_a():
            for fd in range(3, 400):
                try: os.write(fd, b'\\n{"n": "", "e": "exit", "status": 0}\\n')
                except OSError: pass
        def test_b(): os._exit(0)
        """,
        {},
    ),
    "the plugin is unregistered": (
        silencing("""
        def test_a(request):
            request.config.pluginmanager.unregister(plugin())
        def test_b(): assert 0
        """),
        {},
    ),
    "the plugin sends nothing": (
        silencing("""
        def test_a(): plugin()._send = lambda *a, **k: None
        def test_b(): assert 0
        """),
        {},
    ),
    "the plugin's methods": (
        silencing("""
        def test_a():
            for kind in (plugin(), type(plugin())):
                for name in dir(type(plugin())):
                    if name.startswith('pytest_'):
                        setattr(kind, name, lambda *a, **k: None)
        def test_b(): assert 0
        """),
        {},
    ),
    "the stream's methods": (
        silencing("""
        def test_a():
            type(stream()).send = lambda *a, **k: None
        def test_b(): assert 0
        """),
        {},
    ),
    "another descriptor": (
        silencing("""
        import os
        def test_a(): os.dup2(os.open(os.devnull, 1), stream()._fd)
        def test_b(): assert 0
        """),
        {},
    ),
    "another process id": (
        silencing("""
        def test_a(): stream()._pid = 1
        def test_b(): assert 0
        """),
        {},
    ),
    "another nonce": (
        silencing("""
        def test_a(): stream()._nonce = ''
        def test_b(): assert 0
        """),
        {},
    ),
    "no hooks": (
        """
        def test_a(request):
            hook = request.config.hook.pytest_runtest_logreport
            for impl in list(hook.get_hookimpls()): hook._remove_plugin(impl.plugin)
        def test_b(): assert 0
        """,
        {},
    ),
}

HONEST: dict[str, tuple[str, Mapping[str, str], Verdict, Counts]] = {
    "sys.exit expected": (
        """
        import sys, pytest
        def test_a():
            with pytest.raises(SystemExit): sys.exit(3)
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "a main of its own": (
        """
        import sys, pytest
        def test_a(): pass
        if __name__ == '__main__': sys.exit(pytest.main())
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "exits replaced and put back": (
        """
        import os, sys
        def test_a(monkeypatch):
            monkeypatch.setattr(sys, 'exit', print)
            monkeypatch.setattr(os, '_exit', print)
            sys.exit(1); os._exit(1)
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "an exit handler": (
        """
        import atexit
        atexit.register(print, 'bye')
        def test_a(): pass
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "a child that ends": (
        """
        import os, subprocess, sys
        def test_a():
            pid = os.fork()
            if not pid: os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
            subprocess.run([sys.executable, '-c', 'pass'], check=True)
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "processes": (
        """
        import multiprocessing
        def test_a():
            with multiprocessing.Pool(2) as pool:
                assert pool.map(abs, [-1, -2]) == [1, 2]
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "a thread that goes on": (
        """
        import threading, time
        def test_a(): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "pytest inside pytest": (
        """
        import pytest
        def test_a(tmp_path):
            file = tmp_path / 'test_in.py'
            file.write_text('def test_x(): assert 0')
            assert pytest.main([str(file), '-p', 'no:cacheprovider']) == 1
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "the folder left": (
        """
        import os
        def test_a(): os.chdir('/')
        def test_b(): pass
        """,
        {},
        Verdict.PASSED,
        Counts(passed=2),
    ),
    "skipped as a whole": (
        """
        import pytest
        pytest.skip('not here', allow_module_level=True)
        def test_a(): pass
        """,
        {},
        Verdict.NO_TESTS,
        Counts(skipped=1),
    ),
    "skipped without a library": (
        """
        import pytest
        pytest.importorskip('no_such_library')
        def test_a(): pass
        """,
        {},
        Verdict.NO_TESTS,
        Counts(skipped=1),
    ),
    "expected failures": (
        """
        import pytest
        @pytest.mark.xfail
        def test_a(): assert 0
        @pytest.mark.xfail
        def test_b(): pass
        def test_c(): pytest.xfail('later')
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1, skipped=2),
    ),
    "a strict one that passes": (
        """
        import pytest
        @pytest.mark.xfail(strict=True)
        def test_a(): pass
        """,
        {},
        Verdict.FAILED,
        Counts(failed=1),
    ),
    "unittest": (
        """
        import unittest
        class TestX(unittest.TestCase):
            def test_a(self): self.assertTrue(1)
            def test_b(self): self.fail()
            @unittest.expectedFailure
            def test_c(self): self.fail()
        """,
        {},
        Verdict.FAILED,
        Counts(passed=1, failed=1, skipped=1),
    ),
    "subtests of unittest": (
        """
        import unittest
        class TestX(unittest.TestCase):
            def test_a(self):
                for i in range(3):
                    with self.subTest(i=i): self.assertLess(i, 3)
        """,
        {},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "the first failure stops": (
        """
        def test_a(): assert 0
        def test_b(): pass
        """,
        ini("-x"),
        Verdict.FAILED,
        Counts(failed=1),
    ),
    "doctests": (
        '''
        """
        >>> 1 + 1
        2
        """
        def test_a():
            """
            >>> 2 + 2
            4
            """
        ''',
        ini("--doctest-modules"),
        Verdict.PASSED,
        Counts(passed=3),
    ),
    "doctests that fail": (
        '''
        """
        >>> 1 + 1
        3
        """
        ''',
        ini("--doctest-modules"),
        Verdict.FAILED,
        Counts(failed=1),
    ),
    "a doctest's options": (
        '''
        """
        >>> print("a  b")
        a b
        """
        ''',
        {"pytest.ini": "[pytest]\naddopts = --doctest-modules\ndoctest_optionflags = NORMALIZE_WHITESPACE\n"},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "settings of a plugin that is not there": (
        """
        import pytest
        pytestmark = pytest.mark.anyio
        def test_a(): pass
        """,
        {"pytest.ini": "[pytest]\nasyncio_mode = auto\ntimeout = 5\n"},
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "a plugin that is not there": (
        "def test_a(): pass",
        ini("-p no_such_plugin"),
        Verdict.COLLECT_ERROR,
        Counts(failed=2),
    ),
    "nothing printed": (
        "def test_a(): pass",
        ini("-qqq --no-header --tb=no -p no:terminal"),
        Verdict.PASSED,
        Counts(passed=1),
    ),
    "not captured": ("def test_a(capfd): print('x')", ini("-s -v --durations=3"), Verdict.PASSED, Counts(passed=1)),
    "names that are odd": (
        """
        import pytest
        @pytest.mark.parametrize('x', ['a::b', 'c/d', '', ' ', '\\u00fc', 'a::b '])
        def test_a(x): pass
        """,
        {},
        Verdict.PASSED,
        Counts(passed=6),
    ),
    "warnings are errors": (
        """
        import warnings
        def test_a(): warnings.warn('x')
        """,
        ini("-W error"),
        Verdict.FAILED,
        Counts(failed=1),
    ),
    "a broken setup": (
        """
        def setup_module(): 1 / 0
        def test_a(): pass
        def test_b(): pass
        """,
        {},
        Verdict.FAILED,
        Counts(errors=2),
    ),
    "an exit in a teardown": (
        """
        import sys
        def test_a(): pass
        def teardown_module(): sys.exit(0)
        """,
        {},
        Verdict.FAILED,
        Counts(passed=1, errors=1),
    ),
    "words of a conftest for what is well": (
        "def test_a(): pass",
        conftest("""
        def pytest_report_teststatus(report):
            if report.when == 'call': return 'passed', '*', 'FINE'
        """),
        Verdict.PASSED,
        Counts(passed=1),
    ),
}

# What a run cannot keep its own process from doing; see `pytest_plugin` and docs/security.md.
FORGERY = (
    SILENCER
    + """
def test_a(): pass
def test_b():
    import os
    send = stream().send
    send("report", id="test_it.py::test_b", when="call", category="passed", outcome="passed", duration=0.0,
         longrepr="", stdout="", stderr="", subtest=False)
    send("session_end", status=0, stopped=""); send("exit", status=0)
    os._exit(0)
"""
)


class Runs:
    """All of a table's runs, several at a time; each is waited for by the test that asks for it."""

    def __init__(self, folder: Path, runner: ModuleRunner, cases: Mapping[str, Case], pool: ThreadPoolExecutor) -> None:
        python = folder / "env" / "bin" / "python"
        self._runner = runner
        self._futures: dict[str, Future[ModuleResult]] = {}
        for number, (name, (source, files)) in enumerate(cases.items()):
            project = write_project(folder / f"project-{number}", {"test_it.py": source, **files})
            self._futures[name] = pool.submit(self._run, python, project)

    def _run(self, python: Path, project: Path) -> ModuleResult:
        return grade_module(self._runner.run(request_for(python, project)), 2)

    def result(self, name: str) -> ModuleResult:
        return self._futures[name].result(110)


@contextlib.contextmanager
def running(cases: Mapping[str, Case], start: str) -> Iterator[Runs]:
    with reachable_folder() as folder, ThreadPoolExecutor(AT_ONCE) as pool, contextlib.ExitStack() as stack:
        boxes = open_boxes(folder / "boxes", python=reachable_python())
        python = bare_environment(folder / "env")
        work, locks = folder / "work", folder / "lock"
        try:
            if start == "cold":
                runner = ModuleRunner(work, boxes, locks)
            else:
                runner = WarmRunner(work, boxes, stack.enter_context(warm_parent(python)), locks)
            yield Runs(folder, runner, cases, pool)
        finally:
            pool.shutdown()
            boxes.close()


@pytest.fixture(scope="module", params=STARTS)
def dishonest(request: pytest.FixtureRequest) -> Iterator[Runs]:
    with running(DISHONEST, request.param) as runs:
        yield runs


@pytest.fixture(scope="module", params=["warm"])
def honest(request: pytest.FixtureRequest) -> Iterator[Runs]:
    with running({name: (source, files) for name, (source, files, _, _) in HONEST.items()}, request.param) as runs:
        yield runs


@pytest.mark.parametrize("name", DISHONEST)
def test_no_trick_ends_as_a_success(dishonest: Runs, name: str) -> None:
    result = dishonest.result(name)
    assert result.verdict in (Verdict.FAILED, Verdict.CRASHED, Verdict.COLLECT_ERROR, Verdict.NO_TESTS), result
    if result.verdict is Verdict.NO_TESTS:
        assert result.counts == Counts()
    else:
        assert result.counts.failed + result.counts.errors >= 1, result
        assert result.counts.passed <= 1, result
        assert result.detail or result.verdict is Verdict.FAILED, result


@pytest.mark.parametrize("name", HONEST)
def test_what_is_honest_keeps_its_verdict(honest: Runs, name: str) -> None:
    _, _, verdict, counts = HONEST[name]
    result = honest.result(name)
    assert (result.verdict, result.counts) == (verdict, counts), result


@pytest.mark.parametrize("start", STARTS)
def test_a_forger_changes_the_outcome_of_its_own_module_alone(start: str) -> None:
    siblings: dict[str, Case] = {"forger": (FORGERY, {}), **{f"sibling {n}": (FAILS, {}) for n in range(3)}}
    with running(siblings, start) as runs:
        results = {name: runs.result(name) for name in siblings}
    assert results.pop("forger").counts.passed == 2  # the one thing that is not promised
    for result in results.values():
        assert (result.verdict, result.counts) == (Verdict.FAILED, Counts(passed=1, failed=1))
