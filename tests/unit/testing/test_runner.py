"""Whatever a module does: the verdict of the table, and nothing of it left."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testmesh.errors import InfrastructureError
from testmesh.model import Counts, ModuleResult, Verdict
from testmesh.testing.boxes import Boxes
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.events import Event, RunReport
from testmesh.testing.grading import grade_module
from testmesh.testing.runner import ModuleRunner, RunRequest
from testmesh.testing.warm_parents import WarmParent
from tests.support.boxes import BoxesOf, descriptors_of, launchers, reachable_folder
from tests.support.projects import bare_environment, processes_with, request_for, wait_until, write_project
from tests.support.warm import STARTS, WarmRunner, warm_parent


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with reachable_folder() as folder:
        yield bare_environment(folder / "env")


class Bench:
    """Runs sources as modules and checks that each leaves the work folder empty."""

    def __init__(self, folder: Path, python: Path, boxes: Boxes, warm: WarmParent | None = None) -> None:
        self.folder, self.python, self.boxes = folder, python, boxes
        self.work, locks = folder / "work", folder / "lock"
        self.runner = (
            ModuleRunner(self.work, boxes, locks) if warm is None else WarmRunner(self.work, boxes, warm, locks)
        )

    def request(self, source: str, timeout_s: float = 60.0, files: Mapping[str, str] | None = None) -> RunRequest:
        project = write_project(self.folder / uuid.uuid4().hex[:8], {"test_it.py": source, **(files or {})})
        return request_for(self.python, project, timeout_s=timeout_s)

    def report(self, source: str, timeout_s: float = 60.0, files: Mapping[str, str] | None = None) -> RunReport:
        report = self.runner.run(self.request(source, timeout_s, files))
        assert list(self.work.iterdir()) == []
        return report

    def grade(
        self, source: str, tests_found: int = 1, timeout_s: float = 60.0, files: Mapping[str, str] | None = None
    ) -> ModuleResult:
        return grade_module(self.report(source, timeout_s, files), tests_found)

    def grade_timeout(self, source: str, passed: int) -> ModuleResult:
        """Of a module that hangs after some tests; with more time where the machine is too busy to come so far."""
        for timeout_s in (3.0, 10.0, 40.0):
            result = self.grade(source, tests_found=1, timeout_s=timeout_s)
            if result.counts.passed == passed:
                break
        return result


@pytest.fixture(scope="module")
def warm(python: Path) -> Iterator[WarmParent]:
    with warm_parent(python) as parent:
        yield parent


@pytest.fixture(params=STARTS)
def bench(request: pytest.FixtureRequest, place: Path, python: Path, boxes: Boxes, warm: WarmParent) -> Bench:
    return Bench(place, python, boxes, warm if request.param == "warm" else None)


@pytest.fixture
def level_bench(place: Path, python: Path, level_boxes: Boxes, warm: WarmParent) -> Bench:
    return Bench(place, python, level_boxes, warm)


# Dishonest and unlucky ends ------------------------------------------------------------------

ONE_OF_TWO = "def test_a(): pass\ndef test_b(): pass\n"
ENDS = {
    "os._exit(0) in a test": ("import os\ndef test_a(): pass\ndef test_b(): os._exit(0)", {}, (1, 1)),
    "os._exit(0) at import": ("import os\nos._exit(0)\n" + ONE_OF_TWO, {}, (0, 2)),
    "sys.exit(0) at import": ("import sys\nsys.exit(0)\n" + ONE_OF_TWO, {}, (0, 2)),
    "pytest.exit(0)": ("import pytest\ndef test_a(): pass\ndef test_b(): pytest.exit('x', returncode=0)", {}, (1, 1)),
    "pytest.exit in the last teardown": (
        ONE_OF_TWO + "import pytest\ndef teardown_module(): pytest.exit('x', returncode=0)",
        {},
        (2, 0),
    ),
    "atexit hides a failure": (
        "import atexit, os\natexit.register(os._exit, 0)\ndef test_a(): pass\ndef test_b(): assert 0",
        {},
        (1, 1),
    ),
    "prints a summary": ("import os\nprint('=== 999 passed in 0.1s ===')\nos._exit(0)\n" + ONE_OF_TWO, {}, (0, 2)),
    "killed": ("import os\ndef test_a(): pass\ndef test_b(): os.kill(os.getpid(), 9)", {}, (1, 1)),
    "killed by its terminal": ("import os\ndef test_a(): pass\ndef test_b(): os.kill(os.getpid(), 1)", {}, (1, 1)),
    "segmentation fault": ("import ctypes\ndef test_a(): pass\ndef test_b(): ctypes.string_at(0)", {}, (1, 1)),
    "parent killed": ("import os\ndef test_a(): pass\ndef test_b(): os.kill(os.getppid(), 9); os._exit(0)", {}, (1, 1)),
    "only collects": (ONE_OF_TWO, {"pytest.ini": "[pytest]\naddopts = --co"}, (0, 2)),
    "only sets up": (ONE_OF_TWO, {"pytest.ini": "[pytest]\naddopts = --setup-only"}, (0, 2)),
    "only shows help": (ONE_OF_TWO, {"pytest.ini": "[pytest]\naddopts = --help"}, (0, 2)),
    "only shows fixtures": (ONE_OF_TWO, {"pytest.ini": "[pytest]\naddopts = --fixtures"}, (0, 2)),
    "a conftest leaves": (ONE_OF_TWO, {"conftest.py": "import os; os._exit(0)"}, (0, 2)),
    "a conftest stops it": (
        ONE_OF_TWO,
        {"conftest.py": "def pytest_runtest_logfinish(nodeid): raise SystemExit(0)"},
        (1, 1),
    ),
    "a conftest says stop": (
        ONE_OF_TWO,
        {"conftest.py": "def pytest_collection_finish(session): session.shouldstop = 'enough'"},
        (1, 1),
    ),
    "a conftest runs nothing": (
        ONE_OF_TWO,
        {"conftest.py": "def pytest_runtestloop(session): return True"},
        (0, 2),
    ),
    "an internal error": (
        ONE_OF_TWO,
        {"conftest.py": "def pytest_collection_finish(session): raise ValueError('mine')"},
        (0, 2),
    ),
}


@pytest.mark.parametrize(("source", "files", "passed_failed"), ENDS.values(), ids=ENDS)
def test_an_end_without_completing_is_crashed_and_counts_what_did_not_run(
    bench: Bench, source: str, files: dict[str, str], passed_failed: tuple[int, int]
) -> None:
    result = bench.grade(source, tests_found=2, files=files)
    assert result.verdict is Verdict.CRASHED
    assert (result.counts.passed, result.counts.failed + result.counts.errors) == passed_failed
    assert result.detail


COLLECT = {
    "syntax error": ("def test_a(:\n", {}),
    "import error": ("import nothing_of_that_name\n", {}),
    "a class fails": ("def test_a(): pass\nimport pytest\n@pytest.mark.parametrize('x')\ndef test_b(): pass", {}),
    "a broken conftest": (ONE_OF_TWO, {"conftest.py": "import nothing_of_that_name"}),
    "an option that is not there": (ONE_OF_TWO, {"pytest.ini": "[pytest]\naddopts = --cov=src"}),
    "a broken ini file": (ONE_OF_TWO, {"pytest.ini": "[pytest\naddopts = "}),
    "goes on, with nothing left": (
        "import nothing_of_that_name",
        {"pytest.ini": "[pytest]\naddopts = --continue-on-collection-errors"},
    ),
    "stops at the first": ("import nothing_of_that_name", {"pytest.ini": "[pytest]\naddopts = -x"}),
}


@pytest.mark.parametrize(("source", "files"), COLLECT.values(), ids=COLLECT)
def test_what_cannot_be_collected_counts_the_tests_found(bench: Bench, source: str, files: dict[str, str]) -> None:
    result = bench.grade(source, tests_found=3, files=files)
    assert (result.verdict, result.counts) == (Verdict.COLLECT_ERROR, Counts(failed=3))
    assert result.detail


def test_leaving_pytest_at_import_is_no_success(bench: Bench) -> None:
    result = bench.grade("import pytest\npytest.exit('x', returncode=0)\n" + ONE_OF_TWO, tests_found=2)
    assert result.verdict in (Verdict.COLLECT_ERROR, Verdict.CRASHED)  # older versions of pytest end by it
    assert result.counts == Counts(failed=2)


def test_an_environment_without_pytest_is_the_environments_failure(place: Path, boxes: Boxes) -> None:
    python = bare_environment(place / "env")
    shutil.rmtree(next(python.parent.parent.glob("lib/*/site-packages/pluggy")))
    result = Bench(place, python, boxes).grade(ONE_OF_TWO, tests_found=2)
    assert (result.verdict, result.counts) == (Verdict.ENV_FAILED, Counts(failed=2))
    assert "pluggy" in result.detail


def test_a_service_failure_is_not_the_tests(place: Path, python: Path, boxes: Boxes, tmp_path: Path) -> None:
    bench = Bench(place, python, boxes)
    with pytest.raises(InfrastructureError, match="no-such-python"):
        bench.runner.run(request_for(tmp_path / "no-such-python", bench.request(ONE_OF_TWO).code))
    with pytest.raises(InfrastructureError, match="no-such-project"):
        bench.runner.run(request_for(bench.python, tmp_path / "no-such-project"))
    assert list(bench.work.iterdir()) == []


# Limits --------------------------------------------------------------------------------------

ESCAPES = """
    import os, signal, subprocess, sys, time
    MARK, PARENT = "{mark}", os.getppid()
    SLEEP = [sys.executable, "-c", "import time; time.sleep(600)", MARK]
    def spawn(**options): return subprocess.Popen(SLEEP, **options)
    def stop_parent():
        try: os.kill(PARENT, signal.SIGSTOP)
        except PermissionError: pass  # where there are walls: else the test would fail and all end at once
    def test_before(): pass
    def test_escapes():
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD): signal.signal(number, signal.SIG_IGN)
        spawn(); spawn(start_new_session=True)
        os.kill(spawn(start_new_session=True).pid, signal.SIGSTOP)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0: os.execv(sys.executable, SLEEP)
            os._exit(0)
        for _ in range(5):  # a tree of 32 processes
            os.fork()
        subprocess.Popen(SLEEP)
        {end}
    def test_after(): pass
    """


def test_no_process_outlives_a_module_that_ends_itself(level_bench: Bench) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    result = level_bench.grade(ESCAPES.format(mark=mark, end="os._exit(0)"), tests_found=3)
    assert processes_with(mark) == []
    assert (result.verdict, result.counts) == (Verdict.CRASHED, Counts(passed=1, failed=2))


def test_no_process_outlives_a_module_over_its_time(level_bench: Bench) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    result = level_bench.grade_timeout(ESCAPES.format(mark=mark, end="time.sleep(600)"), passed=1)
    assert processes_with(mark) == []
    assert (result.verdict, result.counts) == (Verdict.TIMEOUT, Counts(passed=1, failed=2))


@pytest.mark.parametrize("end", ["time.sleep(600)", "stop_parent(); time.sleep(600)"])
def test_no_process_outlives_a_cancelled_module(level_bench: Bench, end: str) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    bench = level_bench
    request = bench.request(ESCAPES.format(mark=mark, end=end), timeout_s=300)
    cancellation = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(bench.runner.run, request, cancellation=cancellation)
        wait_until(lambda: run.done() or len(processes_with(mark)) >= 36, "all processes run")
        assert not run.done(), [test.longrepr for test in run.result().tests]
        cancellation.cancel()
        report = run.result(90)
    assert processes_with(mark) == []
    result = grade_module(report, 3)
    assert (result.verdict, result.counts) == (Verdict.CANCELLED, Counts())
    assert list(bench.work.iterdir()) == []


def test_reported_tests_stand_and_the_rest_failed_when_time_is_over(bench: Bench) -> None:
    source = "import time\ndef test_a(): pass\ndef test_b(): time.sleep(600)\ndef test_c(): pass\n"
    result = bench.grade_timeout(source, passed=1)
    assert (result.verdict, result.counts) == (Verdict.TIMEOUT, Counts(passed=1, failed=2))
    assert "test_b" in result.detail
    assert [(test.name, test.outcome) for test in result.tests] == [
        ("test_a", "passed"),
        ("test_b", "failed"),
        ("test_c", "failed"),
    ]


def test_a_hang_at_import_counts_the_tests_found(bench: Bench) -> None:
    result = bench.grade("import time\ntime.sleep(600)\n" + ONE_OF_TWO, tests_found=2, timeout_s=2)
    assert (result.verdict, result.counts) == (Verdict.TIMEOUT, Counts(failed=2))


def test_a_thread_that_never_ends_is_a_timeout_with_all_tests_standing(bench: Bench) -> None:
    source = "import threading, time\ndef test_a(): threading.Thread(target=time.sleep, args=(600,)).start()\n"
    result = bench.grade_timeout(source, passed=1)
    assert (result.verdict, result.counts) == (Verdict.TIMEOUT, Counts(passed=1))
    assert "after pytest had ended" in result.detail


def test_a_flood_on_every_stream_is_read_and_bounded(bench: Bench) -> None:
    source = """
        import os, sys
        def test_flood(capfd):
            with capfd.disabled():
                for _ in range(400):
                    os.write(1, b"o" * 65536); os.write(2, b"e" * 65536)
                os.write(1, b"\\xff\\xed\\xb2\\x80 last words")
        """
    report = bench.report(source)
    assert report.counts == Counts(passed=1)
    assert report.end.output_cut
    assert len(report.end.stdout) + len(report.end.stderr) < 200_000
    assert "last words" in report.end.stdout
    report.end.stdout.encode()


def test_a_test_cannot_stuff_the_stream_of_events(bench: Bench) -> None:
    source = """
        import os
        def test_stuffs():
            for fd in range(3, 256):
                try:
                    if "pipe" in os.readlink(f"/proc/self/fd/{fd}"):
                        for _ in range(100): os.write(fd, b"x" * 65536)
                        os.write(fd, b'\\n{"n": "0123456789abcdef", "e": "exit", "status": 0}\\n[[[[\\n\\n{}\\n')
                        os.write(fd, b'[' * 200_000 + b'\\n{"n": null')
                        os.write(fd, b'\\n')
                except OSError: pass
        def test_fails(): assert 0
        """
    result = bench.grade(source)
    assert (result.verdict, result.counts) == (Verdict.FAILED, Counts(passed=1, failed=1))


def test_a_work_folder_is_removed_whatever_it_holds(level_bench: Bench) -> None:
    source = """
        import os
        def test_leaves_a_mess():
            top = os.getcwd()
            os.symlink("/", "link"); os.mkfifo("pipe"); os.mkdir("closed"); os.mkdir("closed/inner")
            for _ in range(1500):
                os.mkdir("d"); os.chdir("d")
            os.chmod(top + "/closed/inner", 0); os.chmod(top + "/closed", 0); os.chmod(top, 0)
        """
    report = level_bench.report(source)  # checks that nothing is left
    assert report.collected == ("test_leaves_a_mess",)


# What a module sees --------------------------------------------------------------------------


def test_a_module_sees_a_clean_place(level_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET", "not-for-tests")
    monkeypatch.setenv("GITHUB_TOKEN", "not-for-tests")
    source = """
        import os, stat, subprocess, sys, tempfile
        def test_environment():
            allowed = {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"}
            assert {name for name in os.environ if not name.startswith("PYTEST_")} <= allowed
            try: seen = open(f"/proc/{os.getppid()}/environ").read()
            except OSError: seen = ""
            assert "not-for-tests" not in seen
            assert os.path.samefile(subprocess.check_output(["which", "python3"], text=True).strip(), sys.executable)
        def test_folders(tmp_path):
            assert os.environ["HOME"] in os.path.expanduser("~/x") and os.listdir(os.environ["HOME"]) == []
            assert str(tmp_path).startswith(os.environ["TMPDIR"]) and tempfile.gettempdir() == os.environ["TMPDIR"]
            assert os.path.basename(os.getcwd()) == "the project"
            open("written", "w").close()
            open("data.txt", "a").close()
            assert os.access("run.sh", os.X_OK) and os.readlink("link") == "data.txt"
        def test_process():
            assert sys.stdin is not None and os.readlink("/proc/self/fd/0") == "/dev/null"
            before = os.umask(0); os.umask(before)
            assert before == 0o022
            open_now = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2
                        and os.path.exists(f"/proc/self/fd/{fd}")]
            mine = ("/proc", "/dev/null", "pipe:", os.environ["TMPDIR"])
            assert not [name for name in open_now if not name.startswith(mine)]
            assert len({name for name in open_now if name.startswith("pipe:")}) <= 3  # the tests' output and events
            assert "NoNewPrivs:\\t1" in open("/proc/self/status").read()
            import resource
            assert resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)
        """
    project = write_project(
        level_bench.folder / "the project", {"test_it.py": source, "data.txt": "x", "run.sh": "#!/bin/sh"}
    )
    (project / "run.sh").chmod(0o555)
    (project / "data.txt").chmod(0o444)
    (project / "link").symlink_to("data.txt")
    project.chmod(0o555)

    report = level_bench.runner.run(request_for(level_bench.python, project))

    assert [test.longrepr for test in report.tests] == ["", "", ""]
    assert not (project / "written").exists()
    assert list(level_bench.work.iterdir()) == []


def test_a_module_has_its_own_processes_and_network(place: Path, python: Path, boxes_of: BoxesOf) -> None:
    source = """
        import os, signal, socket, time
        def test_processes():
            assert sorted(int(name) for name in os.listdir("/proc") if name.isdigit()) == [1, os.getpid()]
        def test_cannot_hurt_its_init():
            for number in (2, 9, 15, 17, 19): os.kill(1, number)
            os.kill(1, 0)
        def test_network():
            assert [name for _, name in socket.if_nameindex()] == ["lo"]
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with socket.socket(family) as server:
                    server.bind((host, 5000)); server.listen()
                    socket.create_connection(("localhost" if family == socket.AF_INET else host, 5000)).close()
        """
    result = Bench(place, python, boxes_of("full")).grade(source)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


PORT = """
    import socket, time
    server = socket.socket()
    def test_port():
        server.bind(("127.0.0.1", 5000)); server.listen()
        client = socket.create_connection(("localhost", 5000), 5)
        server.accept()[0].sendall(b"x")
        assert client.recv(1) == b"x"
    def test_goes_on_while_others_start(): time.sleep(600)
    """


@pytest.mark.parametrize("level", ["full", "portable"])
def test_32_modules_bind_one_port_at_the_same_time(place: Path, python: Path, boxes_of: BoxesOf, level: str) -> None:
    boxes = boxes_of(level)
    if boxes.level.loopback == "shared":
        pytest.skip(f"no network of its own for a run here: {boxes.level.cause}")
    bench = Bench(place, python, boxes)
    request = bench.request(PORT, timeout_s=300)
    all_bound, cancellation = threading.Barrier(33), Cancellation()

    def run(_: int) -> RunReport:
        def look(event: Event) -> None:
            if event.kind == "begin" and "goes_on" in event.fields["id"]:
                all_bound.wait(240)

        return bench.runner.run(request, on_event=look, cancellation=cancellation)

    with ThreadPoolExecutor(32) as pool:
        runs = [pool.submit(run, number) for number in range(32)]
        try:
            all_bound.wait(240)
        finally:
            cancellation.cancel()
        reports = [one.result(60) for one in runs]
    assert [report.counts for report in reports] == [Counts(passed=1)] * 32
    assert list(bench.work.iterdir()) == []


def test_where_the_loopback_is_shared_modules_with_ports_run_one_at_a_time(
    place: Path, python: Path, boxes_of: BoxesOf
) -> None:
    alone = place / "alone"
    source = f"""
        import os, time
        def test_alone():
            os.mkdir({str(alone)!r}); time.sleep(0.2); os.rmdir({str(alone)!r})
        """
    bench = Bench(place, python, boxes_of("shared"))
    plain = bench.request(source)
    request = RunRequest(plain.code, plain.module, plain.python, plain.bin_dir, plain.timeout_s, binds_ports=True)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: bench.runner.run(request), range(4)))
    assert [report.counts for report in reports] == [Counts(passed=1)] * 4


# The node's side -----------------------------------------------------------------------------


def test_what_is_cancelled_before_it_starts_does_not_start(bench: Bench) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    started: list[bool] = []
    report = bench.runner.run(bench.request(ONE_OF_TWO), lambda: started.append(True), cancellation=cancellation)
    assert report.end.cancelled
    assert not report.started
    assert not started


def test_a_callback_that_raises_ends_the_run_and_leaves_nothing(bench: Bench) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    source = f"import subprocess\ndef test_a(): subprocess.run(['sh', '-c', 'sleep 600 && echo {mark}'])"

    def broken(_: object) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        bench.runner.run(bench.request(source), on_event=broken)
    assert processes_with(mark) == []
    assert list(bench.work.iterdir()) == []


NODE = """
    import sys, threading
    from dataclasses import replace
    from pathlib import Path
    from testmesh.testing.boxes import open_boxes
    from testmesh.testing.isolation import IsolationLevel
    from testmesh.testing.runner import ModuleRunner, RunRequest
    work, code, python, level = sys.argv[1:]
    boxes = open_boxes(Path(work), "none" if level == "shared" else level, python=Path(python))
    if level == "shared": boxes = replace(boxes, level=IsolationLevel("none"))
    runner = ModuleRunner(Path(work), boxes)
    request = RunRequest(Path(code), "test_it.py", Path(python), Path(python).parent, 300)
    threads = [threading.Thread(target=runner.run, args=(request,)) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    """


@pytest.mark.parametrize("level", ["full", "portable", "none", "shared"])
def test_a_node_that_is_killed_leaves_no_process_and_the_next_one_clears_its_folders(
    place: Path, python: Path, boxes_of: BoxesOf, level: str
) -> None:
    boxes = boxes_of(level)
    mark = f"mark-{uuid.uuid4().hex}"
    source = f"""
        import subprocess
        def test_a():
            command = ["sh", "-c", "sleep 600 && echo {mark}"]
            subprocess.Popen(command, start_new_session=True); subprocess.run(command)
        """
    project = write_project(place / "p", {"test_it.py": source})
    script = write_project(place, {"node.py": NODE}) / "node.py"
    work = place / "work"
    source_folder = Path(__file__).parents[3] / "src"
    node = subprocess.Popen(
        [sys.executable, script, work, project, python, level], env=os.environ | {"PYTHONPATH": str(source_folder)}
    )
    try:
        wait_until(lambda: len(processes_with(mark)) >= 4, "both modules run")
        started = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        assert started
    finally:
        node.send_signal(signal.SIGKILL)
        node.wait()
    wait_until(lambda: not processes_with(mark) and not processes_with(str(project)), "everything is gone")
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), "the launcher is gone")

    ModuleRunner(work, boxes)
    assert list(work.glob("run-*")) == []


def test_runs_leave_no_descriptor_and_no_child(level_bench: Bench) -> None:
    bench = level_bench
    request = bench.request(ONE_OF_TWO)
    bench.runner.run(request)
    process = bench.boxes.launcher.pid
    before = descriptors_of(), descriptors_of(process), launchers()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: bench.runner.run(request), range(6)))
    assert (descriptors_of(), descriptors_of(process), launchers()) == before
    wait_until(lambda: not Path(f"/proc/{process}/task/{process}/children").read_text(), "the launcher has no child")


def test_a_launcher_that_is_killed_is_started_again(bench: Bench) -> None:
    assert bench.grade(ONE_OF_TWO).verdict is Verdict.PASSED
    os.kill(bench.boxes.launcher.pid or 0, signal.SIGKILL)
    for _ in range(2):  # the first may be lost on its way
        try:
            assert bench.grade(ONE_OF_TWO).verdict is Verdict.PASSED
        except InfrastructureError:
            continue


def test_callbacks_tell_of_the_start_before_the_end(bench: Bench) -> None:
    told: list[str] = []
    begun = time.monotonic()
    report = bench.runner.run(
        bench.request(ONE_OF_TWO), lambda: told.append("started"), lambda event: told.append(event.kind)
    )
    assert told[0] == "started"
    assert told[-1] == "exit"
    assert 0 < report.end.duration <= time.monotonic() - begun
    assert report.end.cpu_time > 0
