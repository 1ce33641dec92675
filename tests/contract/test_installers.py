"""One suite over every installer: what the environments rely on."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.installers import (
    Installation,
    Installer,
    InstallTimeoutError,
    PipInstaller,
    UvInstaller,
    find_uv,
    python_of,
)
from testmesh.testing.package_index import machine_index
from testmesh.testing.run_command import CommandRunner, RunCommand
from tests.support.commands import RecordedCommands
from tests.support.fake_installer import FakeInstaller
from tests.support.wheels import make_project, make_sdist, make_wheel

Make = Callable[..., Installer]
REAL = ["uv", "pip"]


def environ_for(links: Path, **more: str) -> dict[str, str]:
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}
    return {"PATH": os.environ["PATH"], **index, **more}


@pytest.fixture
def links(tmp_path: Path) -> Path:
    folder = tmp_path / "links"
    make_wheel(folder, "alpha", "1.0")
    make_wheel(folder, "alpha", "2.0")
    make_wheel(folder, "beta", "1.0", requires=["alpha<2"])
    return folder


@pytest.fixture
def runner() -> Iterator[CommandRunner]:
    runner = CommandRunner()
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, as it is one for all environments of a node; what a test needs of it, it makes itself."""
    return tmp_path_factory.mktemp("cache")


def real(kind: str, cache: Path, environ: dict[str, str], runner: RunCommand) -> Installer:
    index = machine_index(environ)
    if kind == "pip":
        return PipInstaller(cache, index, environ, runner)
    uv = find_uv()
    if uv is None:
        pytest.skip("uv is not installed")
    return UvInstaller(uv, cache, index, environ, runner)


@pytest.fixture(params=["fake", *REAL])
def installer(request: pytest.FixtureRequest, cache: Path, links: Path, runner: CommandRunner) -> Installer:
    if request.param == "fake":
        return FakeInstaller(links)
    return real(request.param, cache, environ_for(links), runner)


@pytest.fixture(params=["fake", *REAL])
def unreachable(
    request: pytest.FixtureRequest, tmp_path: Path, cache: Path, runner: CommandRunner
) -> Iterator[Installer]:
    if request.param == "fake":
        yield FakeInstaller(tmp_path, is_reachable=False)
        return
    with socket.socket() as closed:  # bound and not listening: connections are refused, and nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        environ = environ_for(tmp_path, PIP_NO_INDEX="", PIP_FIND_LINKS="", PIP_INDEX_URL=url, PIP_RETRIES="1")
        yield real(request.param, cache, environ, runner)


def wanted(tmp_path: Path, *lines: str, constraints: tuple[str, ...] = (), timeout_s: float = 100.0) -> Installation:
    work, sources = tmp_path / "work", tmp_path / "sources"
    work.mkdir(exist_ok=True)
    sources.mkdir(exist_ok=True)
    return Installation(tmp_path / "env", Path(sys.executable), lines, constraints, sources, work, timeout_s)


def says(installation: Installation, code: str) -> str:
    argv = [str(python_of(installation.target)), "-I", "-c", code]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def test_the_newest_version_is_installed_and_nothing_of_the_node(installer: Installer, tmp_path: Path) -> None:
    installation = wanted(tmp_path, "alpha")
    installer.install(installation)
    code = "import alpha, importlib.util as u; print(alpha.version, u.find_spec('flask'))"
    assert says(installation, code) == "2.0 None"


def test_pins_and_constraints_are_kept(installer: Installer, tmp_path: Path) -> None:
    installation = wanted(tmp_path, "alpha", "alpha>=1", constraints=("alpha<2",))
    installer.install(installation)
    assert says(installation, "import alpha; print(alpha.version)") == "1.0"


