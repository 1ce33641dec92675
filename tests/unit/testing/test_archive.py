"""Zips are checked, read, unpacked and laid over; every hostile kind is refused by the right error."""

import errno
import io
import os
import stat
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testmesh.errors import InfrastructureError, MalformedError, SubmissionError, TooLargeError
from testmesh.testing import archive
from testmesh.testing.archive import ArchiveLimits, ZipTree, check_archive, lay_over, unpack
from testmesh.testing.archive_structure import Entry
from tests.support import zips

MIB = 1024**2
LIMITS = ArchiveLimits(max_upload=512 * MIB, max_unpacked=2048 * MIB, max_entries=20_000)
SMALL = ArchiveLimits(max_upload=MIB, max_unpacked=MIB, max_entries=100)


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "upload.zip"
    path.write_bytes(content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", zips.HOSTILE)
def test_a_hostile_zip_is_malformed_and_told_in_a_sentence(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedError) as caught:
        check_archive(saved(tmp_path, zips.HOSTILE[kind]()), LIMITS)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "truncated"),
        ("not a zip", "not a zip"),
        ("encrypted", "encrypted"),
        ("symlink", "link"),
        ("overlapping", "overlaps"),
        ("quoted overlap", "overlaps"),
        ("same name twice", "twice"),
        ("same name, other spelling", "twice"),
        ("file and folder", "both a file and a folder"),
        ("other name inside", "differently"),
        ("NUL in a name", "control characters"),
        ("parent by backslash", "leaves the archive"),
        ("drive", "absolute"),
        ("wrong checksum", "damaged"),
        ("bad deflate", "damaged"),
        ("lzma", "method 14"),
        ("long part", "too long"),
    ],
)
def test_the_reason_is_the_right_one(kind: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=says):
        check_archive(saved(tmp_path, zips.HOSTILE[kind]()), LIMITS)


def test_the_quoted_overlap_is_a_zip_that_others_unpack(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(zips.quoted_overlap(10))) as bomb:
        assert sum(info.file_size for info in bomb.infolist()) > 10_000_000


@pytest.mark.parametrize(
    ("content", "limits"),
    [
        (zips.make_zip({"a": os.urandom(2000)}), ArchiveLimits(1000, MIB, 10)),
        (zips.make_zip({f"{n}": b"" for n in range(11)}), ArchiveLimits(MIB, MIB, 10)),
        (zips.make_zip({"a": b"1" * 600, "b": b"2" * 600}), ArchiveLimits(MIB, 1000, 10)),
        (zips.make_zip({f"{'d/' * 20}{n}/" + "e/" * 20 + "f": b"" for n in range(5)}), ArchiveLimits(MIB, MIB, 50)),
        (zips.claims_entries(), SMALL),
        (zips.claims_entries(2**64 - 1), SMALL),
    ],
    ids=["upload", "entries", "unpacked", "folders", "claims 4e9 entries", "claims 2**64 entries"],
)
def test_more_than_a_limit_is_too_large(content: bytes, limits: ArchiveLimits, tmp_path: Path) -> None:
    with pytest.raises(TooLargeError):
        check_archive(saved(tmp_path, content), limits)


def test_20_001_entries_are_too_many_and_20_000_are_not(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError, match="20001 entries"):
        check_archive(saved(tmp_path, zips.many_entries(20_001)), LIMITS)
    check_archive(saved(tmp_path, zips.many_entries(20_000)), LIMITS)


def test_a_bomb_is_refused_in_constant_memory(tmp_path: Path) -> None:
    path = saved(tmp_path, zips.bomb(512 * MIB))
    assert path.stat().st_size < 0.6 * MIB
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match="200:1"):
            check_archive(path, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


def test_a_bomb_that_lies_about_its_size_is_stopped_by_counted_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, zips.lying_bomb(128 * MIB))
    counted = 0
    unpacked = archive._contents

    def counting(fd: int, entry: Entry) -> object:
        nonlocal counted
        for piece in unpacked(fd, entry):
            counted += len(piece)
            yield piece

    monkeypatch.setattr(archive, "_contents", counting)
    with pytest.raises(TooLargeError, match="200:1"):
        check_archive(path, LIMITS)
    assert counted < 66 * MIB
    counted = 0
    with pytest.raises(TooLargeError, match="unpacks to more"):
        check_archive(path, SMALL)
    assert counted < 2 * MIB


