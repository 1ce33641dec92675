"""The size of folders as hostile tests leave them."""

import os
import sys
import threading
from pathlib import Path

import pytest

from testmesh.testing.folder_size import folder_size
from testmesh.testing.folders import remove_tree

KIB, MIB = 1024, 1024 * 1024
LIMIT = 1024 * MIB


def deep(folder: Path, levels: int, each: bytes) -> None:
    """Folders below each other, with a file and a side folder on each level, deeper than any path may be long."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
        os.write(file, each)
        os.close(file)
        os.mkdir("side", dir_fd=here)
        os.mkdir("a-long-name", dir_fd=here)
        below = os.open("a-long-name", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def as_ordinary_user(folder: Path) -> int:
    """What an ordinary user measures, to whom everything in the folder is given where this is root."""
    if os.geteuid() != 0:
        return folder_size(str(folder), LIMIT)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            handle = os.open(folder, os.O_RDONLY)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writing, str(folder_size(f"/proc/self/fd/{handle}/.", LIMIT)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        size = answer.read()
    os.waitpid(pid, 0)
    return int(size)


def test_files_and_folders_are_summed(tmp_path: Path) -> None:
    assert folder_size(str(tmp_path), LIMIT) == 0
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "large").write_bytes(bytes(MIB))
    (tmp_path / "a" / "small").write_bytes(b"x")
    assert MIB <= folder_size(str(tmp_path), LIMIT) <= MIB + 64 * KIB


def test_what_is_empty_takes_something(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert folder_size(str(tmp_path), LIMIT) == 100 * 4096


def test_holes_take_nothing_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "large").write_bytes(bytes(MIB))
    inside = tmp_path / "inside"
    inside.mkdir()
    with (inside / "sparse").open("wb") as file:
        file.truncate(100 * MIB)
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "file").symlink_to(tmp_path / "outside" / "large")
    (inside / "loop").symlink_to(".")
    assert folder_size(str(inside), LIMIT) <= 64 * KIB


def test_a_file_with_several_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(bytes(MIB))
    for number in range(1, 10):
        (tmp_path / str(number)).hardlink_to(tmp_path / "0")
    assert MIB <= folder_size(str(tmp_path), LIMIT) <= MIB + 64 * KIB


def test_it_stops_once_it_is_over(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_bytes(bytes(64 * KIB))
    assert 300 * KIB < folder_size(str(tmp_path), 300 * KIB) <= 300 * KIB + 64 * KIB


def test_deep_trees_need_no_more_descriptors_or_path(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    try:
        deep(top, 1500, b"x")
        before = len(list(Path("/dev/fd").iterdir()))
        assert folder_size(str(top), LIMIT) >= 1500 * 3 * 4096
        assert len(list(Path("/dev/fd").iterdir())) == before
    finally:
        remove_tree(top)


@pytest.mark.skipif(sys.platform != "linux", reason="a closed folder is opened by way of /proc")
def test_closed_folders_hide_nothing_and_stay_closed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    closed, within = top / "closed", top / "closed" / "within"
    within.mkdir(parents=True)
    (within / "large").write_bytes(bytes(MIB))
    (top / "open").mkdir()
    (top / "open" / "large").write_bytes(bytes(MIB))
    if os.geteuid() == 0:
        os.chown(closed, 65534, 65534)
        os.chown(within, 65534, 65534)
    within.chmod(0o000)
    closed.chmod(0o000)
    try:
        assert 2 * MIB <= as_ordinary_user(top) <= 2 * MIB + 64 * KIB
        assert closed.stat().st_mode & 0o777 == 0
        if os.geteuid() == 0:
            assert within.stat().st_mode & 0o777 == 0
    finally:
        remove_tree(top)


def test_folders_that_move_meanwhile_are_survived(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / "a" / str(number) / "b" / "c").mkdir(parents=True)
        (tmp_path / "a" / str(number) / "b" / "file").write_bytes(b"x")
    (tmp_path / "away").mkdir()
    outside = 64 * 4096
    done = threading.Event()

    def move() -> None:
        number = 0
        while not done.is_set():
            number = (number + 1) % 30
            there, away = tmp_path / "a" / str(number) / "b", tmp_path / "away" / str(number)
            there.rename(away)
            away.rename(there)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(50):
            assert 30 * 4096 <= folder_size(str(tmp_path / "a"), LIMIT) <= 30 * 4 * 4096 + outside
    finally:
        done.set()
        mover.join()
    assert folder_size(str(tmp_path / "a"), LIMIT) == 30 * 4 * 4096


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("none", "link"):
        with pytest.raises(OSError):
            folder_size(str(tmp_path / name), LIMIT)
