"""Runs that would rather not be graded: each ends as something other than a success.

What code under test can do to its own outcome is not promised, since it shares a process with pytest: those attacks,
marked `OWN`, must leave every other module alone, which the siblings show.
"""

# ruff: noqa: E501 - attacks are texts

from tests.attacks.model import Attack, Expected, project

GROUP = "dishonest exits"

FAILS = "def test_fails():\n    assert 1 == 2\n"
FAILED = Expected(("failed",), passed=0, failed=1)
OWN = Expected(("passed", "failed", "crashed", "collect_error", "no_tests"), errors=None, skipped=None)


def crashed(passed: int, failed: int, detail: str = "") -> Expected:
    return Expected(("crashed",), passed=passed, failed=failed, detail=detail)


def _test(name: str, shows: str, text: str, expected: Expected) -> Attack:
    return project(GROUP, name, shows, expected, {"test_it.py": text})


def _conftest(name: str, shows: str, text: str, expected: Expected, test: str = FAILS) -> Attack:
    return project(GROUP, name, shows, expected, {"conftest.py": text, "test_it.py": test})


def _configured(name: str, shows: str, file: str, text: str, expected: Expected, test: str = FAILS) -> Attack:
    return project(GROUP, name, shows, expected, {file: text, "test_it.py": test})


def _three(body: str) -> str:
    """A test that passes, one that does `body`, one that would fail."""
    return (
        f"import os, sys, signal, threading, time, pytest\n\ndef test_a(): pass\n\ndef test_b():\n    {body}\n\n{FAILS}"
    )


_ENDS = (
    _test("os-exit-at-import", "os._exit(0) on import", f"import os\nos._exit(0)\n\n{FAILS}", crashed(0, 1)),
    _test("sys-exit-at-import", "sys.exit(0) on import", f"import sys\nsys.exit(0)\n\n{FAILS}",
          Expected(("crashed", "collect_error"), passed=0, failed=1, errors=None)),
    _test("os-exit-in-a-test", "os._exit(0) in a test", _three("os._exit(0)"), crashed(1, 2, "test_b")),
    _test("os-exit-in-a-thread", "os._exit(0) in a thread while a test waits",
          _three("threading.Thread(target=os._exit, args=(0,)).start(); time.sleep(30)"), crashed(1, 2, "test_b")),
    _test("os-exit-in-atexit", "atexit turns a failure's exit status into 0",
          f"import atexit, os\natexit.register(os._exit, 0)\n\ndef test_a(): pass\n\n{FAILS}", crashed(1, 1)),
    _test("atexit-prints-success", "atexit prints a summary of its own",
          f"import atexit, os\natexit.register(lambda: os.write(1, b'===== 999 passed in 0.01s =====\\n'))\n\n{FAILS}",
          FAILED),
    _test("sys-exit-in-a-test", "sys.exit(0) in a test", _three("sys.exit(0)"), Expected(("failed",), passed=1, failed=2)),
    _test("pytest-exit-in-a-test", "pytest.exit with status 0", _three("pytest.exit('done', returncode=0)"), crashed(1, 2)),
    _test("pytest-exit-at-import", "pytest.exit with status 0 on import",
          f"import pytest\npytest.exit('done', returncode=0)\n\n{FAILS}", Expected(("collect_error", "crashed"), passed=0, failed=1)),
    _test("keyboard-interrupt", "a test raises KeyboardInterrupt", _three("raise KeyboardInterrupt"), crashed(1, 2)),
    _test("generator-exit", "a test raises GeneratorExit", _three("raise GeneratorExit"),
          Expected(("failed", "crashed"), passed=1, failed=2)),
    _test("kill-itself", "SIGKILL to itself", _three("os.kill(os.getpid(), signal.SIGKILL)"), crashed(1, 2, "test_b")),
    _test("abort", "os.abort", _three("os.abort()"), crashed(1, 2, "test_b")),
    _test("segfault", "a wild pointer", "import ctypes\n" + _three("ctypes.string_at(0)"), crashed(1, 2, "test_b")),
    _test("alarm", "SIGALRM without a handler", _three("signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(30)"),
          crashed(1, 2, "test_b")),
    _test("kill-the-group", "SIGKILL to its process group", _three("os.killpg(0, signal.SIGKILL)"), crashed(1, 2)),
    _test("kill-the-parent", "SIGKILL to the parent, which may not come to harm",
          _three("os.getppid() > 0 and os.kill(os.getppid(), signal.SIGKILL); time.sleep(0.3); assert 0"),
          Expected(("failed", "crashed"), passed=1, failed=2)),
    _test("stop-the-parent", "SIGSTOP to the parent",
          _three("os.getppid() > 0 and os.kill(os.getppid(), signal.SIGSTOP); assert 0"),
          Expected(("failed", "crashed", "timeout"), passed=1, failed=2)),
    _test("execs-something-else", "replaces itself by a program that prints success",
          _three("os.execv(sys.executable, [sys.executable, '-c', 'print(\"999 passed\")'])"), crashed(1, 2)),
    _test("runs-pytest-anew", "replaces itself by a pytest of nothing",
          _three("os.execv(sys.executable, [sys.executable, '-m', 'pytest', '--version'])"), crashed(1, 2)),
    _test("deep-recursion", "recursion in C until the stack ends",
          "import sys\n" + _three("sys.setrecursionlimit(10**9); f = lambda n: f(n) if n else 0; repr_ = [];"
          " [repr_ := [repr_] for _ in range(10**6)]; repr(repr_)"),
          Expected(("crashed", "failed"), passed=1, failed=2)),
    _test("nested-pytest", "a failing test runs pytest on itself inside pytest",
          "import pytest\n\ndef test_nested():\n    assert pytest.main(['-q', __file__, '-k', 'nothing']) == 0\n",
          Expected(("failed", "crashed"), passed=0, failed=1)),
)  # fmt: skip

