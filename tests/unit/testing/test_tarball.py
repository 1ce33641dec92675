import gzip
import hashlib
import io
import os
import random
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from testmesh.errors import SourceError
from testmesh.testing.archive import ArchiveLimits, check_archive, unpack
from testmesh.testing.tarball import RepackNotes, repack
from tests.support.github import Executable, File, Link, make_tarball

MIB = 1024**2
LIMITS = ArchiveLimits(max_upload=64 * MIB, max_unpacked=128 * MIB, max_entries=500)
COMMIT = "c" * 40
WRAPPER = "owner-repo-ccccccc"


def repacked(tmp_path: Path, tarball: bytes, limits: ArchiveLimits = LIMITS) -> tuple[RepackNotes, zipfile.ZipFile]:
    (tmp_path / "in.tar.gz").write_bytes(tarball)
    notes = repack(tmp_path / "in.tar.gz", tmp_path / "out.zip", limits)
    check_archive(tmp_path / "out.zip", limits)
    return notes, zipfile.ZipFile(tmp_path / "out.zip")


def refused(tmp_path: Path, tarball: bytes, limits: ArchiveLimits = LIMITS) -> str:
    (tmp_path / "in.tar.gz").write_bytes(tarball)
    with pytest.raises(SourceError) as caught:
        repack(tmp_path / "in.tar.gz", tmp_path / "out.zip", limits)
    assert not (tmp_path / "out.zip").exists()
    assert caught.value.__context__ is None
    return caught.value.detail


def github_like(files: dict[str, File]) -> bytes:
    return make_tarball(files, WRAPPER, COMMIT)


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar_of(members: Iterable[tuple[tarfile.TarInfo, bytes]], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tar_format) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def test_files_come_out_as_they_were_without_the_wrapping_folder(tmp_path: Path) -> None:
    files: dict[str, File] = {
        "test_a.py": "def test(): pass\n",
        "src/pkg/__init__.py": "",
        "src/pkg/ação.py": "x = 1\n",
        "data.bin": bytes(range(256)) * 4000,
        ".gitignore": "*.pyc\n",
        f"{'deep/' * 30}{'long' * 20}.txt": "a path that needs an extended header",
    }

    notes, archive = repacked(tmp_path, github_like(files))

    assert {name: archive.read(name) for name in archive.namelist()} == {
        path: content if isinstance(content, bytes) else str(content).encode() for path, content in files.items()
    }
    assert notes.files == len(files)
    assert notes.sentences == ()


def test_the_executable_bit_is_kept_and_no_other_mode(tmp_path: Path) -> None:
    setuid, data = member(f"{WRAPPER}/setuid", b"#!", mode=0o4777)
    tarball = gzip.compress(tar_of([member(f"{WRAPPER}/plain", b"x", mode=0o666), (setuid, data)]))

    repacked(tmp_path, tarball)
    unpack(tmp_path / "out.zip", "", tmp_path / "unpacked")

    assert stat.S_IMODE((tmp_path / "unpacked/plain").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "unpacked/setuid").stat().st_mode) == 0o755


def test_an_executable_of_a_repository_is_executable_when_unpacked(tmp_path: Path) -> None:
    repacked(tmp_path, github_like({"run.sh": Executable("#!/bin/sh\n"), "a.py": ""}))
    unpack(tmp_path / "out.zip", "", tmp_path / "unpacked")

    assert os.access(tmp_path / "unpacked/run.sh", os.X_OK)
    assert not (tmp_path / "unpacked/a.py").stat().st_mode & 0o111


def test_one_commit_gives_the_same_bytes_however_it_was_compressed_and_dated(tmp_path: Path) -> None:
    digests = set()
    for number, (mtime, level) in enumerate([(0, 1), (1_600_000_000, 9), (5, 6)]):
        plain = tar_of([member(f"{WRAPPER}/{name}", b"x" * 5000, mtime=mtime, uid=number) for name in ("b", "a/c")])
        (tmp_path / str(number)).mkdir()
        repacked(tmp_path / str(number), gzip.compress(plain, level, mtime=mtime))
        digests.add(hashlib.sha256((tmp_path / str(number) / "out.zip").read_bytes()).hexdigest())

    assert len(digests) == 1