@pytest.mark.parametrize(
    "lines", [("alpha==9.9",), ("nosuchpackage",), ("alpha==1.0", "alpha==2.0")], ids=["version", "name", "conflict"]
)
def test_what_cannot_be_satisfied_is_the_projects_fault(
    installer: Installer, tmp_path: Path, lines: tuple[str, ...]
) -> None:
    with pytest.raises(EnvironmentFailedError, match=r"alpha|nosuchpackage"):
        installer.install(wanted(tmp_path, *lines))


def test_an_index_out_of_reach_is_nobodys_fault(unreachable: Installer, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError):
        unreachable.install(wanted(tmp_path, "alpha"))


@pytest.fixture(params=REAL)
def real_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def real_installer(real_kind: str, cache: Path, links: Path, runner: CommandRunner) -> Installer:
    return real(real_kind, cache, environ_for(links, MESH_SECRET="do not tell"), runner)


def test_a_folder_with_extras_and_a_source_distribution_are_built(
    real_installer: Installer, tmp_path: Path, links: Path
) -> None:
    make_sdist(links, "gamma", "3.0")
    installation = wanted(tmp_path, "./own[test]", "own", "gamma")
    make_project(installation.sources / "own", "own", module="value = 42\n")
    real_installer.install(installation)
    assert says(installation, "import own, gamma; print(own.value, gamma.value)") == "42 1"


def test_a_failing_build_is_told_in_its_own_words(real_installer: Installer, tmp_path: Path, links: Path) -> None:
    make_sdist(links, "broken", build="raise SystemExit('my compiler is gone: No space left on device')")
    with pytest.raises(EnvironmentFailedError, match="my compiler is gone"):
        real_installer.install(wanted(tmp_path, "broken"))