def test_a_small_lie_about_a_size_is_damage(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="damaged"):
        check_archive(saved(tmp_path, zips.lying_bomb(2000)), LIMITS)


def test_many_dense_files_together_are_a_bomb_and_one_dense_file_is_not(tmp_path: Path) -> None:
    zeros = bytes(13 * MIB)
    check_archive(saved(tmp_path, zips.make_zip({"a": zeros})), LIMITS)
    with pytest.raises(TooLargeError, match="200:1"):
        check_archive(saved(tmp_path, zips.make_zip({str(n): zeros for n in range(5)})), LIMITS)


def test_a_large_ordinary_zip_takes_constant_memory(tmp_path: Path) -> None:
    path = saved(tmp_path, zips.make_zip({"a.bin": os.urandom(24 * MIB), "b.bin": b"ab" * (6 * MIB)}))
    tracemalloc.start()
    try:
        check_archive(path, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 3 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        zips.make_zip({}),
        zips.project_zip(),
        zips.project_zip("wrapped"),
        zips.ordinary_zip(200_000),
        zips.zip64({"test_a.py": zips.PASSING, "b/c.txt": b"x" * 5000}),
        zips.make_zip({"test_ação.py": zips.PASSING, "日本.txt": "x"}),
        zips.make_zip([("a/", ""), ("a/", ""), ("a/b.py", "")]),
        zips.make_zip({"a": b"", "a.py": b"", "a-b": b"", "b/a": b""}),
        zips.make_zip({"stored.bin": b"PK\x03\x04" * 100}, method=zipfile.ZIP_STORED),
        zips.make_zip({unicodedata.normalize("NFC", "é.py"): "1", unicodedata.normalize("NFD", "é.py"): "2"}),
    ],
    ids=["empty", "plain", "wrapped", "ordinary", "zip64", "unicode", "folders", "likes", "stored", "normal forms"],
)
def test_a_good_zip_is_accepted_and_read_as_zipfile_reads_it(content: bytes, tmp_path: Path) -> None:
    path = saved(tmp_path, content)
    check_archive(path, LIMITS)
    with ZipTree(path) as tree, zipfile.ZipFile(path) as other:
        expected = {info.filename: other.read(info) for info in other.infolist() if not info.is_dir()}
        assert {name: tree.read(name, size + 1) for name, size in tree.files().items()} == expected
    unpack(path, "", tmp_path / "out")
    assert contents(tmp_path / "out") == expected


def test_windows_separators_become_slashes(tmp_path: Path) -> None:
    path = saved(tmp_path, zips.named("tests\\test_b.py"))
    check_archive(path, LIMITS)
    with ZipTree(path) as tree:
        assert "tests/test_b.py" in tree.files()


def test_a_comment_and_data_after_entries_are_read(tmp_path: Path) -> None:
    path = tmp_path / "upload.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a.py", "1")
        made.comment = b"PK\x05\x06" + b"a comment that holds the signature"
    check_archive(path, LIMITS)


def test_a_zip_written_to_a_pipe_with_data_descriptors_is_accepted(tmp_path: Path) -> None:
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            piece = bytes(data)
            self.written += piece
            return len(piece)

    out = Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("test_a.py", zips.PASSING)
        made.writestr("b.txt", "b" * 3000)
    path = saved(tmp_path, out.written)
    check_archive(path, LIMITS)
    with ZipTree(path) as tree:
        assert tree.read("test_a.py", 1000).decode() == zips.PASSING


