"""What of the machine a box shows."""

import os
import sys
from pathlib import Path

import pytest

from testmesh.testing.machine_files import interpreter_folders, machine_files


def interpreter(prefix: Path) -> Path:
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib" / "python3.11").mkdir(parents=True)
    python = prefix / "bin" / "python3.11"
    python.touch()
    return python


def environment(folder: Path, python: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    (folder / "bin" / "python").symlink_to(python)
    return folder / "bin" / "python"


def parts(*prefixes: Path) -> set[str]:
    return {str(prefix / part) for prefix in prefixes for part in ("bin", "lib")}


def test_of_an_interpreter_kept_elsewhere_programs_and_libraries_are_shown(tmp_path: Path) -> None:
    prefix = tmp_path / "pythons" / "3.11.7"
    python = interpreter(prefix)
    (prefix / "secret").touch()
    assert set(interpreter_folders(environment(tmp_path / "env", python))) == parts(prefix)
    assert set(interpreter_folders(python)) == parts(prefix)


def test_an_installation_in_another_place_than_its_program_is_shown_too(tmp_path: Path) -> None:
    interpreter(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "srv").mkdir()
    program = tmp_path / "srv" / "python3.11"
    program.touch()
    needed = interpreter_folders(program, str(tmp_path / "link"))
    assert set(needed) == {str(program), *parts(tmp_path / "link", tmp_path / "real")}


def test_every_link_on_the_way_is_shown(tmp_path: Path) -> None:
    python = interpreter(tmp_path / "cpython-3.11.7")
    (tmp_path / "cpython-3.11").symlink_to("cpython-3.11.7")
    linked = environment(tmp_path / "env", tmp_path / "cpython-3.11" / "bin" / python.name)
    assert set(interpreter_folders(linked)) == parts(tmp_path / "cpython-3.11", tmp_path / "cpython-3.11.7")


@pytest.mark.parametrize("python", ["/usr/bin/python3", "/bin/python3", "/bin/../usr/bin/python3", "/../bin/python3"])
def test_an_interpreter_of_the_machine_needs_nothing_more(tmp_path: Path, python: str) -> None:
    """Above all not /, the prefix of what is in /bin."""
    assert interpreter_folders(environment(tmp_path / "env", Path(python))) == ()
    assert interpreter_folders(Path(os.path.normpath(python)), "/usr") == ()


@pytest.mark.parametrize("prefix", ["/", "/usr", "/usr/local"])
def test_the_whole_machine_is_no_installation(tmp_path: Path, prefix: str) -> None:
    assert interpreter_folders(Path("/usr/bin/python3"), prefix) == ()


def test_a_folder_whose_name_begins_like_one_of_the_machine_is_none(tmp_path: Path) -> None:
    assert interpreter_folders(Path("/usr-of-mine/python3")) == ("/usr-of-mine/python3",)


def test_a_folder_that_is_no_installation_is_not_shown(tmp_path: Path) -> None:
    """~/bin/python must not show all of the home."""
    (tmp_path / "home" / "bin").mkdir(parents=True)
    python = tmp_path / "home" / "bin" / "python"
    python.touch()
    assert interpreter_folders(environment(tmp_path / "env", python)) == (str(python),)


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert interpreter_folders(tmp_path / "a") is not None


@pytest.mark.skipif(sys.platform != "linux", reason="boxes are for Linux")
def test_nothing_of_etc_that_tells_of_the_machine_is_shown() -> None:
    files = machine_files()
    assert "/usr" in files.folders
    assert not {"/etc", "/etc/passwd", "/etc/shadow", "/etc/ssl", "/etc/hosts"} & set(files.etc)
    assert all(Path(path).exists() for path in (*files.folders, *files.etc, *files.etc_network, *files.devices))