def test_the_zip_does_not_depend_on_a_compressor(tmp_path: Path) -> None:
    _, archive = repacked(tmp_path, github_like({"a.py": "x = 1\n" * 1000}))

    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_links_and_special_files_are_left_out_and_counted(tmp_path: Path) -> None:
    tarball = gzip.compress(
        tar_of(
            [
                member(f"{WRAPPER}/test_a.py", b"pass"),
                member(f"{WRAPPER}/etc", kind=tarfile.SYMTYPE, linkname="/etc"),
                member(f"{WRAPPER}/up", kind=tarfile.SYMTYPE, linkname="../../.."),
                member(f"{WRAPPER}/hard", kind=tarfile.LNKTYPE, linkname="/etc/passwd"),
                member(f"{WRAPPER}/fifo", kind=tarfile.FIFOTYPE),
                member(f"{WRAPPER}/disk", kind=tarfile.BLKTYPE, devmajor=8),
                member(f"{WRAPPER}/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
                member(f"{WRAPPER}/sparse", b"\0" * 512, kind=tarfile.GNUTYPE_SPARSE),
                member(f"{WRAPPER}/last.py", b"pass"),
            ]
        )
    )

    notes, archive = repacked(tmp_path, tarball)

    assert archive.namelist() == ["test_a.py", "last.py"]
    assert (notes.files, notes.links) == (2, 3)
    assert notes.devices == 4
    assert len(notes.sentences) == 2
    assert "3 symbolic" in notes.sentences[0]


def test_a_link_never_becomes_a_way_for_a_later_file(tmp_path: Path) -> None:
    tarball = gzip.compress(
        tar_of(
            [
                member(f"{WRAPPER}/out", kind=tarfile.SYMTYPE, linkname="/tmp"),
                member(f"{WRAPPER}/out/evil.py", b"x"),
            ]
        )
    )

    repacked(tmp_path, tarball)
    unpack(tmp_path / "out.zip", "", tmp_path / "unpacked")

    assert not (tmp_path / "unpacked/out").is_symlink()
    assert (tmp_path / "unpacked/out/evil.py").read_bytes() == b"x"


@pytest.mark.parametrize(
    "name", ["back\\slash", "new\nline", "bell\x07", "C:drive", "a" * 256, "d/" * 520 + "f", "sep\u2028", "\udcff.txt"]
)
def test_a_name_that_would_spoil_the_archive_is_left_out_and_counted(tmp_path: Path, name: str) -> None:
    tarball = gzip.compress(
        tar_of([member(f"{WRAPPER}/{name}", b"x"), member(f"{WRAPPER}/test_a.py", b"y")], tarfile.GNU_FORMAT)
    )

    notes, archive = repacked(tmp_path, tarball)

    assert archive.namelist() == ["test_a.py"]
    assert notes.odd_names == 1
    assert "names" in notes.sentences[0]


def test_submodules_are_said_to_be_missing(tmp_path: Path) -> None:
    notes, _ = repacked(tmp_path, github_like({".gitmodules": "[submodule]", "test_a.py": ""}))

    assert notes.sentences == ("Submodules are not fetched.",)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.py",
        "/etc/cron.d/evil",
        "//evil",
        f"{WRAPPER}/../../evil.py",
        f"{WRAPPER}/a/../b.py",
        f"{WRAPPER}/./a.py",
        f"{WRAPPER}//a.py",
        "..",
        ".",
    ],
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, gzip.compress(tar_of([member(f"{WRAPPER}/ok.py", b"x"), member(name, b"x")])))


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["a.py", "a.py"], "two files"),
        (["a", "a/b.py"], "two files"),
        (["a/b.py", "a"], "two files"),
        (["a/b/c.py", "a/b"], "two files"),
    ],
)
def test_files_in_each_others_way_are_refused(tmp_path: Path, names: list[str], word: str) -> None:
    assert word in refused(tmp_path, gzip.compress(tar_of(member(f"{WRAPPER}/{name}", b"x") for name in names)))


