import os
import stat
import sys
from pathlib import Path

import pytest

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.environment_seal import restore_python, seal
from testmesh.testing.folders import remove_tree
from testmesh.testing.interpreters import running_interpreter

HERE = running_interpreter()
VERSIONED = f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(HERE.path)
    return tmp_path / "env"


def sealed(environment: Path) -> int:
    return seal(environment, HERE)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize(
    ("before", "after"),
    [(0o600, 0o644), (0o700, 0o755), (0o666, 0o644), (0o4777, 0o755), (0o2755, 0o755), (0o444, 0o644), (0o000, 0o644)],
)
def test_files_are_readable_by_all_and_writable_by_the_node_alone(environment: Path, before: int, after: int) -> None:
    file = environment / "file"
    file.write_text("x" * 10_000)
    file.chmod(before)
    environment.chmod(0o1777)
    (environment / "bin").chmod(0o700)
    assert sealed(environment) >= 10_000
    assert (mode(file), mode(environment), mode(environment / "bin")) == (after, 0o755, 0o755)


def test_what_a_link_leads_to_is_left_alone(environment: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("")
    secret.chmod(0o600)
    (environment / "link").symlink_to(secret)
    (environment / "dangling").symlink_to(tmp_path / "none")
    sealed(environment)
    assert mode(secret) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_of_the_user_that_built_them_are_taken_over(environment: Path) -> None:
    file = environment / "file"
    file.write_text("")
    os.chown(file, 12345, 12345)
    file.chmod(0o4755)
    os.lchown(environment / "bin" / "python", 12345, 12345)
    os.chown(environment / "bin", 12345, 12345)
    sealed(environment)
    for path in (file, environment / "bin", environment / "bin" / "python"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (0, os.getegid())
    assert mode(file) == 0o755


def test_a_hard_link_is_refused_and_its_file_left_alone(environment: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("")
    secret.chmod(0o600)
    os.link(secret, environment / "link")
    with pytest.raises(EnvironmentFailedError, match="hard links"):
        sealed(environment)
    assert mode(secret) == 0o600


def test_a_pipe_is_refused(environment: Path) -> None:
    os.mkfifo(environment / "pipe")
    with pytest.raises(EnvironmentFailedError, match="pipes"):
        sealed(environment)


def test_folders_without_end_are_refused(environment: Path) -> None:
    deep = environment
    for _ in range(120):
        deep = deep / "d"
        deep.mkdir()
    with pytest.raises(EnvironmentFailedError, match="deeper"):
        sealed(environment)
    remove_tree(environment)


def test_a_path_that_is_too_long_is_refused_and_can_be_removed(environment: Path) -> None:
    here = os.open(environment, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(EnvironmentFailedError, match="deeper"):
        sealed(environment)
    remove_tree(environment)


def spoil(python: Path, how: str) -> None:
    python.unlink()
    if how == "script":
        python.write_text("#!/bin/sh\n")
    elif how == "copy":
        python.write_bytes(HERE.path.read_bytes())
    elif how != "missing":
        python.symlink_to(how)


@pytest.mark.parametrize(
    "how",
    [
        *("missing", "script", "copy", "python", "/bin/sh", "/etc/shadow"),
        *(f"/bin/{VERSIONED}", f"/var/lib/../../usr/bin/{VERSIONED}"),
    ],
)
def test_pythons_are_links_to_the_interpreter_whatever_is_in_their_place(environment: Path, how: str) -> None:
    """A link to /bin/python resolves to the same program, but shows a box the whole machine."""
    spoil(environment / "bin" / "python", how)
    (environment / "bin" / "python3").symlink_to("/bin/sh")
    sealed(environment)
    for name in ("python", "python3", VERSIONED):
        assert (environment / "bin" / name).readlink() == HERE.path


def test_what_a_replaced_python_led_to_is_left_alone(environment: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    spoil(environment / "bin" / "python", str(victim))
    restore_python(environment, HERE)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["python2", "python3.1", "python3.99", "python2.7"])
def test_another_python_is_refused(environment: Path, name: str) -> None:
    (environment / "bin" / name).symlink_to("/bin/sh")
    with pytest.raises(EnvironmentFailedError, match="another Python"):
        sealed(environment)


def test_programs_that_are_only_called_after_python_are_taken(environment: Path) -> None:
    for name in ("python-argcomplete", "python3-config", "pythonw"):
        (environment / "bin" / name).write_text("#!/bin/sh\n")
    sealed(environment)


@pytest.mark.parametrize("how", ["missing", "file", "link", "loop", "python is a folder"])
def test_a_folder_of_programs_that_is_none_is_refused(environment: Path, tmp_path: Path, how: str) -> None:
    programs = environment / "bin"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "python").write_text("of the machine")
    if how == "python is a folder":
        (programs / "python3").mkdir()
    else:
        remove_tree(programs)
    if how == "file":
        programs.touch()
    elif how in ("link", "loop"):
        programs.symlink_to(outside if how == "link" else "bin")
    with pytest.raises(EnvironmentFailedError, match="replaces"):
        sealed(environment)
    assert (outside / "python").read_text() == "of the machine"
