"""Archives come from whoever has them, once, whole, and leave nothing where they do not come."""

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from testmesh.errors import ArchiveAwayError, DiskFullError, PeerError, TestmeshError
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.fetching import ArchiveFetcher
from testmesh.node.messaging.messages import FetchOrder, FetchProgress
from testmesh.node.messaging.peers import PeerClient
from tests.support.waiting import until

CONTENT = b"0123456789" * 50
DIGEST = hashlib.sha256(CONTENT).hexdigest()
Sender = Callable[[Path], None]


class Peers:
    """What each sends, after what the file has already."""

    def __init__(self) -> None:
        self.senders: dict[str, Sender] = {}
        self.asked: list[tuple[str, int]] = []  # address, and the bytes that were there

    def archive(self, address: str, digest: str, destination: Path) -> None:
        self.asked.append((address, destination.stat().st_size))
        if address not in self.senders:
            raise PeerError("404")
        self.senders[address](destination)


def sending(content: bytes, up_to: int | None = None) -> Sender:
    """Goes on at the file's end; `up_to`: the connection breaks there."""

    def send(part: Path) -> None:
        with part.open("ab") as file:
            file.write(content[part.stat().st_size : up_to])
        if up_to is not None:
            raise PeerError("the connection broke")

    return send


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.fixture
def archives(tmp_path: Path) -> ArchiveStore:
    return ArchiveStore(tmp_path / "archives")


@pytest.fixture
def fetcher(archives: ArchiveStore, peers: Peers) -> Iterator[ArchiveFetcher]:
    found = ArchiveFetcher(archives, cast(PeerClient, peers), lambda: ("a:1", "b:1", "c:1"))
    yield found
    found.stop()


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "archives").iterdir())


def test_holders_are_asked_before_the_others_and_only_those_who_live(fetcher: ArchiveFetcher, peers: Peers) -> None:
    peers.senders["b:1"] = sending(CONTENT)
    assert fetcher.ensure(DIGEST, ("dead:1", "c:1")).read_bytes() == CONTENT
    assert [address for address, _ in peers.asked] == ["c:1", "a:1", "b:1"]


def test_what_is_here_is_not_fetched(fetcher: ArchiveFetcher, peers: Peers) -> None:
    peers.senders["a:1"] = sending(CONTENT)
    path = fetcher.ensure(DIGEST, ())
    assert fetcher.ensure(DIGEST, ()) == path
    assert fetcher.order(FetchOrder((DIGEST,), "a:1")) == FetchProgress()
    assert len(peers.asked) == 1


def test_where_one_breaks_off_the_next_goes_on_from_there(fetcher: ArchiveFetcher, peers: Peers) -> None:
    peers.senders |= {"a:1": sending(CONTENT, 300), "b:1": sending(CONTENT)}
    assert fetcher.ensure(DIGEST, ()).read_bytes() == CONTENT
    assert peers.asked == [("a:1", 0), ("b:1", 300)]


def test_a_beginning_that_was_damaged_does_not_spoil_what_a_good_holder_sends(
    fetcher: ArchiveFetcher, peers: Peers
) -> None:
    peers.senders |= {"a:1": sending(b"x" * 300, 300), "b:1": sending(CONTENT)}
    assert fetcher.ensure(DIGEST, ()).read_bytes() == CONTENT
    assert peers.asked == [("a:1", 0), ("b:1", 300), ("b:1", 0)]


def test_where_the_connection_breaks_at_the_very_end_nothing_more_is_asked(
    fetcher: ArchiveFetcher, peers: Peers
) -> None:
    peers.senders["a:1"] = sending(CONTENT, len(CONTENT))
    assert fetcher.ensure(DIGEST, ()).read_bytes() == CONTENT
    assert len(peers.asked) == 1


def test_who_sends_something_else_is_passed_over(fetcher: ArchiveFetcher, peers: Peers) -> None:
    peers.senders |= {"a:1": sending(b"something else"), "b:1": sending(CONTENT)}
    assert fetcher.ensure(DIGEST, ()).read_bytes() == CONTENT


