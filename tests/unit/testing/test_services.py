"""Services: which ones a project asks for, and how they run beside its tests."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testmesh.errors import EnvironmentFailedError, MalformedError
from testmesh.model import Counts, ModuleResult, Options, Service, Verdict
from testmesh.testing.boxes import Boxes
from testmesh.testing.grading import grade_module
from testmesh.testing.runner import ModuleRunner, RunRequest
from testmesh.testing.services import parse_services, services_for
from tests.support.boxes import reachable_folder
from tests.support.projects import bare_environment, processes_with, write_project

SERVER = """
    import socket, sys
    server = socket.create_server(("127.0.0.1", 5000))
    print("serving", flush=True)
    while True:
        client, _ = server.accept()
        client.sendall(b"hello"); client.close()
    """
CLIENT = """
    import socket
    def test_hello(): assert socket.create_connection(("localhost", 5000), 5).recv(5) == b"hello"
    """
TABLE = """
    [tool.testmesh]
    services = [{command = "python3 server.py", ready = {port = 5000, timeout_s = 15}}, {command = "true"}]
    """


# What is asked for ---------------------------------------------------------------------------


def test_a_project_asks_in_its_pyproject(tmp_path: Path) -> None:
    write_project(tmp_path, {"pyproject.toml": TABLE})
    assert services_for(tmp_path, Options()) == (Service("python3 server.py", 5000, 15.0), Service("true"))


def test_options_win_even_when_empty(tmp_path: Path) -> None:
    write_project(tmp_path, {"pyproject.toml": TABLE})
    assert services_for(tmp_path, Options(services=())) == ()
    assert services_for(tmp_path, Options(services=(Service("x"),))) == (Service("x"),)


@pytest.mark.parametrize("content", [None, "", "[tool]\n", "[tool.other]\nservices = 3\n", "not toml [", "tool = 3"])
def test_a_project_without_the_table_has_none(tmp_path: Path, content: str | None) -> None:
    write_project(tmp_path, {} if content is None else {"pyproject.toml": content})
    assert services_for(tmp_path, Options()) == ()


def test_a_link_out_of_the_project_is_not_read(tmp_path: Path) -> None:
    write_project(tmp_path, {"other/pyproject.toml": TABLE, "project/test_it.py": ""})
    (tmp_path / "project/pyproject.toml").symlink_to(tmp_path / "other/pyproject.toml")
    assert services_for(tmp_path / "project", Options()) == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[tool.testmesh]\nservices = [{command = 3}]\n", "service 1: command must be a text"),
        ("[tool.testmesh]\nservices = {command = 'x'}\n", "services must be a list"),
        ("[tool.testmesh]\nservice = []\n", "'service' is not known; it takes services"),
        ("[[tool.testmesh]]\nservices = []\n", "must be a table with services"),
        ("[tool]\ntestmesh = 3\n", "must be a table with services"),
        (
            "[[tool.testmesh.services]]\ncommand = 'x'\nready = {ports = 5000}\n",
            "service 1: ready: 'ports' is not known",
        ),
    ],
)
def test_a_malformed_table_is_said_with_its_place(tmp_path: Path, content: str, words: str) -> None:
    write_project(tmp_path, {"pyproject.toml": content})
    with pytest.raises(EnvironmentFailedError, match=re.escape("[tool.testmesh] in pyproject.toml: ")) as caught:
        services_for(tmp_path, Options())
    assert words in str(caught.value)
    assert services_for(tmp_path, Options(services=(Service("x"),))) == (Service("x"),), "options win, unread"


def test_a_pyproject_that_is_costly_to_parse_is_not_parsed(tmp_path: Path) -> None:
    write_project(tmp_path, {"pyproject.toml": TABLE + "\n" + ".".join(["a"] * 50_000) + " = 1\n"})
    assert services_for(tmp_path, Options()) == ()


MALFORMED: list[Any] = [
    "python3 server.py",
    {"command": "x"},
    ["x"],
    [{}],
    [{"command": " "}],
    [{"command": "a\0b"}],
    [{"command": "x" * 5000}],
    [{"command": "x", "port": 5000}],
    [{"command": "x", "ready": 5000}],
    [{"command": "x", "ready": {"port": 0}}],
    [{"command": "x", "ready": {"port": 65536}}],
    [{"command": "x", "ready": {"port": True}}],
    [{"command": "x", "ready": {"port": "5000"}}],
    [{"command": "x", "ready": {"port": 5000, "timeout_s": -1}}],
    [{"command": "x", "ready": {"port": 5000, "timeout_s": float("nan")}}],
    [{"command": "x", "ready": {"port": 5000, "timeout_s": 10**400}}],
    [{"command": "x", "ready": {"port": 5000, "timeout_s": "15"}}],
    [{"command": "x", "ready": {"timeout_s": 15}}],
    [{"command": "x", "ready": {"port": 5000, "seconds": 1}}],
    [{"command": "x", "ready": {"seconds": float("inf")}}],
    [{"command": "x", "ready": {"second": 1}}],
    [{"command": "x"}] * 17,
]


@pytest.mark.parametrize("value", MALFORMED, ids=[str(value)[:60] for value in MALFORMED])
def test_malformed_services_get_a_sentence(value: object) -> None:
    with pytest.raises(MalformedError, match="service"):
        parse_services(value)


# How they run --------------------------------------------------------------------------------


Grade = Callable[..., ModuleResult]


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield bare_environment(folder / "env")


@pytest.fixture
def grade(place: Path, python: Path, boxes: Boxes) -> Grade:
    """The result of a test beside services, on a loopback of its own."""
    if boxes.level.loopback == "shared":
        pytest.skip(f"no network of its own for a run here: {boxes.level.cause}")

    def run(services: tuple[Service, ...], test: str, **files: str) -> ModuleResult:
        project = write_project(place / "project", {"test_it.py": test, "server.py": SERVER} | files)
        runner = ModuleRunner(place / "work", boxes, lock_folder=place / "lock")
        request = RunRequest(project, "test_it.py", python, python.parent, 60.0, services)
        result = grade_module(runner.run(request), 1)
        assert list((place / "work").iterdir()) == []
        return result

    return run


def test_tests_find_their_server_ready(grade: Grade) -> None:
    result = grade((Service("sleep 0.2; exec python3 server.py", 5000),), CLIENT)
    assert (result.verdict, result.counts, result.detail) == (Verdict.PASSED, Counts(passed=1), "")


def test_services_start_in_order_each_when_the_one_before_is_ready(grade: Grade) -> None:
    test = "def test_order(): assert open('order').read() == 'first second '"
    services = (
        Service("sleep 0.3; printf 'first ' >> order; exec python3 server.py", 5000),
        Service("printf 'second ' >> order; exec sleep 600", seconds=0.3),
    )
    assert grade(services, test).counts == Counts(passed=1)


def test_a_service_that_dies_is_said_and_the_tests_judged(grade: Grade) -> None:
    services = (Service("echo no such thing >&2; exit 3", 5000, 30.0),)
    result = grade(services, CLIENT)
    assert (result.verdict, result.counts) == (Verdict.FAILED, Counts(failed=1))
    assert "ended with exit status 3: no such thing" in result.detail


def test_a_service_that_dies_while_tests_run_is_said(grade: Grade) -> None:
    test = """
        import os, pathlib, time
        def test_waits():
            pathlib.Path("go").touch()
            deadline = time.monotonic() + 30
            while not pathlib.Path("gone").exists() and time.monotonic() < deadline: time.sleep(0.02)
            time.sleep(0.2)
        """
    server = (
        "import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\nopen('gone', 'w')\nos.kill(os.getpid(), 9)"
    )
    result = grade((Service("exec python3 dies.py"),), test, **{"dies.py": server})
    assert result.verdict is Verdict.PASSED
    assert "ended with signal 9" in result.detail


def test_a_service_that_is_never_ready_is_said(grade: Grade) -> None:
    services = (Service("echo starting; exec sleep 600", 5000, 0.3),)
    result = grade(services, "def test_a(): pass")
    assert result.verdict is Verdict.PASSED
    assert result.detail == "service `echo starting; exec sleep 600` was never ready: starting"


def test_a_server_of_datagrams_is_given_its_time(grade: Grade) -> None:
    server = (
        "import socket, time\ns = socket.socket(type=socket.SOCK_DGRAM); s.bind(('localhost', 5000)); time.sleep(600)"
    )
    services = (Service("exec python3 datagrams.py", 5000, 0.5),)
    result = grade(services, "def test_a(): pass", **{"datagrams.py": server})
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


def test_a_service_may_go_into_the_background(grade: Grade) -> None:
    result = grade((Service("python3 server.py & exit 0", 5000),), CLIENT)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


def test_a_service_that_floods_its_output_blocks_nothing(grade: Grade) -> None:
    test = "import time\ndef test_a(): time.sleep(0.3)"
    result = grade((Service("yes flood"),), test)
    assert (result.verdict, result.counts) == (Verdict.PASSED, Counts(passed=1))


def test_services_run_at_every_level_and_end_with_the_tests(place: Path, python: Path, level_boxes: Boxes) -> None:
    test = "import time, os\ndef test_a():\n    while not os.path.exists('up'): time.sleep(0.02)"
    project = write_project(place / "project", {"test_it.py": test})
    runner = ModuleRunner(place / "work", level_boxes, lock_folder=place / "lock")
    service = Service(f"touch up; sleep 600; echo {place}")
    report = runner.run(RunRequest(project, "test_it.py", python, python.parent, 60.0, (service,)))
    assert report.counts == Counts(passed=1)
    assert processes_with(f"echo {place}") == []
