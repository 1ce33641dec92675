"""What is damaged is kept aside, and never in the way."""

from pathlib import Path

import pytest

from testmesh.damaged_files import set_aside


def make(path: Path, kind: str) -> None:
    if kind == "folder":
        (path / "inside").mkdir(parents=True)
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "file":
        path.write_text("x")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
@pytest.mark.parametrize("before", ["nothing", "file", "folder", "link"])
def test_whatever_it_is_and_whatever_was_there(tmp_path: Path, kind: str, before: str) -> None:
    make(tmp_path / "f.damaged", before)
    make(tmp_path / "f", kind)
    set_aside(tmp_path / "f")
    assert [path.name for path in tmp_path.iterdir()] == ["f.damaged"]
    aside = tmp_path / "f.damaged"
    assert (aside.is_dir(), aside.is_symlink()) == (kind == "folder", kind == "link")


def test_where_it_cannot_be_moved_only_a_line_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    set_aside(tmp_path / "missing")
    assert "cannot be set aside" in caplog.text