@pytest.mark.parametrize("names", [["one/a.py", "two/b.py"], ["a.py"], [f"{WRAPPER}/a.py", "b.py"]])
def test_what_no_single_folder_wraps_is_not_githubs(tmp_path: Path, names: list[str]) -> None:
    assert "damaged" in refused(tmp_path, gzip.compress(tar_of(member(name, b"x") for name in names)))


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1) as file:
        info, _ = member(f"{WRAPPER}/zeros")
        info.size = 100 * MIB
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(100):
            file.write(bytes(MIB))
        file.write(bytes(10240))

    limits = ArchiveLimits(max_upload=1024 * MIB, max_unpacked=1024 * MIB, max_entries=10)
    assert "200 times" in refused(tmp_path, raw.getvalue(), limits)


def test_a_declared_size_over_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    info, _ = member(f"{WRAPPER}/huge")
    info.size = 10 * 1024**3
    tarball = gzip.compress(info.tobuf(tarfile.GNU_FORMAT))

    assert str(LIMITS.max_upload) in refused(tmp_path, tarball)


@pytest.mark.parametrize(
    "limits",
    [
        ArchiveLimits(max_upload=10 * MIB, max_unpacked=99_999, max_entries=100),
        ArchiveLimits(max_upload=99_999, max_unpacked=10 * MIB, max_entries=100),
        ArchiveLimits(max_upload=100_010, max_unpacked=10 * MIB, max_entries=100),  # the zip's own headers are over
        ArchiveLimits(max_upload=10 * MIB, max_unpacked=10 * MIB, max_entries=10),
    ],
)
def test_every_limit_is_kept(tmp_path: Path, limits: ArchiveLimits) -> None:
    tarball = github_like({f"f{number}.bin": random.Random(number).randbytes(10_000) for number in range(10)})

    assert "taken here" in refused(tmp_path, tarball, limits)


def test_folders_are_bounded_too(tmp_path: Path) -> None:
    tarball = gzip.compress(tar_of(member(f"{WRAPPER}/{number}/{'d/' * 30}f", b"") for number in range(20)))

    assert "folders" in refused(tmp_path, tarball)


@pytest.mark.parametrize("length", [0, 1, 10, 200, 1000, -9, -1])
def test_a_cut_archive_is_told(tmp_path: Path, length: int) -> None:
    tarball = github_like({"a.py": random.Random(1).randbytes(3000)})

    assert "damaged" in refused(tmp_path, tarball[:length])


@pytest.mark.parametrize("cut", [512, 1024, 1536, 2048, 2500, 3072])
def test_a_tar_cut_inside_a_whole_gzip_is_told(tmp_path: Path, cut: int) -> None:
    plain = tar_of([member(f"{WRAPPER}/a.py", b"x" * 600), member(f"{WRAPPER}/b.py", b"y" * 600)])

    assert "damaged" in refused(tmp_path, gzip.compress(plain[:cut]))


@pytest.mark.parametrize(
    "content",
    [b"<html>Not Found</html>", b"PK\x03\x04", b"\x1f\x8b", gzip.compress(b"hello"), gzip.compress(b"x" * 4096)],
    ids=["a page", "a zip", "two bytes", "a short gzip", "a gzip"],  # a gzip has the time in it, a name must not
)
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    assert "damaged" in refused(tmp_path, content)


def test_a_changed_byte_is_found_by_the_checksum(tmp_path: Path) -> None:
    tarball = bytearray(github_like({"a.bin": random.Random(2).randbytes(20_000)}))
    tarball[10_000] ^= 1

    assert "damaged" in refused(tmp_path, bytes(tarball))


def test_something_after_the_end_is_told(tmp_path: Path) -> None:
    plain = tar_of([member(f"{WRAPPER}/a.py", b"x")])

    assert "damaged" in refused(tmp_path, gzip.compress(plain + b"hidden"))


def _long_name(size: int) -> bytes:
    name, _ = member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME)
    name.size = size
    return name.tobuf(tarfile.GNU_FORMAT) + b"a" * size + bytes(-size % 512)


def _extended(size: int, kind: bytes = tarfile.XHDTYPE) -> bytes:
    header, _ = member("pax", kind=kind)
    header.size = size
    record = f"{size} comment=".encode()
    return header.tobuf(tarfile.USTAR_FORMAT) + record + b"a" * (size - len(record) - 1) + b"\n" + bytes(-size % 512)