_FORGED = r"""
import json, os

def lines():
    for nonce in ("", "0" * 16, "f" * 16, None, 0, [], {}, True):
        for event in (
            {"e": "start", "python": "3.11.0", "pytest": "9"},
            {"e": "collected", "ids": ["test_it.py::test_forged"]},
            {"e": "collection_end", "deselected": 0},
            {"e": "report", "id": "test_it.py::test_forged", "when": "call", "category": "passed", "outcome": "passed",
             "duration": 0.1, "longrepr": "", "stdout": "", "stderr": "", "subtest": False},
            {"e": "session_end", "status": 0, "stopped": ""},
            {"e": "exit", "status": 0},
        ):
            yield json.dumps({"n": nonce, **event})
            yield json.dumps(event)
    yield json.dumps({"exit": 0, "services": []})
    yield json.dumps({"started": True})
    yield json.dumps({"cpu_time": -1})
    yield json.dumps({"error": "out of order"})

def forge():
    data = ("\n" + "\n".join(lines()) + "\n").encode()
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else map(str, range(256)):
        if int(name) > 2:
            try:
                os.set_blocking(int(name), False)
                os.write(int(name), data)
            except OSError:
                pass
"""


def _forging(name: str, shows: str, body: str, expected: Expected) -> Attack:
    test = f"import os\nfrom forge import forge\n\ndef test_a(): pass\n\ndef test_b():\n    {body}\n\n{FAILS}"
    return project(GROUP, name, shows, expected, {"forge.py": _FORGED, "test_it.py": test})


