import os
from pathlib import Path
from zipfile import ZipFile

import pytest

from testmesh.client.pack import PackError, pack


def write(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}")
    return root


def names(path: Path) -> list[str]:
    with ZipFile(path) as archive:
        return archive.namelist()


def test_a_folder_becomes_a_zip_wrapped_in_its_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "project", "test_a.py", "src/a.py")
    packed = pack([folder], tmp_path / "out.zip")
    assert packed.name == "project.zip"
    assert names(packed.path) == ["project/test_a.py", "project/src/a.py"]


def test_what_is_no_source_stays_behind(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "project",
        "test_a.py",
        ".git/config",
        "node_modules/x/index.js",
        "src/__pycache__/a.pyc",
        "my-env/pyvenv.cfg",
        "my-env/lib/test_pip.py",
        "conda/conda-meta/history",
        "conda/test_conda.py",
        ".hypothesis/examples/x",
        ".env.example",
        "venv/notes.py",
    )
    kept = names(pack([folder], tmp_path / "out.zip").path)
    assert kept == ["project/.env.example", "project/test_a.py", "project/venv/notes.py"]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "secret.txt", "elsewhere/test_b.py")
    folder = write(tmp_path / "project", "test_a.py", "data.txt")
    (folder / "inside.txt").symlink_to("data.txt")
    (folder / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    (folder / "nowhere").symlink_to("not-there")
    os.mkfifo(folder / "pipe")
    packed = pack([folder], tmp_path / "out.zip")
    assert names(packed.path) == ["project/data.txt", "project/inside.txt", "project/test_a.py"]
    assert packed.left_out == ("project/nowhere", "project/outside.txt", "project/pipe")


def test_a_single_zip_is_sent_as_it_is(tmp_path: Path) -> None:
    given = tmp_path / "work.zip"
    given.write_bytes(b"not even a zip: the mesh says so")
    packed = pack([given], tmp_path / "out.zip")
    assert (packed.path, packed.name) == (given, "work.zip")


def test_several_inputs_become_folders_of_one_zip(tmp_path: Path) -> None:
    alice = write(tmp_path / "alice", "test_a.py")
    pack([write(tmp_path / "inner", "test_b.py")], tmp_path / "bob.zip")
    with ZipFile(tmp_path / "carol.zip", "w") as archive:
        archive.writestr("test_c.py", "")
        archive.writestr("__MACOSX/._test_c.py", "")
        archive.writestr("src/c.py", "")
    packed = pack([alice, tmp_path / "bob.zip", tmp_path / "carol.zip"], tmp_path / "out.zip")
    assert names(packed.path) == ["alice/test_a.py", "bob/test_b.py", "carol/test_c.py", "carol/src/c.py"]
    with ZipFile(packed.path) as archive:
        assert archive.read("bob/test_b.py") == b"# test_b.py"
        assert archive.testzip() is None


def test_inputs_of_one_name_are_told_apart_by_their_parents(tmp_path: Path) -> None:
    inputs = [write(tmp_path / who / "project", "test_a.py") for who in ("alice", "bob")]
    kept = names(pack(inputs, tmp_path / "out.zip").path)
    assert kept == ["alice-project/test_a.py", "bob-project/test_a.py"]


def test_inputs_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "alice" / "project", "test_a.py")
    with pytest.raises(PackError, match="alice-project"):
        pack([folder, folder], tmp_path / "out.zip")


@pytest.mark.parametrize("name", ["missing", "missing.zip"])
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackError, match=name):
        pack([tmp_path / name], tmp_path / "out.zip")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "project", "__pycache__/a.pyc")
    with pytest.raises(PackError, match="no files"):
        pack([tmp_path / "project"], tmp_path / "out.zip")


def test_a_damaged_zip_among_several_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(PackError, match=r"bad\.zip"):
        pack([tmp_path / "bad.zip", write(tmp_path / "good", "test_a.py")], tmp_path / "out.zip")
