import os
import stat
import sys
from pathlib import Path

import pytest

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.environment_seal import seal
from testmesh.testing.folders import remove_tree

PYTHON = Path(sys.executable)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(PYTHON.resolve())
    return tmp_path / "env"


def sealed(environment: Path) -> int:
    return seal(environment, environment / "bin" / "python", PYTHON)


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


def test_another_python_is_refused_and_a_copy_is_not(environment: Path, tmp_path: Path) -> None:
    python = environment / "bin" / "python"
    python.unlink()
    python.write_bytes(PYTHON.read_bytes())
    sealed(environment)
    for place in ("script", "link"):
        python.unlink()
        if place == "script":
            python.write_text("#!/bin/sh\n")
        else:
            python.symlink_to("/bin/sh")
        with pytest.raises(EnvironmentFailedError, match="replaces"):
            sealed(environment)