def test_reading_stops_at_the_limit_and_misses_with_key_error(tmp_path: Path) -> None:
    with ZipTree(saved(tmp_path, zips.make_zip({"a": b"x" * MIB}))) as tree:
        assert tree.read("a", 10) == b"x" * 10
        with pytest.raises(KeyError):
            tree.read("b", 10)


BASES = [
    zips.project_zip("w", tests=2),
    zips.zip64({"test_a.py": zips.PASSING, "b/c.txt": "hello"}),
    zips.quoted_overlap(4),
    zips.make_zip([("d/", ""), ("d/é.txt", "x" * 300), ("run.sh", "")], modes={"run.sh": stat.S_IFREG | 0o755}),
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.sampled_from(BASES),
    edits=st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
    cut=st.none() | st.integers(0, 1 << 16),
)
def test_any_damage_is_a_submission_error_or_harmless(
    base: bytes, edits: list[tuple[int, bytes]], cut: int | None, tmp_path: Path
) -> None:
    damaged = bytearray(base)
    for at, patch in edits:
        # Half of the edits go to the end, where the directory is.
        start = at % len(damaged) if at % 2 else max(0, len(damaged) - 1 - at % 400)
        damaged[start : start + len(patch)] = patch
    path = saved(tmp_path, bytes(damaged[:cut]))
    try:
        check_archive(path, SMALL)
    except SubmissionError:
        return
    with ZipTree(path) as tree:
        for name, size in tree.files().items():
            assert len(tree.read(name, size + 1)) == size


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.binary(max_size=400), after=st.binary(max_size=200))
def test_garbage_is_malformed(before: bytes, after: bytes, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError):
        check_archive(saved(tmp_path, b"PK\x03\x04" + before + b"PK\x05\x06" + after + b"!"), SMALL)


# Unpacking -----------------------------------------------------------------------------------


def test_unpack_writes_what_is_below_the_root_with_plain_modes(tmp_path: Path) -> None:
    modes = {"p/run.sh": stat.S_IFREG | 0o4777, "p/secret.py": stat.S_IFREG | 0o600, "p/empty/": stat.S_IFDIR | 0o700}
    packed = zips.make_zip(
        {"p/run.sh": "", "p/secret.py": "s", "p/empty/": "", "p/.env": "e", "pq/other.py": "", "top.py": ""},
        modes=modes,
    )
    mask = os.umask(0o077)
    try:
        unpack(saved(tmp_path, packed), "p", tmp_path / "new" / "out")
    finally:
        os.umask(mask)
    out = tmp_path / "new" / "out"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {
        "run.sh": 0o755,
        "secret.py": 0o644,
        "empty": 0o755,
        ".env": 0o644,
    }
    assert stat.S_IMODE(out.stat().st_mode) == 0o755


def test_unpack_leaves_out_what_no_project_needs(tmp_path: Path) -> None:
    names = [".git/config", "__MACOSX/._a", "src/__pycache__/a.pyc", "src/a.py", ".coveragerc", "node_modules/x.js"]
    unpack(saved(tmp_path, zips.make_zip(dict.fromkeys(names, "x"))), "", tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [".coveragerc", "node_modules/x.js", "src/a.py"]


def test_committed_virtual_environments_stay_behind(tmp_path: Path) -> None:
    names = ["a/venv/pyvenv.cfg", "a/venv/lib/x.py", "a/x.py", "a/venv.py", "a/pyvenv.cfg", "pyvenv.cfg"]
    whole = saved(tmp_path, zips.make_zip({f"p/{name}": "x" for name in names}))
    unpack(whole, "p", tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "whole").rglob("*") if path.is_file()) == ["pyvenv.cfg"]
    unpack(whole, "p/a", tmp_path / "part")
    assert sorted(path.name for path in (tmp_path / "part").rglob("*") if path.is_file()) == [
        "pyvenv.cfg",
        "venv.py",
        "x.py",
    ]


def test_unpack_into_a_folder_with_contents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(InfrastructureError):
        unpack(saved(tmp_path, zips.project_zip()), "", tmp_path / "out")


