"""What a run leaves in the machine's shared memory."""

import os
from pathlib import Path

import pytest

from testmesh.testing.shared_memory import remove_of, size_of

ANOTHER = 12345
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has runs of other users")


def left_by(user: int, place: Path) -> None:
    for name in ("file", "deep"):
        path = place / f"{name}-of-{user}"
        if name == "file":
            path.write_bytes(bytes(50_000))
        else:
            path.mkdir()
        os.chown(path, user, user)


def test_what_a_user_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for user in (ANOTHER, ANOTHER + 1):
        left_by(user, tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / f"deep-of-{ANOTHER + 1}")
    os.lchown(tmp_path / "link", ANOTHER, ANOTHER)
    assert size_of(ANOTHER, 10**6, str(tmp_path)) >= 50_000
    remove_of(ANOTHER, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}-of-{ANOTHER + 1}" for name in ("file", "deep")}
    assert size_of(ANOTHER, 10**6, str(tmp_path)) == 0


def test_folders_of_any_depth_are_removed(tmp_path: Path) -> None:
    left_by(ANOTHER, tmp_path)
    here = os.open(tmp_path / f"deep-of-{ANOTHER}", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_of(ANOTHER, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    remove_of(ANOTHER, str(tmp_path / "none"))
    assert size_of(ANOTHER, 10**6, str(tmp_path / "none")) == 0
