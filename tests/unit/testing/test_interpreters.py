import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.environment_key import Interpreter
from testmesh.testing.interpreters import Interpreters, discover, running_interpreter

HERE = running_interpreter()


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def python(folder: Path, name: str, version: str, implementation: str = "cpython", prefix: str = "/nowhere") -> Path:
    """A program that says of itself what a Python would."""
    file = folder / name
    says = json.dumps([str(file), version, implementation, "linux-x86_64", prefix])
    return script(file, f"echo '{says}'")


def found(path: str) -> list[str]:
    running, *others = discover(path)
    assert running == HERE
    return [other.version for other in others]


def test_the_newest_comes_first_behind_the_running_one(tmp_path: Path) -> None:
    for version in ("3.9.18", "3.10.2", "3.99.1"):
        python(tmp_path, f"python{version.rpartition('.')[0]}", version)
    assert found(f"/none:relative:{tmp_path}") == ["3.99.1", "3.10.2", "3.9.18"]


def test_what_is_no_usable_python_is_passed_over(tmp_path: Path) -> None:
    python(tmp_path, "python3.7", "3.7.1")
    python(tmp_path, "python3.9", "3.7.1")
    python(tmp_path, "python3.10", "3.10.1", "pypy")
    python(tmp_path, "python3.10-config", "3.10.1")
    script(tmp_path / "python3.12", "exit 127")
    script(tmp_path / "python3.13", "echo no json")
    script(tmp_path / "python3.14", "echo '[1]'")
    (tmp_path / "python3.15").write_text("not executable")
    (tmp_path / "python3.16").mkdir()
    (tmp_path / "python3.17").symlink_to(tmp_path / "none")
    assert found(str(tmp_path)) == []


def test_one_python_under_several_names_is_one(tmp_path: Path) -> None:
    real = python(tmp_path / "real", "python3.9", "3.9.18")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "python3.9").symlink_to(real)
    assert found(f"{tmp_path / 'a'}:{tmp_path / 'b'}:{tmp_path / 'real'}") == ["3.9.18"]


def test_names_that_lead_to_one_program_are_as_many_as_it_starts(tmp_path: Path) -> None:
    line = 'echo "[\\"/nowhere/${0##*/}\\", \\"${0##*python}.1\\", \\"cpython\\", \\"x\\", \\"/nowhere\\"]"'
    manager = script(tmp_path / "manager", line)
    for name in ("python3.9", "python3.10"):
        (tmp_path / name).symlink_to(manager)
    assert found(str(tmp_path)) == ["3.10.1", "3.9.1"]


def test_the_running_one_is_found_once_however_it_is_named(tmp_path: Path) -> None:
    (tmp_path / f"python3.{sys.version_info[1]}").symlink_to(HERE.path)
    assert found(str(tmp_path)) == []


def test_a_virtual_environments_python_counts_as_the_one_it_is_made_of(tmp_path: Path) -> None:
    base = python(tmp_path / "base" / "bin", "python3.9", "3.9.18", prefix=str(tmp_path / "base"))
    python(tmp_path / "venv", "python3.9", "3.9.18", prefix=str(tmp_path / "base"))
    _, other = discover(str(tmp_path / "venv"))
    assert other.path == base


def test_this_process_runs_a_python_of_no_virtual_environment() -> None:
    assert HERE.path.exists()
    assert not (HERE.path.parents[1] / "pyvenv.cfg").exists()


OLD = replace(HERE, version="3.9.1", path=Path("/nowhere/python3.9"))
NEWER = replace(HERE, version="3.99.0", path=Path("/nowhere/python3.99"))


@pytest.mark.parametrize(
    ("wanted", "version"),
    [("", HERE.version), (">=3.8", HERE.version), ("<3.10", "3.9.1"), ("==3.99.*", "3.99.0"), ("~=3.9.0", "3.9.1")],
)
def test_the_first_that_fits_is_chosen(wanted: str, version: str) -> None:
    assert Interpreters([HERE], lambda: [HERE, NEWER, OLD]).choose(wanted).version == version


def test_where_none_fits_those_there_are_named() -> None:
    with pytest.raises(EnvironmentFailedError, match=f"requires-python is >=4, .* has {HERE.version}, 3.99.0, 3.9.1"):
        Interpreters([HERE], lambda: [HERE, NEWER, OLD]).choose(">=4")


def test_others_are_looked_for_once_and_only_where_they_are_needed() -> None:
    looks: list[int] = []

    def look() -> Sequence[Interpreter]:
        looks.append(1)
        return [OLD]

    interpreters = Interpreters([HERE], look)
    interpreters.choose("")
    assert looks == []
    interpreters.choose("<3.10")
    interpreters.choose("<3.10")
    assert looks == [1]