@pytest.mark.parametrize("kind", ["parent folder", "absolute", "symlink", "quoted overlap", "file and folder"])
def test_unpack_refuses_a_hostile_zip_that_was_never_checked(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedError):
        unpack(saved(tmp_path, zips.HOSTILE[kind]()), "", tmp_path / "deep" / "out")
    assert contents(tmp_path / "deep") == {}


def test_a_full_disk_is_the_nodes_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = saved(tmp_path, zips.project_zip())
    monkeypatch.setattr(archive, "_write", lambda fd, entry, target: full(target))
    with pytest.raises(InfrastructureError, match="full"):
        unpack(path, "", tmp_path / "out")


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    path = saved(tmp_path, zips.project_zip())
    bad = tmp_path / "bad.zip"
    bad.write_bytes(zips.symlink())
    before = open_descriptors()
    for number in range(5):
        check_archive(path, LIMITS)
        unpack(path, "", tmp_path / str(number))
        with pytest.raises(MalformedError):
            ZipTree(bad)
    assert open_descriptors() == before


# Laying over ---------------------------------------------------------------------------------


def project(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_lay_over_replaces_files_and_keeps_the_rest(tmp_path: Path) -> None:
    home = project(tmp_path / "p", {"app.py": "a", "tests/test_a.py": "mine", "tests/test_b.py": "mine"})
    lay_over(saved(tmp_path, zips.make_zip({"staff/tests/test_a.py": "theirs", "staff/data/x": "d"})), home)
    assert contents(home) == {
        "app.py": b"a",
        "tests/test_a.py": b"theirs",
        "tests/test_b.py": b"mine",
        "data/x": b"d",
        "pytest.ini": b"[pytest]\n",
    }


def test_lay_over_replaces_folders_and_files_in_the_way(tmp_path: Path) -> None:
    files = {"tests": "a file", "conftest.py/inner/x.py": "a folder", "pytest.ini/x": "", "app.py": ""}
    home = project(tmp_path / "p", files)
    lay_over(saved(tmp_path, zips.make_zip({"tests/test_a.py": "t", "conftest.py": "c"})), home)
    assert contents(home) == {"tests/test_a.py": b"t", "conftest.py": b"c", "app.py": b"", "pytest.ini": b"[pytest]\n"}


def test_lay_over_never_reads_or_writes_through_links(tmp_path: Path) -> None:
    outside = project(tmp_path / "outside", {"test_a.py": "untouched", "pytest.toml": "", "x.toml": "[tool.pytest]\n"})
    home = project(tmp_path / "p", {"app.py": ""})
    (home / "tests").symlink_to(outside)
    (home / "pytest.ini").symlink_to(outside / "test_a.py")
    (home / "conftest.py").symlink_to(outside / "test_a.py")
    (home / "pyproject.toml").symlink_to(outside / "x.toml")
    before = contents(outside)
    packed = zips.make_zip({"tests/test_a.py": "t", "tests/pytest.ini": "", "conftest.py": "c"})
    lay_over(saved(tmp_path, packed), home)
    assert contents(outside) == before
    assert not any(path.is_symlink() for path in (home / "tests", home / "pytest.ini", home / "conftest.py"))
    assert contents(home).items() >= {"tests/test_a.py": b"t", "tests/pytest.ini": b"", "conftest.py": b"c"}.items()


def test_lay_over_removes_what_would_decide_in_place_of_the_staffs(tmp_path: Path) -> None:
    files = ("pytest.toml", "conftest.py", "tests/conftest.py", "tests/__init__.py", "tests/test_a/__init__.py")
    home = project(tmp_path / "p", {**dict.fromkeys(files, "x"), "tests/test_a/data": "", "app.py": ""})
    lay_over(saved(tmp_path, zips.make_zip({"tests/test_a.py": ""})), home)
    assert sorted(contents(home)) == ["app.py", "pytest.ini", "tests/test_a.py", "tests/test_a/data"]