def test_a_build_sees_no_setting_of_the_node(
    real_installer: Installer, tmp_path: Path, links: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_SECRET", "do not tell")
    seen = tmp_path / "seen"
    make_sdist(links, "nosy", build=f"import os; open({str(seen)!r}, 'w').write(repr(dict(os.environ)))")
    real_installer.install(wanted(tmp_path, "nosy"))
    assert "do not tell" not in seen.read_text()
    assert "MESH_" not in seen.read_text()


def test_what_there_are_wheels_of_runs_no_foreign_code(
    real_kind: str, tmp_path: Path, links: Path, cache: Path, runner: CommandRunner
) -> None:
    ran = tmp_path / "ran"
    start = f"import os; open({str(ran)!r}, 'w').close()\n"
    make_wheel(links, "eager", "1.0", {"eager.py": "", "eager.pth": start}, requires=["alpha"])
    commands = RecordedCommands(runner)
    installation = wanted(tmp_path, "eager", "beta")
    real(real_kind, cache, environ_for(links), commands).install(installation)
    assert not any(command.foreign for command in commands.commands)
    assert not ran.exists()
    says(installation, "import alpha, beta, eager")
    assert ran.exists()  # or the test proves nothing


def test_a_build_is_boxed_and_leaves_nothing_in_the_cache_of_all(
    real_kind: str, tmp_path: Path, links: Path, runner: CommandRunner
) -> None:
    shared = tmp_path / "shared"
    commands = RecordedCommands(runner)
    url = "http://user:hunter2@127.0.0.1:9/simple"
    environ = environ_for(links, PIP_EXTRA_INDEX_URL=url, UV_INDEX=url, HTTPS_PROXY=url)
    installer = real(real_kind, shared, environ, commands)
    make_sdist(links, "gamma", build="import os; open(os.path.join(os.environ['TMPDIR'], 'built'), 'w').close()")
    installation = replace(wanted(tmp_path, "./own", "gamma", "alpha"), readable=(tmp_path / "python",))
    make_project(installation.sources / "own", "own")
    installer.install(installation)
    assert (installation.work / "tmp" / "built").exists()
    says(installation, "import own, gamma, alpha")
    *plain, boxed = commands.commands
    assert boxed.foreign
    assert not any(command.foreign for command in plain)
    assert boxed.writable == (installation.target, installation.work, installation.sources)
    assert {tmp_path / "python", links} <= set(boxed.readable)
    assert str(shared) not in repr(boxed.env)
    assert "hunter2" not in repr(boxed.env)
    assert "http://127.0.0.1:9/simple" in repr(boxed.env)
    kept = [file for file in shared.rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if "gamma" in file.name or b"value = 1" in file.read_bytes()]


@pytest.mark.parametrize("real_kind", ["uv"], indirect=True)  # as for pip
def test_a_build_that_ends_its_installer_is_the_projects_fault(
    real_installer: Installer, tmp_path: Path, links: Path
) -> None:
    make_sdist(links, "killer", build="import os; os.kill(os.getppid(), 9)")
    with pytest.raises(EnvironmentFailedError):
        real_installer.install(wanted(tmp_path, "killer"))


def test_a_cancelled_installation_ends_with_all_it_started(
    real_installer: Installer, tmp_path: Path, links: Path
) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    build = f"import subprocess\nkeep = open({str(fifo)!r}, 'w')\nkeep.write('started\\n'); keep.flush()\n"
    make_sdist(links, "hanging", build=f"{build}subprocess.run(['sleep', '600'], pass_fds=[keep.fileno()])")
    cancellation = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        installation = replace(wanted(tmp_path, "hanging"), cancellation=cancellation)
        installing = pool.submit(real_installer.install, installation)
        with fifo.open() as stream:
            assert stream.readline() == "started\n"
            cancellation.cancel()
            assert stream.read() == ""  # ends only when the last holder of the pipe is gone
        with pytest.raises(CancelledError):
            installing.result(30)


@pytest.mark.parametrize("real_kind", ["uv"], indirect=True)  # as for pip
def test_a_hanging_build_ends_with_all_it_started(real_installer: Installer, tmp_path: Path, links: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    started = tmp_path / "started"
    build = f"import subprocess\nkeep = open({str(fifo)!r}, 'w')\nopen({str(started)!r}, 'w').close()\n"
    make_sdist(links, "hanging", build=f"{build}subprocess.run(['sleep', '600'], pass_fds=[keep.fileno()])")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for timeout_s in (2.0, 10.0, 40.0):  # a busy machine may not come to the build in the first
            with pytest.raises(InstallTimeoutError, match="took more than"):
                real_installer.install(wanted(tmp_path, "hanging", timeout_s=timeout_s))
            if started.exists():
                break
        assert started.exists()
        os.set_blocking(reader, True)
        with os.fdopen(reader, "rb", closefd=False) as stream:
            assert stream.read() == b""  # ends only when the last holder of the pipe is gone
    finally:
        os.close(reader)


@pytest.mark.parametrize("real_kind", ["uv"], indirect=True)  # pip unpacks every time
def test_writing_into_an_environment_does_not_spoil_the_next(real_installer: Installer, tmp_path: Path) -> None:
    first = wanted(tmp_path, "alpha")
    real_installer.install(first)
    module = Path(says(first, "import alpha; print(alpha.__file__)"))
    with module.open("a") as stream:
        stream.write("version = 'poisoned'\n")
    real_installer.install(first)
    assert says(first, "import alpha; print(alpha.version)") == "2.0"


def test_hashes_of_some_lines_do_not_demand_them_of_all(real_installer: Installer, tmp_path: Path, links: Path) -> None:
    import hashlib

    digest = hashlib.sha256((links / "alpha-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    installation = wanted(tmp_path, f"alpha==1.0 --hash=sha256:{digest}", "beta")
    real_installer.install(installation)
    assert says(installation, "import alpha, beta; print(alpha.version)") == "1.0"


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_a_link_in_the_work_folder_is_not_written_through(real_installer: Installer, tmp_path: Path, name: str) -> None:
    installation = wanted(tmp_path, "alpha", constraints=("alpha<2",))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (installation.work / name).symlink_to(victim)
    real_installer.install(installation)
    assert victim.read_text() == "mine"
    assert says(installation, "import alpha; print(alpha.version)") == "1.0"