_STREAMS = (
    _test("prints-999-passed", "prints pytest's summary line",
          "def test_fails():\n    print('===== 999 passed in 0.01s =====')\n    assert 0\n", FAILED),
    _forging("forged-events", "event lines with guessed nonces on every descriptor", "forge()",
             Expected(("failed",), passed=2, failed=1)),
    _forging("forged-events-and-exit", "forged events up to the end, then os._exit(0)", "forge(); os._exit(0)", crashed(1, 2)),
    _forging("forged-events-and-closed", "forged events, then every descriptor closed",
             "forge(); os.closerange(3, 4096)", crashed(1, 2)),
    _test("closes-all-descriptors", "closes all descriptors, so that no failure can be told",
          _three("os.closerange(3, 4096)"), crashed(1, 2)),
    _test("dup2-over-the-stream", "puts its own file in the place of every descriptor",
          _three("n = os.open(os.devnull, os.O_RDWR); [os.dup2(n, i) for i in range(3, 256) if i != n]"), crashed(1, 2)),
    _test("shuts-the-stream-for-writing", "makes every descriptor fail with a full buffer",
          _three("import fcntl; [fcntl.fcntl(int(i), fcntl.F_SETFL, os.O_NONBLOCK) for i in os.listdir('/proc/self/fd')"
                 " if int(i) > 2 and os.path.exists('/proc/self/fd/' + i)]"), Expected(("failed", "crashed"), passed=None, failed=None)),
    _test("replaces-json-dumps", "json.dumps says passed",
          "import json\nreal = json.dumps\n\ndef lie(value, *a, **k):\n    return real(value, *a, **k).replace('failed', 'passed')\n\n"
          f"def test_a():\n    json.dumps = lie\n\n{FAILS}", Expected(("failed",), passed=1, failed=1)),
    _test("replaces-os-write", "os.write drops what it does not like",
          "import os\nreal = os.write\n\ndef lie(fd, data):\n    return len(data) if fd > 2 else real(fd, data)\n\n"
          f"def test_a():\n    os.write = lie\n\n{FAILS}", Expected(("failed",), passed=1, failed=1)),
    _test("replaces-os-getpid", "os.getpid lies, so that nothing is sent",
          f"import os\n\ndef test_a():\n    os.getpid = lambda: 4\n\n{FAILS}", Expected(("failed",), passed=1, failed=1)),
    _test("forks-and-both-go-on", "a forked copy runs on inside pytest and passes everything",
          "import os\n\ndef test_a():\n    global copy\n    copy = os.fork() == 0\n    copy or os.wait()\n\n"
          "def test_b():\n    assert copy\n", Expected(("failed",), passed=1, failed=1)),
    _test("forks-and-the-parent-goes", "the parent ends with 0, the copy goes on",
          "import os\n\ndef test_a(): pass\n\ndef test_b():\n    if os.fork():\n        os._exit(0)\n", crashed(1, 1)),
    _test("steals-the-nonce", "takes the nonce from memory and forges its own module's outcome",
          r"""
          import gc, os

          def test_fails():
              for thing in gc.get_objects():
                  if type(thing).__name__ == "EventStream":
                      thing.send("report", id="test_it.py::test_fails", when="call", category="passed", outcome="passed",
                                 duration=0.0, longrepr="", stdout="", stderr="", subtest=False)
                      thing.send("session_end", status=0, stopped="")
                      thing.send("exit", status=0)
                      os._exit(0)
              assert 0
          """, OWN),
    _test("forges-another-s-outcome", "with the stolen nonce, reports in the names of other modules",
          r"""
          import gc

          def test_fails():
              for thing in gc.get_objects():
                  if type(thing).__name__ == "EventStream":
                      for name in ("../sibling-0/test_it.py::test_fails", "sibling-0/test_it.py::test_passes",
                                   "/test_it.py::x", "\ud800", "a" * 100000, "::", "../../../etc/passwd"):
                          thing.send("collected", ids=[name])
                          thing.send("report", id=name, when="call", category="failed", outcome="failed",
                                     duration=-1e308, longrepr="\ud800", stdout="", stderr="", subtest=True)
              assert 0
          """, OWN),
    _test("floods-the-stream", "with the stolen nonce, two hundred thousand events of nonsense",
          r"""
          import gc

          def test_fails():
              for thing in gc.get_objects():
                  if type(thing).__name__ == "EventStream":
                      for number in range(200000):
                          thing.send("report", id=str(number), when=[], category={}, outcome=number)
              assert 0
          """, OWN),
)  # fmt: skip

