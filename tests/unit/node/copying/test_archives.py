"""Archives by content: whole, durable, and there for as long as somebody was promised so."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pytest

from testmesh.errors import DiskFullError, InfrastructureError, MalformedError, PeerError
from testmesh.node.copying.archives import ArchiveStore

CONTENT = b"PK not really"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class OopsError(Exception):
    pass


@contextmanager
def failing(store: ArchiveStore) -> Iterator[Callable[[Path], str]]:
    """A block of `taking` that ends with an error."""
    with suppress(OopsError), store.taking() as take:
        yield take
        raise OopsError


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    return ArchiveStore(tmp_path / "archives")


@pytest.fixture
def upload(tmp_path: Path) -> Callable[..., Path]:
    numbers = iter(range(1000))

    def make(content: bytes = CONTENT) -> Path:
        path = tmp_path / f"upload-{next(numbers)}"
        path.write_bytes(content)
        return path

    return make


def writing(content: bytes) -> Callable[[Path], None]:
    def download(path: Path) -> None:
        path.write_bytes(content)

    return download


def never(_: Path) -> None:
    pytest.fail("fetched again")


class TestTaking:
    def test_a_file_is_moved_in_under_its_digest(self, store: ArchiveStore, upload: Callable[..., Path]) -> None:
        file = upload()
        with store.taking() as take:
            assert take(file) == DIGEST

        assert not file.exists()
        path = store.path(DIGEST)
        assert path is not None
        assert path.read_bytes() == CONTENT
        assert store.held() == {DIGEST}

    def test_after_an_error_nothing_is_left(self, store: ArchiveStore, upload: Callable[..., Path]) -> None:
        with failing(store) as take:
            take(upload())
            take(upload(b"another"))
        assert store.held() == set()

    def test_an_error_does_not_take_away_what_was_there_before(
        self, store: ArchiveStore, upload: Callable[..., Path]
    ) -> None:
        with store.taking() as take:
            take(upload())
        with failing(store) as take:
            second = upload()
            take(second)
        assert store.path(DIGEST)
        assert not second.exists()

    @pytest.mark.parametrize("first_fails", [True, False])
    def test_of_two_blocks_with_the_same_content_one_may_fail(
        self, store: ArchiveStore, upload: Callable[..., Path], first_fails: bool
    ) -> None:
        """Ended in either order, whichever came first: what the other one acknowledged stays."""
        outer, inner = store.taking(), store.taking()
        outer_take, inner_take = outer.__enter__(), inner.__enter__()
        outer_take(upload())
        inner_take(upload())
        bad, good = (outer, inner) if first_fails else (inner, outer)

        bad.__exit__(OopsError, OopsError(), None)
        assert store.path(DIGEST)
        good.__exit__(None, None, None)

        assert store.path(DIGEST)

    def test_what_one_block_acknowledged_stays_when_the_other_fails_later(
        self, store: ArchiveStore, upload: Callable[..., Path]
    ) -> None:
        with failing(store) as outer:
            outer(upload())
            with store.taking() as inner:
                inner(upload())
        assert store.path(DIGEST)

    def test_where_both_fail_nothing_is_left(self, store: ArchiveStore, upload: Callable[..., Path]) -> None:
        with failing(store) as outer:
            outer(upload())
            with failing(store) as inner:
                inner(upload())
            assert store.path(DIGEST)
        assert store.held() == set()

    def test_one_content_twice_in_one_block_is_one_archive(
        self, store: ArchiveStore, upload: Callable[..., Path]
    ) -> None:
        with store.taking() as take:
            assert take(upload()) == take(upload()) == DIGEST
        assert store.held() == {DIGEST}
        store.drop(DIGEST)
        with failing(store) as take:
            take(upload())
            take(upload())
        assert store.held() == set()

    def test_many_at_once_end_as_if_one_after_the_other(self, store: ArchiveStore, upload: Callable[..., Path]) -> None:
        contents = [bytes([i % 5]) for i in range(40)]
        together = threading.Barrier(8)

        def submit(number: int) -> None:
            together.wait()
            fails = number % 5 in (1, 3) or number % 2 == 1  # contents 1 and 3 always fail
            with failing(store) if fails else store.taking() as take:
                take(files[number])

        files = [upload(content) for content in contents]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(submit, range(40)))
        assert store.held() == {hashlib.sha256(bytes([i])).hexdigest() for i in (0, 2, 4)}

    def test_a_full_disk_leaves_the_upload_where_it_was(
        self, store: ArchiveStore, upload: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = upload()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(DiskFullError), store.taking() as take:
            take(file)
        assert file.exists()
        assert store.held() == set()

    def test_other_faults_of_the_disk_are_told_in_its_words(self, store: ArchiveStore, tmp_path: Path) -> None:
        with pytest.raises(InfrastructureError, match="No such file"), store.taking() as take:
            take(tmp_path / "missing")

    def test_it_is_on_the_disk_before_it_is_taken(
        self, store: ArchiveStore, upload: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[str] = []
        real = os.fsync

        def fsync(handle: int) -> None:
            synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        file = upload()
        with store.taking() as take:
            take(file)
            path = store.path(DIGEST)
            assert path is not None
            assert synced == [str(file), str(path.parent)]


class TestFetching:
    def test_it_is_downloaded_once(self, store: ArchiveStore) -> None:
        path = store.fetch(DIGEST, writing(CONTENT))
        assert path.read_bytes() == CONTENT
        assert store.fetch(DIGEST, never) == path

    def test_a_damaged_download_is_refused_and_leaves_nothing(self, store: ArchiveStore, tmp_path: Path) -> None:
        with pytest.raises(InfrastructureError, match="damaged"):
            store.fetch(DIGEST, writing(CONTENT[:-1]))
        assert list((tmp_path / "archives").iterdir()) == []
        assert store.path(DIGEST) is None

    def test_a_failed_download_leaves_nothing_and_tells_why(self, store: ArchiveStore, tmp_path: Path) -> None:
        def download(path: Path) -> None:
            path.write_bytes(CONTENT[:3])
            raise PeerError("gone")

        with pytest.raises(PeerError, match="gone"):
            store.fetch(DIGEST, download)
        assert list((tmp_path / "archives").iterdir()) == []

    def test_a_copy_that_was_promised_stays_though_the_upload_that_brought_it_fails(
        self, store: ArchiveStore, upload: Callable[..., Path]
    ) -> None:
        with failing(store) as take:
            take(upload())
            store.fetch(DIGEST, never)
        assert store.path(DIGEST)

    def test_also_where_it_arrives_while_the_upload_is_under_way(
        self, store: ArchiveStore, upload: Callable[..., Path]
    ) -> None:
        with failing(store) as take:

            def download(path: Path) -> None:
                take(upload())
                path.write_bytes(CONTENT)

            store.fetch(DIGEST, download)
        assert store.path(DIGEST)


class TestDropping:
    def test_what_is_dropped_is_gone_and_may_be_dropped_again(
        self, store: ArchiveStore, upload: Callable[..., Path]
    ) -> None:
        with store.taking() as take:
            take(upload())
        store.drop(DIGEST)
        store.drop(DIGEST)
        assert store.held() == set()

    def test_what_is_being_submitted_again_is_not_dropped(
        self, store: ArchiveStore, upload: Callable[..., Path]
    ) -> None:
        with store.taking() as take:
            take(upload())
        with store.taking() as take:
            take(upload())
            store.drop(DIGEST)
        assert store.path(DIGEST)
        store.drop(DIGEST)
        assert store.path(DIGEST) is None


class TestDamage:
    """Found once a process, before the file is used or counted; then it is as if it were not here."""

    @pytest.fixture
    def file(self, store: ArchiveStore) -> Path:
        return store.fetch(DIGEST, writing(CONTENT))

    @pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", b"Q" + CONTENT[1:]])
    def test_a_damaged_file_is_set_aside_and_fetched_again(
        self, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
    ) -> None:
        file.write_bytes(content)
        store = ArchiveStore(tmp_path / "archives")
        assert store.path(DIGEST) is None
        assert store.held() == set()
        assert file.with_suffix(".damaged").read_bytes() == content
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert store.fetch(DIGEST, writing(CONTENT)).read_bytes() == CONTENT

    def test_what_changes_while_the_node_runs_is_noticed(self, store: ArchiveStore, file: Path) -> None:
        assert store.path(DIGEST)
        file.write_bytes(CONTENT[:-1])
        assert store.fetch(DIGEST, writing(CONTENT)) == file
        assert file.read_bytes() == CONTENT

    def test_a_submission_of_the_same_content_mends_it(
        self, store: ArchiveStore, file: Path, upload: Callable[..., Path]
    ) -> None:
        file.write_bytes(b"damaged")
        with store.taking() as take:
            take(upload())
        assert file.read_bytes() == CONTENT

    def test_a_whole_file_is_read_once(
        self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upload: Callable[..., Path]
    ) -> None:
        read: list[str] = []
        real = hashlib.file_digest

        def file_digest(file: BinaryIO, name: str) -> object:
            read.append(Path(file.name).name)
            return real(file, name)  # type: ignore[arg-type]

        monkeypatch.setattr(hashlib, "file_digest", file_digest)
        store = ArchiveStore(tmp_path / "archives")
        assert not store.is_checked(DIGEST)
        for _ in range(3):
            assert store.path(DIGEST)
        assert store.is_checked(DIGEST)
        assert read == [file.name]
        read.clear()
        with store.taking() as take:
            other = take(upload(b"another"))
        assert store.path(other)
        assert len(read) == 1

    def test_a_folder_in_its_place_is_not_an_archive(self, store: ArchiveStore, tmp_path: Path) -> None:
        (tmp_path / "archives" / f"{DIGEST}.zip").mkdir()
        assert store.path(DIGEST) is None

    def test_the_last_few_are_kept(self, store: ArchiveStore, tmp_path: Path) -> None:
        digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(6)]
        for number, digest in enumerate(digests):
            store.fetch(digest, writing(bytes([number]))).write_bytes(b"damaged")
        for number, digest in enumerate(digests):
            assert store.path(digest) is None
            for kept in (tmp_path / "archives").glob("*.damaged"):
                if kept.stem == digest:
                    os.utime(kept, (number, number))
        assert {path.stem for path in (tmp_path / "archives").iterdir()} == set(digests[-3:])


def test_what_is_kept_is_not_dropped(store: ArchiveStore) -> None:
    store.fetch(DIGEST, writing(CONTENT))
    with store.keeping([DIGEST]):
        store.drop(DIGEST)
        assert store.path(DIGEST)
    store.drop(DIGEST)
    assert store.held() == set()


def test_torn_files_of_an_earlier_run_are_swept_and_whole_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "tmpx.part").write_bytes(b"torn")
    (tmp_path / f"{DIGEST}.zip").write_bytes(CONTENT)
    store = ArchiveStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{DIGEST}.zip"]
    assert store.held() == {DIGEST}


@pytest.mark.parametrize("name", ["", "../../etc/passwd", DIGEST.upper(), DIGEST[:-1], DIGEST + "\n", f"{DIGEST}/x"])
def test_only_digests_name_archives(store: ArchiveStore, name: str) -> None:
    for use in (store.path, store.drop, lambda digest: store.fetch(digest, never)):
        with pytest.raises(MalformedError):
            use(name)


def test_when_it_was_stored_and_last_asked_for_is_known(store: ArchiveStore) -> None:
    path = store.fetch(DIGEST, writing(CONTENT))
    assert store.used_at(DIGEST) is None
    os.utime(path, (1.0, 1000.0))
    assert store.age(DIGEST, 1500.0) == 500.0
    store.path(DIGEST)
    assert store.used_at(DIGEST) is not None
    store.drop(DIGEST)
    assert (store.age(DIGEST, 1500.0), store.used_at(DIGEST)) == (0.0, None)
