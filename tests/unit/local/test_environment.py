from collections.abc import Callable
from pathlib import Path

import pytest

from testmesh.local import environment
from testmesh.local.environment import ensure_environment
from testmesh.local.errors import LocalError


class Machine:
    """Plays the commands: which tools there are, and which of them fail."""

    def __init__(self, root: Path) -> None:
        self.venv = root / ".venv"
        self.uv: str | None = None
        self.fails: Callable[[list[str]], bool] = lambda _command: False
        self.done: list[str] = []

    def run(self, command: list[str], *, quiet: bool = False) -> bool:
        if self.fails(command):
            return False
        if "venv" in command:
            self.done.append("uv venv" if command[0] == self.uv else "venv")
            (self.venv / "bin").mkdir(parents=True, exist_ok=True)
            (self.venv / "bin" / "python").touch()
            (self.venv / ".testmesh-unfinished").unlink(missing_ok=True)
        elif "install" in command:
            self.done.append("uv install" if command[0] == self.uv else "pip install")
        return True


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(environment, "_run", machine.run)
    monkeypatch.setattr("shutil.which", lambda _name: machine.uv)
    (tmp_path / "requirements.txt").write_text("one==1\n")
    return machine


def make(machine: Machine) -> list[str]:
    """What was done, this time."""
    machine.done.clear()
    assert ensure_environment(machine.venv.parent, "requirements.txt") == machine.venv / "bin" / "python"
    return list(machine.done)


def test_it_is_made_once(machine: Machine) -> None:
    assert make(machine) == ["venv", "pip install"]
    assert make(machine) == []


def test_uv_is_used_where_it_is(machine: Machine) -> None:
    machine.uv = "/tools/uv"
    assert make(machine) == ["uv venv", "uv install"]


def test_other_requirements_are_installed_into_it(machine: Machine) -> None:
    make(machine)
    (machine.venv.parent / "requirements.txt").write_text("one==2\n")
    assert make(machine) == ["pip install"]
    assert make(machine) == []


def test_an_interrupted_install_is_begun_anew(machine: Machine) -> None:
    make(machine)
    (machine.venv / ".testmesh-unfinished").touch()
    assert make(machine) == ["venv", "pip install"]


def test_where_uv_cannot_reach_its_index_pip_may(machine: Machine) -> None:
    machine.uv = "/tools/uv"
    machine.fails = lambda command: command[0] == "/tools/uv" and "install" in command
    machine.done.clear()
    assert make(machine)[-1] == "pip install"


def test_where_nothing_can_be_installed_it_is_not_taken_for_made(machine: Machine) -> None:
    machine.fails = lambda command: "install" in command
    for _ in range(2):
        with pytest.raises(LocalError, match="is the package index reachable"):
            ensure_environment(machine.venv.parent, "requirements.txt")
    machine.fails = lambda _command: False
    assert make(machine) == ["venv", "pip install"]


def test_where_venv_is_missing_the_package_is_named(machine: Machine) -> None:
    machine.fails = lambda command: "venv" in command
    with pytest.raises(LocalError, match="python3-venv"):
        ensure_environment(machine.venv.parent, "requirements.txt")
