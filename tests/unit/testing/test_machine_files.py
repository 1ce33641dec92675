"""What of the machine a box shows."""

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
    (folder / "bin" / "python").symlink_to(python)
    return folder / "bin" / "python"


def test_an_interpreter_kept_elsewhere_is_shown_whole(tmp_path: Path) -> None:
    python = interpreter(tmp_path / "pythons" / "3.11.7")
    assert interpreter_folders(environment(tmp_path / "env", python)) == (str(tmp_path / "pythons" / "3.11.7"),)


def test_every_link_on_the_way_is_shown(tmp_path: Path) -> None:
    python = interpreter(tmp_path / "cpython-3.11.7")
    (tmp_path / "cpython-3.11").symlink_to("cpython-3.11.7")
    linked = environment(tmp_path / "env", tmp_path / "cpython-3.11" / "bin" / python.name)
    assert set(interpreter_folders(linked)) == {str(tmp_path / "cpython-3.11"), str(tmp_path / "cpython-3.11.7")}


def test_an_interpreter_of_the_machine_needs_nothing_more(tmp_path: Path) -> None:
    assert interpreter_folders(environment(tmp_path / "env", Path("/usr/bin/python3"))) == ()


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