_SHADOWS = tuple(
    project(GROUP, f"shadows-{module}", f"its own {path} says that all is well", expected, {path: text, "test_it.py": FAILS})
    for module, path, text, expected in (
        ("pytest", "pytest.py", "def main(*a, **k): return 0\n__version__ = '9'\nprint('999 passed')\n", FAILED),
        ("pytest-main", "pytest/__main__.py", "print('999 passed')\nraise SystemExit(0)\n", FAILED),
        ("pytest-internals", "_pytest/__init__.py", "import os; os._exit(0)\n", FAILED),
        ("pytest-runner", "_pytest/runner.py", "import os; os._exit(0)\n", FAILED),
        ("pluggy", "pluggy.py", "import os; os._exit(0)\n", FAILED),
        ("iniconfig", "iniconfig.py", "import os; os._exit(0)\n", FAILED),
        ("sitecustomize", "sitecustomize.py", "import os; os._exit(0)\n", FAILED),
        ("usercustomize", "usercustomize.py", "import os; os._exit(0)\n", FAILED),
        ("fcntl", "fcntl.py", "import os; os._exit(0)\n", FAILED),
        ("package-init", "__init__.py", "import pytest, sys\npytest.main = lambda *a, **k: 0\n", FAILED),
    )
)  # fmt: skip

_OPTIONS = (
    *(
        _configured(f"collect-only-by-{file.replace('.', '-')}", f"only collects, by {file}", file, text, crashed(0, 1))
        for file, text in {
            "pytest.ini": "[pytest]\naddopts = --collect-only\n",
            "tox.ini": "[pytest]\naddopts = --co\n",
            "setup.cfg": "[tool:pytest]\naddopts = --collect-only -q\n",
            "pyproject.toml": "[tool.pytest.ini_options]\naddopts = ['--co']\n",
        }.items()
    ),
    *(
        _configured(name, f"addopts = {options}", "pytest.ini", f"[pytest]\naddopts = {options}\n", expected)
        for name, options, expected in (
            ("addopts-help", "--help", crashed(0, 1)),
            ("addopts-version", "--version", Expected(("crashed", "failed"), passed=0, failed=1)),
            ("addopts-fixtures", "--fixtures", crashed(0, 1)),
            ("addopts-setup-plan", "--setup-plan",
             Expected(("crashed", "failed", "passed"), passed=None, failed=None, skipped=None)),
            ("addopts-no-terminal", "-p no:terminal", FAILED),
            ("addopts-no-python", "-p no:python", Expected(("no_tests", "collect_error", "crashed"), passed=0, failed=None)),
            ("addopts-no-runner", "-p no:runner", Expected(("crashed", "collect_error"), passed=0, failed=1)),
            ("addopts-deselect", "-k nothing_like_it", Expected(("no_tests",), passed=0, failed=0)),
            ("addopts-ignore", "--ignore=test_it.py",
             Expected(("no_tests", "collect_error", "failed"), passed=0, failed=None)),
            ("addopts-python-functions", "-o python_functions=nothing", Expected(("no_tests",), passed=0, failed=0)),
            ("addopts-unknown", "--no-such-option", Expected(("collect_error",), passed=0, failed=1)),
            ("addopts-junit-outside", "--junitxml=/nowhere/report.xml",
             Expected(("failed", "crashed"), passed=0, failed=1)),
            ("addopts-basetemp-is-the-project", "--basetemp=.",
             Expected(("failed", "crashed", "collect_error"), passed=0, failed=1, errors=None)),
        )
    ),
)  # fmt: skip

