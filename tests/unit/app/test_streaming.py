"""One thread writes to all the streams' connections."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from testmesh.app import streaming
from testmesh.app.streaming import HandOver, StreamBody, Streamer, hand_over_streams
from tests.support.fake_node import FakeStream
from tests.support.waiting import until

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def streamer() -> Iterator[Streamer]:
    made = Streamer()
    yield made
    made.stop()


class Client:
    """Both ends of a connection whose one end the streamer has."""

    def __init__(self, streamer: Streamer, ends: bool = False) -> None:
        self.here, there = socket.socketpair()
        self.here.settimeout(20)
        self.stream = FakeStream(ends=ends)
        streamer.add(there, HEAD, self.stream)

    def read(self, size: int) -> bytes:
        got = b""
        while len(got) < size and (data := self.here.recv(min(65536, size - len(got)))):
            got += data
        return got

    def rest(self) -> bytes:
        return self.read(2**40)


def test_what_is_told_is_sent_at_once_to_every_reader_by_one_thread(streamer: Streamer) -> None:
    before = threading.active_count()
    clients = [Client(streamer) for _ in range(100)]
    for number in range(3):
        for client in clients:
            client.stream.tell(b"event %d\n" % number)
        for client in clients:
            expected = (HEAD if number == 0 else b"") + b"event %d\n" % number
            assert client.read(len(expected)) == expected
    assert threading.active_count() == before + 1
    for client in clients:
        client.here.close()
    until(lambda: all(client.stream.is_closed for client in clients))


def test_the_connection_ends_with_the_stream(streamer: Streamer) -> None:
    client = Client(streamer)
    client.stream.tell(b"last")
    client.stream.end()
    assert client.rest() == HEAD + b"last"
    assert client.stream.is_closed


def test_a_large_answer_goes_to_a_reader_as_it_takes_it(streamer: Streamer) -> None:
    slow, quick = Client(streamer), Client(streamer)
    content = bytes(range(256)) * 20_000
    slow.stream.tell(content)
    quick.stream.tell(b"x")
    assert quick.read(len(HEAD) + 1) == HEAD + b"x"
    slow.stream.end()
    assert slow.rest() == HEAD + content


def test_a_reader_that_takes_nothing_is_cut_off(streamer: Streamer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STALLED_S", 0.2)
    client = Client(streamer)
    client.stream.tell(bytes(20_000_000))
    until(lambda: client.stream.is_closed)


def test_a_reader_that_talks_without_end_is_cut_off(streamer: Streamer) -> None:
    client = Client(streamer)
    client.here.sendall(b"x" * 1000)
    client.stream.tell(b"y")
    assert client.read(len(HEAD) + 1) == HEAD + b"y"
    with contextlib.suppress(OSError):  # it is closed over it
        client.here.sendall(b"x" * 100_000)
    until(lambda: client.stream.is_closed)


def test_a_quiet_stream_has_a_heartbeat(streamer: Streamer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_S", 0.2)
    assert Client(streamer).read(len(HEAD) + 6) == HEAD + b":\n\n" * 2


def test_a_stop_ends_all_and_what_comes_later(streamer: Streamer) -> None:
    clients = [Client(streamer) for _ in range(5)]
    streamer.stop()
    late = Client(streamer)
    for client in [*clients, late]:
        assert client.rest() in (HEAD, b"")
        assert client.stream.is_closed


def test_a_thread_that_cannot_start_ends_that_stream_and_no_later_one(
    streamer: Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        refused = Client(streamer)
    assert refused.rest() == b""
    assert refused.stream.is_closed
    served = Client(streamer)
    assert served.read(len(HEAD)) == HEAD


def test_only_a_streamed_answer_is_handed_over() -> None:
    stream = FakeStream()

    def app(environ: dict[str, str], start_response: object) -> object:
        start_response("200 OK", [("X-A", "b")])  # type: ignore[operator]
        return StreamBody(stream, b"first") if environ["PATH_INFO"] == "/s" else [b"plain"]

    wrapped = hand_over_streams(app)  # type: ignore[arg-type]
    assert wrapped({"PATH_INFO": "/p"}, lambda *_: None) == [b"plain"]
    with pytest.raises(HandOver) as answer:
        wrapped({"PATH_INFO": "/s"}, lambda *_: None)
    assert answer.value.head == (b"HTTP/1.1 200 OK\r\nServer: testmesh\r\nConnection: close\r\nX-A: b\r\n\r\nfirst")
    assert answer.value.stream is stream


def test_another_server_iterates_and_closes() -> None:
    stream = FakeStream([b"a", b"b"])
    assert list(StreamBody(stream, b"first")) == [b"first", b"a", b"b"]
    assert stream.is_closed
