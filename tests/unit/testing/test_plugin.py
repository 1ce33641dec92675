"""The plugin's stream says what pytest's own summary line says, whatever the project does."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testmesh.model import Counts, Verdict
from testmesh.testing.boxes import open_boxes
from testmesh.testing.events import Event, RunReport
from testmesh.testing.grading import grade_module
from testmesh.testing.runner import ModuleRunner
from tests.support.boxes import reachable_folder, reachable_python
from tests.support.projects import bare_environment, request_for, summary_line, write_project
from tests.support.warm import STARTS, WarmRunner, warm_parent

RICH = """
    import unittest
    import pytest

    @pytest.mark.parametrize("x", [1, 2, pytest.param(3, marks=pytest.mark.xfail), pytest.param(4, id="ü: / [odd]")])
    def test_param(x): assert x != 3
    @pytest.mark.xfail
    def test_xpass(): pass
    @pytest.mark.xfail(strict=True)
    def test_strict_xpass(): pass
    @pytest.mark.xfail(raises=KeyError)
    def test_xfail_of_another_kind(): raise ValueError
    def test_imperative_xfail(): pytest.xfail("known")
    @pytest.mark.skip(reason="why not")
    def test_skip(): pass
    def test_skip_inside(): pytest.skip("now")
    def test_fail(): assert [1, 2] == [1, 3]

    @pytest.fixture
    def broken(): raise RuntimeError("setup")
    @pytest.fixture
    def untidy():
        yield
        raise RuntimeError("teardown")
    def test_setup_error(broken): pass
    def test_passes_and_errs(untidy): pass
    def test_fails_and_errs(untidy): assert False

    @pytest.fixture(scope="module")
    def module_wide():
        yield
        raise RuntimeError("module teardown")
    @pytest.fixture(scope="class")
    def class_wide(module_wide): return 1

    @pytest.mark.usefixtures("class_wide")
    class TestClass:
        def test_one(self): pass
        def test_two(self, class_wide): assert class_wide == 2
    class TestSetupClass:
        @classmethod
        def setup_class(cls): raise RuntimeError("setup_class")
        def test_never(self): pass

    class TestUnit(unittest.TestCase):
        def setUp(self): self.addCleanup(print, "clean")
        def test_subtests(self):
            for i in range(4):
                with self.subTest(i=i):
                    self.assertNotEqual(i % 2, 1)
        def test_subtests_pass(self):
            for i in range(3):
                with self.subTest(i=i): pass
        def test_subtest_skips(self):
            with self.subTest("skipped"): self.skipTest("one")
        @unittest.expectedFailure
        def test_expected(self): self.fail()
        @unittest.expectedFailure
        def test_unexpected_success(self): pass
        @unittest.skip("unit")
        def test_skipped(self): pass
        def tearDown(self): pass

    try:
        import pytest_subtests
    except ImportError:
        pass
    def test_native_subtests(subtests):
        for i in range(3):
            with subtests.test("native", i=i): assert i != 1
    """


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def python(place: Path) -> Path:
    return bare_environment(place / "env")


@pytest.fixture(scope="module", params=STARTS)
def runner(request: pytest.FixtureRequest, place: Path, python: Path) -> Iterator[ModuleRunner]:
    work = place / f"work-{request.param}"
    boxes = open_boxes(work, python=reachable_python())
    if request.param == "cold":
        yield ModuleRunner(work, boxes, place / "lock")
    else:
        with warm_parent(python) as parent:
            yield WarmRunner(work, boxes, parent, place / "lock")
    boxes.close()


@pytest.mark.parametrize("addopts", ["", "-v -rA --tb=no -s", "-p no:terminal -p no:cacheprovider"])
def test_a_rich_file_counts_as_the_summary_line_says(
    tmp_path: Path, python: Path, runner: ModuleRunner, addopts: str
) -> None:
    project = write_project(tmp_path / "rich", {"test_it.py": RICH, "pytest.ini": f"[pytest]\naddopts = {addopts}\n"})

    report = runner.run(request_for(python, project))

    if "no:terminal" in addopts:  # prints no line
        write_project(project, {"pytest.ini": "[pytest]"})
    expected = summary_line(python, project)
    assert min(expected.passed, expected.failed, expected.errors, expected.skipped) >= 5
    assert report.counts == expected
    assert grade_module(report, 1).verdict is Verdict.FAILED
    assert grade_module(report, 1).counts == expected


SMALL = {
    "module skip": ("import pytest\npytest.skip('all', allow_module_level=True)\ndef test_a(): pass", Verdict.NO_TESTS),
    "all skipped": ("import pytest\npytestmark = pytest.mark.skip\ndef test_a(): pass", Verdict.PASSED),
    "no tests": ("x = 1", Verdict.NO_TESTS),
    "one": ("def test_a(): pass", Verdict.PASSED),
    "exit in a test": ("def test_a(): raise SystemExit(0)\ndef test_b(): pass", Verdict.FAILED),
}


@pytest.mark.parametrize(("source", "verdict"), SMALL.values(), ids=SMALL)
def test_small_files_count_as_the_summary_line_says(
    tmp_path: Path, python: Path, runner: ModuleRunner, source: str, verdict: Verdict
) -> None:
    project = write_project(tmp_path / "small", {"test_it.py": source})
    report = runner.run(request_for(python, project))
    assert grade_module(report, 1).verdict is verdict
    assert report.counts == summary_line(python, project)


OPTIONS = {
    "first failure stops": ("-x", Counts(passed=1, failed=1), Verdict.FAILED),
    "maxfail": ("--maxfail=1", Counts(passed=1, failed=1), Verdict.FAILED),
    "stepwise": ("--stepwise", Counts(passed=1, failed=1), Verdict.FAILED),
    "deselects some": ('-m "not slow"', Counts(passed=2, failed=1), Verdict.FAILED),
    "deselects the failing": ("-k quick", Counts(passed=1), Verdict.PASSED),
    "deselects all": ("-k nothing", Counts(), Verdict.NO_TESTS),
    "names another folder": ("more", Counts(passed=4, failed=1), Verdict.FAILED),
}


@pytest.mark.parametrize(("addopts", "counts", "verdict"), OPTIONS.values(), ids=OPTIONS)
def test_the_projects_own_options_are_honoured(
    tmp_path: Path, python: Path, runner: ModuleRunner, addopts: str, counts: Counts, verdict: Verdict
) -> None:
    source = """
        import pytest
        def test_quick(): pass
        def test_broken(): assert 0
        @pytest.mark.slow
        def test_slow(): pass
        def test_last(): pass
        """
    files = {
        "test_it.py": source,
        "more/test_more.py": "def test_more(): pass",
        "pytest.ini": f"[pytest]\naddopts = {addopts}\nmarkers = slow: takes long\n",
    }
    project = write_project(tmp_path / "options", files)

    report = runner.run(request_for(python, project))

    result = grade_module(report, 4)
    assert (result.verdict, result.counts) == (verdict, counts)
    assert summary_line(python, project) == counts


def test_hooks_of_a_conftest_that_rename_outcomes_hide_no_failure(
    tmp_path: Path, python: Path, runner: ModuleRunner
) -> None:
    conftest = """
        def pytest_report_teststatus(report, config):
            return ("", "", "") if report.when == "call" else None
        """
    source = "def test_a(): pass\ndef test_b(): assert 0"
    project = write_project(tmp_path / "p", {"test_it.py": source, "conftest.py": conftest})
    assert runner.run(request_for(python, project)).counts == Counts(passed=1, failed=1)


def test_uploaded_files_named_like_pytest_do_not_shadow_it(tmp_path: Path, python: Path, runner: ModuleRunner) -> None:
    liar = "import sys\nprint('999 passed')\nsys.exit(0)\n"
    names = ("pytest.py", "_pytest/__init__.py", "pluggy.py", "iniconfig.py", "sitecustomize.py", "services.py")
    source = """
        import pytest, sys
        def test_a(): assert pytest.__file__ != "pytest.py" and hasattr(pytest, "main")
        def test_b(): assert 0
        """
    project = write_project(tmp_path / "liar", {"test_it.py": source} | dict.fromkeys(names, liar))
    assert runner.run(request_for(python, project)).counts == Counts(passed=1, failed=1)


def test_a_run_looks_like_python_m_pytest_from_inside(tmp_path: Path, python: Path, runner: ModuleRunner) -> None:
    source = """
        import json, os, sys
        def test_look():
            main = sys.modules["__main__"]
            fields = {
                "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "path": [p or os.getcwd() for p in sys.path],
                "main": [main.__file__, main.__spec__.name, main.__package__], "flags": list(sys.flags),
                "executable": sys.executable, "prefix": sys.prefix, "stdin": sys.stdin.__class__.__name__,
            }
            text = json.dumps(fields, sort_keys=True).replace(os.getcwd(), "CWD")
            open(os.environ.get("LOOK", "look"), "w").write(text)
            print(text)
            assert "testmesh" not in sys.modules
            assert 0
        """
    project = write_project(tmp_path / "look", {"test_it.py": source})

    report = runner.run(request_for(python, project))
    summary_line(python, project)

    plain = (project / "look").read_text()
    assert report.tests[0].stdout.strip() == plain


def test_own_modules_named_like_standard_ones_are_imported_as_python_m_pytest_does(
    tmp_path: Path, python: Path, runner: ModuleRunner
) -> None:
    source = """
        import calculator, shlex, uuid
        def test_own(): assert shlex.OWN and uuid.OWN and calculator.OWN
        def test_still_works(tmp_path, capsys): assert tmp_path.exists()
        """
    own = dict.fromkeys(
        ("shlex.py", "uuid.py", "calculator/__init__.py"), "OWN = 1\ndef split(text): return text.split()"
    )
    project = write_project(tmp_path / "own", {"test_it.py": source} | own)
    assert runner.run(request_for(python, project)).counts == Counts(passed=2)


def test_events_arrive_in_the_order_of_the_run_with_text_of_each_phase(
    tmp_path: Path, python: Path, runner: ModuleRunner
) -> None:
    source = """
        import sys, pytest
        @pytest.fixture
        def loud():
            print("in setup"); yield; print("in teardown")
        def test_loud(loud):
            print("in call \\udc80 ü"); print("oops", file=sys.stderr); assert 0
        """
    project = write_project(tmp_path / "loud", {"test_it.py": source})
    events: list[Event] = []

    report = runner.run(request_for(python, project), on_event=events.append)

    kinds = [event.kind for event in events]
    assert kinds == [
        "start",
        "collected",
        "collection_end",
        "begin",
        "report",
        "report",
        "report",
        "session_end",
        "exit",
    ]
    (test,) = report.tests
    assert test.stdout == "in setup\nin call ? ü\nin teardown\n"
    assert test.stderr == "oops\n"
    assert "assert 0" in test.longrepr
    assert test.time > 0


def run_source(tmp_path: Path, python: Path, runner: ModuleRunner, source: str) -> RunReport:
    return runner.run(request_for(python, write_project(tmp_path / "project", {"test_it.py": source})))


def test_captured_output_is_bounded_over_the_module_and_the_cut_is_said(
    tmp_path: Path, python: Path, runner: ModuleRunner
) -> None:
    source = """
        import pytest
        @pytest.mark.parametrize("n", range(40))
        def test_flood(n): print("x" * 100_000)
        """
    report = run_source(tmp_path, python, runner, source)
    assert report.counts == Counts(passed=40)
    assert report.text_cut
    assert sum(len(test.stdout) for test in report.tests) < 1.1 * 1024 * 1024
    assert "cut" in grade_module(report, 1).detail


def test_a_repr_that_raises_does_not_end_the_run(tmp_path: Path, python: Path, runner: ModuleRunner) -> None:
    source = """
        class Odd:
            def __repr__(self): raise RuntimeError("no repr")
            def __eq__(self, other): return False
        def test_a(): assert Odd() == Odd()
        def test_b(): pass
        """
    assert run_source(tmp_path, python, runner, source).counts == Counts(passed=1, failed=1)


def test_tests_that_replace_what_writes_events_do_not_silence_them(
    tmp_path: Path, python: Path, runner: ModuleRunner
) -> None:
    source = """
        import json, os
        def test_replaces():
            os.write = os.getpid = json.dumps = None
        def test_after(): assert 0
        """
    assert run_source(tmp_path, python, runner, source).counts == Counts(passed=1, failed=1)


def test_a_forked_child_that_runs_on_inside_pytest_adds_nothing(
    tmp_path: Path, python: Path, runner: ModuleRunner
) -> None:
    source = """
        import os
        def test_forks():
            pid = os.fork()
            if pid: os.waitpid(pid, 0)
        def test_after(): pass
        """
    report = run_source(tmp_path, python, runner, source)
    assert report.counts == Counts(passed=2)
    assert grade_module(report, 2).verdict is Verdict.PASSED


def test_a_test_that_closes_every_descriptor_is_not_written_into(
    tmp_path: Path, python: Path, runner: ModuleRunner
) -> None:
    source = """
        import os
        def test_closes():
            for fd in range(3, 1024):
                try: os.close(fd)
                except OSError: pass
            for _ in range(200): os.open("mine", os.O_RDWR | os.O_CREAT)
        def test_after(): assert os.path.getsize("mine") == 0
        def teardown_module(): print(os.path.getsize("mine"))
        """
    report = run_source(tmp_path, python, runner, source)
    result = grade_module(report, 2)
    assert result.verdict is Verdict.CRASHED  # pytest's end cannot be told any more
    assert result.counts == Counts(failed=2)


def test_no_argument_and_no_variable_shows_the_nonce(tmp_path: Path, python: Path, runner: ModuleRunner) -> None:
    source = """
        import os, sys, re
        def test_look():
            text = open("/proc/self/cmdline").read() + repr(dict(os.environ)) + repr(sys.argv)
            assert not re.search(r"\\b[0-9a-f]{16}\\b", text.replace(os.getcwd(), ""))
        """
    assert run_source(tmp_path, python, runner, source).counts == Counts(passed=1)


def test_xdist_in_the_projects_options(tmp_path: Path, runner: ModuleRunner) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed here")
    python = Path(sys.executable)
    source = "import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_it(n): assert n"
    without = " ".join(f"-p no:{name}" for name in ("schemathesis", "hypothesispytest", "anyio"))  # seconds to import
    ini = f"[pytest]\naddopts = -n 2 {without}\n"
    project = write_project(tmp_path / "x", {"test_it.py": source, "pytest.ini": ini})
    report = runner.run(request_for(python, project))
    assert report.counts == Counts(passed=5, failed=1)
    assert grade_module(report, 1).verdict is Verdict.FAILED