_CONFTESTS = (
    _conftest("conftest-os-exit", "os._exit(0) in conftest.py", "import os\nos._exit(0)\n", crashed(0, 1)),
    _conftest("conftest-sys-exit", "sys.exit(0) in conftest.py", "import sys\nsys.exit(0)\n",
              Expected(("crashed", "collect_error"), passed=0, failed=1)),
    _conftest("conftest-deselects-all", "removes every test",
              "def pytest_collection_modifyitems(items):\n    items[:] = []\n", Expected(("no_tests",), passed=0, failed=0)),
    _conftest("conftest-xfails-all", "expects every test to fail",
              "import pytest\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
              "        item.add_marker(pytest.mark.xfail)\n", Expected(("passed",), passed=0, failed=0, skipped=1)),
    _conftest("conftest-skips-all", "skips every test",
              "import pytest\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
              "        item.add_marker(pytest.mark.skip)\n", Expected(("passed",), passed=0, failed=0, skipped=1)),
    _conftest("conftest-sets-addopts", "PYTEST_ADDOPTS set too late",
              "import os\nos.environ['PYTEST_ADDOPTS'] = '--collect-only'\n", FAILED),
    _conftest("conftest-ends-main", "pytest_cmdline_main returns 0", "def pytest_cmdline_main(config):\n    return 0\n", crashed(0, 1)),
    _conftest("conftest-ends-loop", "pytest_runtestloop does nothing", "def pytest_runtestloop(session):\n    return True\n",
              crashed(0, 1)),
    _conftest("conftest-ends-protocol", "pytest_runtest_protocol does nothing",
              "def pytest_runtest_protocol(item, nextitem):\n    return True\n", crashed(0, 1)),
    _conftest("conftest-exit-status", "sets the session's exit status to 0",
              "import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_sessionfinish(session):\n    session.exitstatus = 0\n",
              Expected(("failed", "crashed"), passed=0, failed=1)),
    _conftest("conftest-exits-at-the-end", "os._exit(0) in pytest_sessionfinish",
              "import os\ndef pytest_sessionfinish(session):\n    os._exit(0)\n", crashed(0, 1)),
    _conftest("conftest-exits-unconfigured", "os._exit(0) in pytest_unconfigure",
              "import os\ndef pytest_unconfigure(config):\n    os._exit(0)\n", crashed(0, 1)),
    _conftest("conftest-unregisters-plugins", "throws out every plugin that it finds",
              "def pytest_collection_finish(session):\n    manager = session.config.pluginmanager\n"
              "    for plugin in manager.get_plugins():\n        if type(plugin).__name__ == 'StreamPlugin':\n"
              "            manager.unregister(plugin)\n", crashed(0, 1)),
    _conftest("conftest-breaks-a-hook", "raises in a hook of its own",
              "def pytest_runtest_logreport(report):\n    raise RuntimeError('no')\n", crashed(0, 1)),
    _conftest("conftest-plugin-list", "names itself and nonsense as plugins", "pytest_plugins = ['conftest', 'no_such_plugin']\n",
              Expected(("collect_error", "crashed"), passed=0, failed=1)),
    _conftest("conftest-hides-failures", "pytest_report_teststatus gives failures no name",
              "def pytest_report_teststatus(report):\n    return '', '', ''\n", FAILED),
    _conftest("conftest-rewrites-reports", "makes its own reports say passed",
              "import pytest\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtest_makereport(item, call):\n"
              "    outcome = yield\n    report = outcome.get_result()\n    report.outcome = 'passed'\n    report.longrepr = None\n",
              OWN),
    _conftest("conftest-does-not-call", "tests are never called", "def pytest_pyfunc_call(pyfuncitem):\n    return True\n", OWN),
    _conftest("conftest-renames-tests", "gives its tests names of other modules",
              "def pytest_itemcollected(item):\n    item._nodeid = '../sibling-0/test_it.py::test_passes'\n", OWN),
    _conftest("conftest-stops-collection", "collects for ever, a test at a time",
              "import os\ndef pytest_generate_tests(metafunc):\n    os._exit(0)\n", crashed(0, 1)),
)  # fmt: skip

ATTACKS = (*_ENDS, *_STREAMS, *_SHADOWS, *_OPTIONS, *_CONFTESTS)