@pytest.mark.parametrize(
    "headers",
    [
        lambda: _long_name(48 * MIB),
        lambda: _extended(48 * MIB),
        lambda: _extended(48 * MIB, tarfile.XGLTYPE),
        lambda: _extended(900) * 20_000,
        lambda: _extended(900, tarfile.XGLTYPE) * 20_000,
    ],
    ids=[
        "one long name",
        "one extended header",
        "one global header",
        "a chain of headers",
        "a chain of global headers",
    ],
)
def test_a_header_cannot_fill_the_memory(tmp_path: Path, headers: Callable[[], bytes]) -> None:
    tarball = gzip.compress(headers() + tar_of([member(f"{WRAPPER}/a.py", b"x")]), compresslevel=1)
    (tmp_path / "in.tar.gz").write_bytes(tarball)

    tracemalloc.start()
    try:
        sentence = refused(tmp_path, tarball)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert "far too long" in sentence
    assert peak < 8 * MIB + 2 * len(tarball)


def _links(count: int) -> bytes:
    return tar_of(member(f"{WRAPPER}/{number}", kind=tarfile.SYMTYPE, linkname="x") for number in range(count))


def _global_headers(count: int) -> bytes:
    """Each with a keyword of its own, so that none replaces another."""
    parts = []
    for number in range(count):
        header = _extended(40_000, tarfile.XGLTYPE).replace(b" comment=", b" %07d=" % number)
        parts.append(header + tar_of([member(f"{WRAPPER}/{number}")])[:512])
    return b"".join(parts) + bytes(1024)


@pytest.mark.parametrize(
    "members", [lambda: _links(4000), lambda: _global_headers(400)], ids=["links", "global headers"]
)
def test_memory_does_not_grow_with_what_is_left_out(tmp_path: Path, members: Callable[[], bytes]) -> None:
    (tmp_path / "in.tar.gz").write_bytes(gzip.compress(members(), 1))

    tracemalloc.start()
    try:
        notes = repack(tmp_path / "in.tar.gz", tmp_path / "out.zip", ArchiveLimits(64 * MIB, 64 * MIB, 5000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert notes.links + notes.files in (4000, 400)
    assert peak < 3 * MIB


def test_a_size_below_zero_is_damage(tmp_path: Path) -> None:
    info, _ = member(f"{WRAPPER}/a.py")
    info.size = -1024
    tarball = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + tar_of([member(f"{WRAPPER}/b.py", b"x")]))

    assert "damaged" in refused(tmp_path, tarball)


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    chunk = random.Random(3).randbytes(MIB)
    (tmp_path / "in.tar.gz").write_bytes(github_like({f"{number}.bin": chunk for number in range(24)}))

    tracemalloc.start()
    try:
        repack(tmp_path / "in.tar.gz", tmp_path / "out.zip", LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (tmp_path / "out.zip").stat().st_size > 24 * MIB
    assert peak < 4 * MIB


def test_random_damage_is_refused_or_harmless_and_never_another_error(tmp_path: Path) -> None:
    plain = tar_of(
        [
            member(f"{WRAPPER}/a.py", b"x" * 700),
            member(f"{WRAPPER}/{'long' * 40}/b.py", b"y" * 10, mtime=1.5),
            member(f"{WRAPPER}/link", kind=tarfile.SYMTYPE, linkname="a.py"),
        ]
    )
    dice = random.Random(4)
    for _ in range(300):
        damaged = bytearray(plain)
        for _ in range(dice.randint(1, 3)):
            damaged[dice.randrange(len(damaged) // 2)] = dice.choice([0, 0x20, 0x2F, 0x31, 0x39, 0x80, 0xFF])
        start = 512 * dice.randrange(6)
        damaged[start : start + 512] = with_checksum(bytes(damaged[start : start + 512]))
        (tmp_path / "in.tar.gz").write_bytes(gzip.compress(bytes(damaged), 1))
        try:
            repack(tmp_path / "in.tar.gz", tmp_path / "out.zip", LIMITS)
        except SourceError:
            assert not (tmp_path / "out.zip").exists()
        else:
            check_archive(tmp_path / "out.zip", LIMITS)


def with_checksum(header: bytes) -> bytes:
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def test_a_repository_with_links_alone_gives_an_empty_archive(tmp_path: Path) -> None:
    notes, archive = repacked(tmp_path, github_like({"a": Link("b")}))

    assert (notes.files, archive.namelist()) == (0, [])