@pytest.mark.parametrize("sender", [None, sending(b"something else"), sending(CONTENT, 10)])
def test_where_nobody_has_it_nothing_is_left_and_it_may_be_tried_again(
    fetcher: ArchiveFetcher, peers: Peers, tmp_path: Path, sender: Sender | None
) -> None:
    if sender:
        peers.senders |= dict.fromkeys(("a:1", "b:1", "c:1"), sender)
    with pytest.raises(ArchiveAwayError):
        fetcher.ensure(DIGEST, ())
    assert files(tmp_path) == []
    peers.senders["c:1"] = sending(CONTENT)
    assert fetcher.ensure(DIGEST, ()).read_bytes() == CONTENT


def test_a_disk_that_fills_up_meanwhile_is_told_as_such_and_leaves_nothing(
    fetcher: ArchiveFetcher, peers: Peers, tmp_path: Path
) -> None:
    def full(part: Path) -> None:
        part.write_bytes(CONTENT[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    peers.senders["a:1"] = full
    with pytest.raises(DiskFullError):
        fetcher.ensure(DIGEST, ())
    assert files(tmp_path) == []


class TestOrders:
    """A node that is to take a copy answers soon, and often, for as long as it fetches."""

    @pytest.fixture
    def go_on(self, peers: Peers) -> Iterator[threading.Event]:
        """The first 300 bytes come at once."""
        event = threading.Event()

        def send(part: Path) -> None:
            part.write_bytes(CONTENT[:300])
            event.wait(30)
            part.write_bytes(CONTENT)

        peers.senders["me:1"] = send
        yield event
        event.set()

    def test_it_tells_how_far_it_is_until_all_is_there(
        self, fetcher: ArchiveFetcher, archives: ArchiveStore, go_on: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("testmesh.node.copying.fetching._ANSWER_WITHIN_S", 0.01)
        order = FetchOrder((DIGEST,), "me:1")
        until(lambda: fetcher.order(order) == FetchProgress((DIGEST,), 300))
        go_on.set()
        until(lambda: fetcher.order(order) == FetchProgress())
        assert archives.held() == {DIGEST}

    def test_many_who_want_the_same_share_one_download(
        self, fetcher: ArchiveFetcher, peers: Peers, go_on: threading.Event
    ) -> None:
        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(fetcher.order, FetchOrder((DIGEST,), "me:1"))
            until(lambda: peers.asked)
            others = [pool.submit(fetcher.ensure, DIGEST, ()) for _ in range(6)]
            assert not any(future.done() for future in others)
            go_on.set()
            paths = {future.result(20) for future in others}
            first.result(20)
        assert len(paths) == 1
        assert len(peers.asked) == 1

    def test_that_it_failed_is_told_and_the_next_order_tries_again(self, fetcher: ArchiveFetcher, peers: Peers) -> None:
        order = FetchOrder((DIGEST,), "me:1")
        with pytest.raises(ArchiveAwayError):
            fetcher.order(order)
        peers.senders["me:1"] = sending(CONTENT)
        assert fetcher.order(order) == FetchProgress()

    def test_what_failed_between_two_orders_is_told_once(
        self, fetcher: ArchiveFetcher, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("testmesh.node.copying.fetching._ANSWER_WITHIN_S", 0.01)
        go_on = threading.Event()

        def breaking(part: Path) -> None:
            go_on.wait(30)
            raise PeerError("the connection broke")

        peers.senders["me:1"] = breaking
        order = FetchOrder((DIGEST,), "me:1")
        assert fetcher.order(order).missing == (DIGEST,)
        go_on.set()
        until(lambda: fetcher._flights[DIGEST].ended_at is not None)
        peers.senders["me:1"] = sending(CONTENT)
        with pytest.raises(ArchiveAwayError):
            fetcher.order(order)
        until(lambda: fetcher.order(order) == FetchProgress())

    def test_what_waits_when_the_node_stops_is_told_so(self, archives: ArchiveStore, peers: Peers) -> None:
        fetcher = ArchiveFetcher(archives, cast(PeerClient, peers), lambda: ())
        fetcher.stop()
        for ask in (lambda: fetcher.ensure(DIGEST, ()), lambda: fetcher.order(FetchOrder((DIGEST,), "me:1"))):
            with pytest.raises(TestmeshError, match="stopping"):
                ask()
