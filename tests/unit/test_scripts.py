"""boot.sh and its kin, run for real in a copy of the repository whose nodes are small fakes."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from testmesh.local import health, nginx, processes
from testmesh.local.processes import ProcessId
from testmesh.local.run_folder import RunFolder
from tests.support.checkout import REPOSITORY, Checkout, checkout


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Checkout]:
    with checkout(tmp_path / "clone with spaces") as clone:
        yield clone


def recorded(clone: Checkout) -> list[ProcessId]:
    return RunFolder(clone.path / ".run").started()


def running(recorded: list[ProcessId]) -> list[ProcessId]:
    return [process for process in recorded if processes.is_alive(process)]


def test_boot_starts_a_mesh_and_down_leaves_nothing(clone: Checkout) -> None:
    started = clone.boot()
    assert started.returncode == 0, started.stderr
    entrance = clone.entrance if nginx.find_nginx() else clone.first_port
    assert f"TESTMESH_URL=http://127.0.0.1:{entrance}" in started.stdout
    assert f"local_node.py --process {clone.first_port + 2} 127.0.0.1 {clone.first_port}" in started.stdout
    assert all(health.is_healthy(port) for port in (clone.first_port, clone.first_port + 1, entrance))
    started_processes = recorded(clone)
    assert len(running(started_processes)) == (3 if nginx.find_nginx() else 2)
    assert clone.run("--down").returncode == 0
    assert running(started_processes) == []
    assert clone.run("--down").returncode == 0


def test_a_node_is_told_where_it_is_and_whom_to_join(clone: Checkout) -> None:
    clone.boot(MESH_BOOTSTRAP="10.1.2.3:5001", MESH_SANDBOX="none", PYTHONPATH="/elsewhere")
    environ = clone.node_environ(1)
    assert environ["HOST_REAL_IP"] == "127.0.0.1"
    assert environ["MESH_HOST"] == "0.0.0.0"
    assert environ["MESH_ADVERTISE"] == f"127.0.0.1:{clone.first_port + 1}"
    assert environ["MESH_BOOTSTRAP"] == f"127.0.0.1:{clone.first_port},10.1.2.3:5001"
    assert environ["MESH_SANDBOX"] == "none"
    assert "PYTHONPATH" not in environ


def test_booting_again_keeps_the_data_and_fresh_drops_it(clone: Checkout) -> None:
    clone.boot()
    first = recorded(clone)
    clone.boot()
    assert running(first) == []
    assert clone.starts(0) == 2
    assert clone.boot("--fresh").returncode == 0
    assert clone.starts(0) == 1


def test_the_secret_is_made_once_and_told_nobody(clone: Checkout) -> None:
    started = clone.boot()
    secret_file = clone.path / ".run" / "secret"
    secret = secret_file.read_text().strip()
    assert len(secret) == 64
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    assert secret not in started.stdout + started.stderr
    clone.boot("--fresh")
    assert clone.node_environ(0)["MESH_SECRET"] == secret
    clone.boot(MESH_SECRET="one-of-my-own")
    assert clone.node_environ(0)["MESH_SECRET"] == "one-of-my-own"
    assert secret_file.read_text().strip() == secret


def test_a_taken_port_is_named_and_nothing_is_left(clone: Checkout) -> None:
    with socket.create_server(("127.0.0.1", clone.first_port + 1)):
        ended = clone.boot()
    assert ended.returncode == 2
    assert f"port {clone.first_port + 1} is taken" in ended.stderr
    assert recorded(clone) == []


def test_a_node_that_dies_is_reported_with_its_last_words(clone: Checkout) -> None:
    ended = clone.boot(FAKE_NODE="dies")
    assert ended.returncode == 2
    assert "fake node: no luck today" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert recorded(clone) == []


def test_ctrl_c_leaves_nothing(clone: Checkout) -> None:
    command = clone.command("--nodes", "2", "--first-port", str(clone.first_port), "--port", str(clone.entrance))
    boot = subprocess.Popen(
        command, env=clone.environ(FAKE_NODE="ill"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    record = clone.path / ".run" / "processes.json"
    assert health.wait_until(lambda: record.exists() and len(recorded(clone)) == 2, 90)
    started = recorded(clone)
    boot.send_signal(signal.SIGINT)
    assert boot.wait(90) == 130
    assert boot.stderr is not None
    assert "Traceback" not in boot.stderr.read()
    assert running(started) == []


def test_two_checkouts_do_not_disturb_each_other(clone: Checkout, tmp_path: Path) -> None:
    with checkout(tmp_path / "other") as other:
        clone.boot()
        other.boot()
        clone.run("--down")
        assert all(health.is_healthy(port) for port in (other.first_port, other.first_port + 1))


def test_two_at_once_in_one_checkout_are_refused(clone: Checkout) -> None:
    clone.boot()
    with (clone.path / ".run" / "lock").open() as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = clone.run("--down")
    assert refused.returncode == 2
    assert "another boot.sh" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--docker"], "docker-compose.yml"),
        (["--what"], "--what is not an option"),
        (["--port"], "--port needs a number"),
        (["--nodes", "0"], "0 nodes cannot be started"),
        (["--nodes", "many"], "many nodes cannot be started"),
        (["--first-port=70000"], "70000 is not a port"),
    ],
)
def test_a_wrong_option_is_said_and_starts_nothing(clone: Checkout, arguments: list[str], said: str) -> None:
    ended = clone.run(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert not (clone.path / ".run" / "logs").exists()


def test_help_names_every_option(clone: Checkout) -> None:
    text = clone.run("--help").stdout
    options = ("--demo", "--down", "--fresh", "--local", "--docker", "--port", "--nodes", "--first-port")
    assert [option for option in options if option not in text] == []


@pytest.mark.parametrize("name", ["boot.sh", "test.sh", ".ci/run", "scripts/python.sh"])
def test_scripts_are_bash(name: str) -> None:
    assert subprocess.run(["bash", "-n", REPOSITORY / name], check=False).returncode == 0
    assert name == "scripts/python.sh" or os.access(REPOSITORY / name, os.X_OK)


def test_without_a_python_the_message_says_which(clone: Checkout, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname", "env"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / "bin" / tool).symlink_to(found)
    ended = clone.run("--down", PATH=str(tmp_path / "bin"), TESTMESH_PYTHON="")
    assert ended.returncode == 2
    assert "Python 3.11" in ended.stderr


def locked(name: str) -> dict[str, str]:
    """Package to version."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([^\s;]+)", (REPOSITORY / name).read_text(), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_locked_version_has_hashes_and_no_index_is_named(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert "index" not in text
    assert len(entries) == len(locked(name))


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {"requirements.txt": project["dependencies"]}
    wanted["requirements-dev.txt"] = project["dependencies"] + project["optional-dependencies"]["dev"]
    for name, lines in wanted.items():
        versions = locked(name)
        for requirement in map(Requirement, lines):
            assert requirement.specifier.contains(versions[requirement.name.lower()]), (name, str(requirement))


def test_the_development_lock_has_the_same_versions() -> None:
    development = locked("requirements-dev.txt")
    assert {name: development.get(name) for name in locked("requirements.txt")} == locked("requirements.txt")


def test_local_node_becomes_a_node_in_the_foreground(clone: Checkout) -> None:
    script = str(clone.path / "src" / "local_node.py")
    command = [sys.executable, script, "--process", str(clone.first_port)]
    node = subprocess.Popen(command, env=clone.environ(), stdout=subprocess.PIPE, text=True)
    try:
        assert health.wait_until(lambda: health.is_healthy(clone.first_port), 90)
        assert (clone.path / ".run" / "secret").exists()
    finally:
        node.terminate()
        output, _ = node.communicate(timeout=20)
    assert node.returncode == 0
    assert f"local_node.py --process {clone.first_port + 1} 127.0.0.1 {clone.first_port}" in output


def test_local_node_without_process_says_what_it_needs(clone: Checkout) -> None:
    command = [sys.executable, str(clone.path / "src" / "local_node.py"), "5001"]
    ended = subprocess.run(command, env=clone.environ(), capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "add --process" in ended.stderr
