"""The last steps of an environment, in which what is installed may do what it likes to it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.boxed_command import BoxedCommandRunner
from testmesh.testing.boxes import Boxes
from testmesh.testing.environment_check import EnvironmentCheck
from testmesh.testing.environment_seal import restore_python, seal
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
def test_what_it_runs_changes_nothing_but_packages(boxes_of: BoxesOf, place: Path, level: str) -> None:
    code = "import shutil; shutil.rmtree(sys.prefix + '/bin', True); open(sys.prefix + '/lib/ran', 'w').close()"
    environment = spoiled(place, code)
    info = next(environment.glob("lib/*/site-packages")) / "own-1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[pytest11]\n")  # so that it is run
    EnvironmentCheck(BoxedCommandRunner(boxes_of(level)), environment, HERE, READABLE, None).compile(60)
    assert (environment / "lib" / "ran").exists()
    assert (environment / "bin" / "python").readlink() == HERE.path


LEADS_AWAY = {
    "lib": lambda environment, away: ((environment / "lib").rename(away), (environment / "lib").symlink_to(away)),
    "site-packages": lambda environment, away: (
        (site := next(environment.glob("lib/*/site-packages"))).rename(away),
        site.symlink_to(away),
    ),
}


@pytest.mark.parametrize("how", LEADS_AWAY.values(), ids=LEADS_AWAY)
def test_packages_that_are_elsewhere_are_not_written_to(
    boxes: Boxes, place: Path, how: Callable[[Path, Path], object]
) -> None:
    environment = bare_environment(place / "env").parents[1]
    how(environment, place / "away")
    before = sorted((place / "away").rglob("*"))
    with pytest.raises(EnvironmentFailedError, match="replaces"):
        EnvironmentCheck(BoxedCommandRunner(boxes), environment, HERE, READABLE, None).compile(60)
    assert sorted((place / "away").rglob("*")) == before


def test_what_an_earlier_compilation_left_is_not_written_through(place: Path, boxes: Boxes) -> None:
    environment = bare_environment(place / "env").parents[1]
    victim = place / "victim"
    victim.write_text("precious")
    (place / "check").mkdir()
    (place / "check" / "pytest.ini").symlink_to(victim)
    EnvironmentCheck(BoxedCommandRunner(boxes), environment, HERE, READABLE, None).compile(60)
    assert victim.read_text() == "precious"


def test_a_list_of_plugins_that_is_no_file_keeps_nobody_waiting(place: Path, boxes: Boxes) -> None:
    environment = bare_environment(place / "env").parents[1]
    site = next(environment.glob("lib/*/site-packages"))
    reading, writing = os.pipe()
    for name, target in (("pipe", f"/proc/{os.getpid()}/fd/{reading}"), ("log", "/proc/kmsg")):
        (site / f"{name}-1.dist-info").mkdir()
        (site / f"{name}-1.dist-info" / "entry_points.txt").symlink_to(target)
    os.mkfifo(site / "fifo")
    (site / "other-1.dist-info").mkdir()
    (site / "fifo").rename(site / "other-1.dist-info" / "entry_points.txt")
    EnvironmentCheck(BoxedCommandRunner(boxes), environment, HERE, READABLE, None).compile(60)
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_its_configuration_leads_to_its_interpreter_again(place: Path) -> None:
    environment = bare_environment(place / "env").parents[1]
    (environment / "pyvenv.cfg").unlink()
    (environment / "pyvenv.cfg").symlink_to(place / "theirs")
    (place / "theirs").write_text("home = /elsewhere\n")
    restore_python(environment, HERE)
    assert not (environment / "pyvenv.cfg").is_symlink()
    assert f"home = {HERE.path.parent}\n" in (environment / "pyvenv.cfg").read_text()
    assert (place / "theirs").read_text() == "home = /elsewhere\n"


def test_no_step_takes_longer_than_is_left(place: Path) -> None:
    environment = spoiled(place, "import time; time.sleep(600)")
    next(environment.glob("lib/*/site-packages/pluggy/__init__.py")).unlink()  # so that it has to be asked
    runner = CommandRunner()
    commands = RecordedCommands(runner)
    with pytest.raises(InstallTimeoutError):
        EnvironmentCheck(commands, environment, HERE, READABLE, None).pytest(0.5)
    assert len(commands.commands) == 1
