"""Copying and removing folders whatever is in them."""

import os
import stat
from pathlib import Path

import pytest

from testmesh.testing.folders import copy_tree, give_to, remove_tree


def make_deep(folder: Path, levels: int, name: str = "d" * 20) -> None:
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_a_folder_of_1500_levels_is_removed(tmp_path: Path) -> None:
    make_deep(tmp_path / "deep", 1500)
    remove_tree(tmp_path / "deep")
    assert list(tmp_path.iterdir()) == []


def test_folders_without_rights_are_removed(tmp_path: Path) -> None:
    inner = tmp_path / "top" / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    for folder in (inner, inner.parent, inner.parent.parent, tmp_path / "top"):
        folder.chmod(0)
    remove_tree(tmp_path / "top")
    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_what_they_point_at_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o711)
    (outside / "file").touch()
    top = tmp_path / "top"
    (top / "below").mkdir(parents=True)
    for where in (top, top / "below"):
        (where / "link").symlink_to(outside)
        (where / "loop").symlink_to(where)
        (where / "nowhere").symlink_to("/no/such/thing")
        os.mkfifo(where / "pipe")
    remove_tree(top)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "file").exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o711


def test_names_that_flattening_could_use_do_not_collide(tmp_path: Path) -> None:
    for number in range(20):
        for child in range(3):
            (tmp_path / "top" / f"{number:x}" / f"{child:x}" / "1").mkdir(parents=True)
    remove_tree(tmp_path / "top")
    assert list(tmp_path.iterdir()) == []


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")


def test_removing_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        remove_tree(tmp_path / "link")
    assert (tmp_path / "outside").exists()


def test_a_copy_has_modes_and_links_and_can_be_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below" / "empty").mkdir(parents=True)
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "below" / "data").write_bytes(b"\0" * 100_000)
    (source / "link").symlink_to("below/data")
    (source / "out").symlink_to("/etc/passwd")
    os.mkfifo(source / "pipe")
    (source / "run.sh").chmod(0o555)
    (source / "below" / "data").chmod(0o400)
    (source / "below").chmod(0o555)

    copy_tree(source, tmp_path / "copy")

    copy = tmp_path / "copy"
    assert sorted(path.name for path in copy.iterdir()) == ["below", "link", "out", "run.sh"]
    assert (copy / "link").readlink() == Path("below/data")
    assert (copy / "out").is_symlink()
    assert (copy / "below" / "data").read_bytes() == b"\0" * 100_000
    modes = {path: stat.S_IMODE((copy / path).stat().st_mode) for path in ("run.sh", "below/data", "below")}
    assert modes == {"run.sh": 0o755, "below/data": 0o600, "below": 0o755}
    assert list((copy / "below" / "empty").iterdir()) == []


def test_a_deep_folder_is_copied(tmp_path: Path) -> None:
    make_deep(tmp_path / "deep", 1200, name="d")
    copy_tree(tmp_path / "deep", tmp_path / "copy")
    here, depth = tmp_path / "copy", 0
    while (here := here / "d").is_dir():
        depth += 1
    assert depth == 1200
    for name in ("deep", "copy"):
        remove_tree(tmp_path / name)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
ANOTHER = 12345


@needs_root
@pytest.mark.parametrize(("levels", "name"), [(1500, "d"), (30, "d" * 250), (3000, "d" * 20)])
def test_a_folder_of_any_depth_is_given_away(tmp_path: Path, levels: int, name: str) -> None:
    make_deep(tmp_path / "deep", levels, name)
    give_to(tmp_path / "deep", ANOTHER)
    here = os.open(tmp_path / "deep", os.O_RDONLY)
    for _ in range(levels):
        for each in (".", name, "file"):
            assert os.stat(each, dir_fd=here).st_uid == ANOTHER
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(tmp_path / "deep")


@needs_root
def test_all_kinds_of_files_are_given_away_and_what_links_point_at_is_not(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    top = tmp_path / "top"
    for folder in (top / "a" / "b", top / "c", top / "closed"):
        folder.mkdir(parents=True)
    (top / "c" / "link").symlink_to(outside)
    (top / "file").symlink_to(outside / "below")
    os.mkfifo(top / "a" / "pipe")
    (top / os.fsdecode(b"\xff\xfe")).touch()
    (top / "closed").chmod(0)
    give_to(top, ANOTHER)
    assert {path.lstat().st_uid for path in (top, *top.rglob("*"))} == {ANOTHER}
    assert {path.stat().st_uid for path in (outside, outside / "below")} == {0}
    assert stat.S_IMODE((top / "closed").stat().st_mode) == 0


@needs_root
def test_a_link_in_place_of_the_folder_is_not_given_away(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        give_to(tmp_path / "link", ANOTHER)
    assert (tmp_path / "outside").stat().st_uid == 0
