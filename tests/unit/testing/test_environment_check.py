"""The last steps of an environment, in which what is installed may do what it likes to it."""

from dataclasses import replace
from pathlib import Path

import pytest

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.boxed_command import BoxedCommandRunner
from testmesh.testing.environment_check import EnvironmentCheck
from testmesh.testing.environment_seal import seal
from testmesh.testing.installers import InstallTimeoutError
from testmesh.testing.interpreters import running_interpreter
from testmesh.testing.machine_files import interpreter_folders
from testmesh.testing.run_command import CommandRunner
from tests.support.boxes import BoxesOf, reachable_python
from tests.support.commands import RecordedCommands
from tests.support.projects import bare_environment

HERE = replace(running_interpreter(), path=reachable_python())
READABLE = tuple(map(Path, interpreter_folders(HERE.path)))

# What a package runs at each start of Python, and does to the environment that it is started in.
SPOILERS = {
    "missing": "os.remove(python)",
    "junk": "os.remove(python); open(python, 'w').write('x')",
    "broken program": "os.remove(python); open(python, 'wb').write(b'\\x7fELF' + bytes(90)); os.chmod(python, 0o755)",
    "loop": "os.remove(python); os.symlink('python', python)",
    "the machine's": "os.remove(python); os.symlink('/bin/' + os.path.basename(os.path.realpath(python)), python)",
    "closed": "os.chmod(sys.prefix + '/bin', 0)",
}


def spoiled(place: Path, code: str) -> Path:
    python = bare_environment(place / "env")
    site = next((place / "env" / "lib").glob("*/site-packages"))
    (site / "a.pth").write_text(f"import os, sys; python = sys.prefix + '/bin/python'; {code}\n")
    return python.parents[1]


@pytest.mark.parametrize("level", ["full", "portable"])
@pytest.mark.parametrize("how", SPOILERS)
def test_whatever_it_does_to_its_python_the_environment_is_complete(
    boxes_of: BoxesOf, place: Path, level: str, how: str
) -> None:
    environment = spoiled(place, SPOILERS[how])
    check = EnvironmentCheck(BoxedCommandRunner(boxes_of(level)), environment, HERE, READABLE, None)
    assert check.pytest(60)[0].isdigit()
    check.compile(60)
    assert seal(environment, HERE) > 0
    assert (environment / "bin" / "python").readlink() == HERE.path


@pytest.mark.parametrize("level", ["full", "portable"])
@pytest.mark.parametrize("how", ["import shutil; shutil.rmtree(sys.prefix + '/bin')", "os.chmod(sys.prefix, 0)"])
def test_without_its_folders_it_is_the_projects_fault(boxes_of: BoxesOf, place: Path, level: str, how: str) -> None:
    environment = spoiled(place, how)
    check = EnvironmentCheck(BoxedCommandRunner(boxes_of(level)), environment, HERE, READABLE, None)
    with pytest.raises(EnvironmentFailedError):
        check.pytest(60)


def test_no_step_takes_longer_than_is_left(place: Path) -> None:
    environment = spoiled(place, "import time; time.sleep(600)")
    runner = CommandRunner()
    commands = RecordedCommands(runner)
    with pytest.raises(InstallTimeoutError):
        EnvironmentCheck(commands, environment, HERE, READABLE, None).pytest(0.5)
    assert len(commands.commands) == 1
