"""One POST to a stranger: where it goes, what it says, and how long and how much is listened to."""

import contextlib
import hashlib
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from testmesh.clock import FakeClock, SystemClock
from testmesh.errors import SettingsError
from testmesh.node.callbacks.http_courier import (
    CallbackError,
    HttpCourier,
    KeylessCourier,
    NoKeyError,
    trusted_certificates,
)
from tests.support.receiver import certificates, receiving

KEY = "the-key-of-the-tests"
BODY = b'{"id":"e1"}'


@dataclass
class FakeResolver:
    """Answers in turn, the last again and again."""

    answers: list[Sequence[str]]
    asked: list[tuple[str, int]] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


class NoSuchName:
    def resolve(self, host: str, port: int) -> Sequence[str]:
        raise socket.gaierror("Name or service not known")


@pytest.fixture(scope="session")
def system_context() -> ssl.SSLContext:
    return trusted_certificates()


Make = Callable[..., HttpCourier]


@pytest.fixture
def make(system_context: ssl.SSLContext) -> Make:
    def made(**arguments: object) -> HttpCourier:
        chosen = {"key": KEY, "clock": SystemClock(), "context": system_context, "private": True} | arguments
        return HttpCourier(chosen.pop("key"), chosen.pop("clock"), chosen.pop("context"), **chosen)  # type: ignore[arg-type]

    return made


# What is said -------------------------------------------------------------------------------


def test_the_post_is_signed_and_goes_to_the_path_with_the_query(make: Make) -> None:
    with receiving(201) as receiver:
        assert make(clock=FakeClock()).deliver(receiver.url("/hook?course=3"), "e1", BODY) == 201
    (found,) = receiver.deliveries
    assert (found.path, found.body) == ("/hook?course=3", BODY)
    assert found.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert found.headers["Content-Type"] == "application/json"
    assert found.headers["Testmesh-Delivery"] == "e1"
    moment, signature = (part.split("=")[1] for part in found.headers["Testmesh-Signature"].split(","))
    assert moment == "1800000000"
    expected = hmac.new(KEY.encode(), moment.encode() + b"." + BODY, hashlib.sha256).hexdigest()
    assert signature == expected


def test_without_a_key_nothing_is_sent() -> None:
    with receiving() as receiver, pytest.raises(NoKeyError, match="MESH_CALLBACK_SECRET"):
        KeylessCourier().deliver(receiver.url(), "e1", BODY)
    assert receiver.deliveries == []


def test_a_large_body_arrives_whole(make: Make) -> None:
    body = json.dumps({"projects": ["p" * 100] * 20_000}).encode()
    with receiving() as receiver:
        assert make().deliver(receiver.url(), "e1", body) == 204
    assert receiver.deliveries[0].body == body


# Where it goes ------------------------------------------------------------------------------


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(make: Make) -> None:
    rebinding = FakeResolver([["127.0.0.1"], ["127.0.0.2"]])
    with receiving() as receiver:
        url = receiver.url(host="grades.example.org")
        assert make(resolver=rebinding).deliver(url, "e1", BODY) == 204
        assert rebinding.asked == [("grades.example.org", receiver.port)]
        assert receiver.deliveries[0].headers["Host"] == f"grades.example.org:{receiver.port}"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["2606:4700::1111", "64:ff9b::7f00:1", "93.184.216.34"],
        ["169.254.169.254"],
        ["fe80::1%lo"],
    ],
)
def test_a_name_with_an_address_that_is_not_public_is_not_called(make: Make, addresses: list[str]) -> None:
    resolver = FakeResolver([addresses])
    with receiving() as receiver, pytest.raises(CallbackError, match="no address that may be called"):
        make(private=False, resolver=resolver).deliver(receiver.url(host="grades.example.org"), "e1", BODY)
    assert len(resolver.asked) == 1
    assert receiver.deliveries == []


def test_the_metadata_service_is_not_called_even_where_private_addresses_are(make: Make) -> None:
    with pytest.raises(CallbackError, match="no address that may be called"):
        make(resolver=FakeResolver([["169.254.169.254"]])).deliver("http://innocent.example.org/", "e1", BODY)


def test_an_address_in_the_url_is_checked_again_when_it_is_called(make: Make) -> None:
    with receiving() as receiver, pytest.raises(CallbackError, match="MESH_CALLBACK_PRIVATE"):
        make(private=False).deliver(receiver.url(), "e1", BODY)
    assert receiver.deliveries == []


def test_of_several_addresses_the_next_is_tried_where_nobody_listens(make: Make) -> None:
    with receiving() as receiver:
        resolver = FakeResolver([["127.0.0.77", "127.0.0.1"]])
        assert make(resolver=resolver).deliver(receiver.url(host="two.example.org"), "e1", BODY) == 204


@pytest.mark.parametrize("resolver", [NoSuchName(), FakeResolver([[]])])
def test_a_name_that_nobody_knows(make: Make, resolver: object) -> None:
    with pytest.raises(CallbackError, match=r"https://no\.example is not known"):
        make(resolver=resolver).deliver("https://no.example/path?token=secret", "e1", BODY)


def test_a_label_that_is_too_long_for_dns_is_a_name_nobody_knows(make: Make) -> None:
    with pytest.raises(CallbackError, match="is not known"):
        make().deliver(f"https://{'.'.join(['a' * 60] * 4)}.invalid./", "e1", BODY)


def test_a_redirect_is_not_followed(make: Make) -> None:
    with receiving() as elsewhere, receiving(307, location=elsewhere.url()) as receiver:
        assert make().deliver(receiver.url(), "e1", BODY) == 307
    assert len(receiver.deliveries) == 1
    assert elsewhere.deliveries == []


def test_no_proxy_of_the_environment_is_used(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url("/"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert make().deliver(receiver.url(), "e1", BODY) == 204
    assert proxy.deliveries == []


# TLS ----------------------------------------------------------------------------------------


def test_the_certificate_is_that_of_the_urls_name_not_of_the_address(make: Make, tmp_path: Path) -> None:
    trusted, context = certificates(tmp_path, ["grades.example.org"])
    courier = make(context=trusted_certificates(str(trusted)), resolver=FakeResolver([["127.0.0.1"]]))
    with receiving(context=context) as receiver:
        assert courier.deliver(receiver.url(scheme="https", host="grades.example.org."), "e1", BODY) == 204
        with pytest.raises(CallbackError, match="cannot be verified"):
            courier.deliver(receiver.url("/?token=secret", "https", "other.example.org"), "e1", BODY)
        with pytest.raises(CallbackError, match="cannot be verified"):
            courier.deliver(receiver.url(scheme="https"), "e1", BODY)
    assert len(receiver.deliveries) == 1


def test_a_certificate_of_an_unknown_authority_is_refused(make: Make, tmp_path: Path) -> None:
    _, context = certificates(tmp_path, ["127.0.0.1"])
    with receiving(context=context) as receiver, pytest.raises(CallbackError, match="cannot be verified"):
        make().deliver(receiver.url(scheme="https"), "e1", BODY)
    assert receiver.deliveries == []


def test_a_bundle_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="REQUESTS_CA_BUNDLE="):
        trusted_certificates(str(tmp_path / "none.pem"))
    assert trusted_certificates(str(tmp_path)).verify_mode is ssl.CERT_REQUIRED


# What is listened to ------------------------------------------------------------------------


@contextlib.contextmanager
def talking(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request and then says what a test wants. Gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    received = b""
                    while not received.endswith(BODY):
                        received += connection.recv(65536)
                    say(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/?token=secret"
        finally:
            thread.join(20)
            assert not thread.is_alive()


def test_a_slow_answer_is_cut_after_ten_seconds_however_it_drips(make: Make) -> None:
    clock = FakeClock()
    said = []

    def say(connection: socket.socket) -> None:
        connection.settimeout(0.02)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(5000):
            with contextlib.suppress(TimeoutError):
                if connection.recv(1) == b"":
                    return
            said.append(number)
            clock.advance(1.0)
            connection.sendall(b"X-Drip: 1\r\n")

    with talking(say) as url, pytest.raises(CallbackError, match="did not answer in time") as cut:
        make(clock=clock).deliver(url, "e1", BODY)
    assert "secret" not in str(cut.value)
    assert 10 <= len(said) < 5000


def test_a_body_that_drips_is_cut_too_but_the_status_was_heard(make: Make) -> None:
    clock = FakeClock()

    def say(connection: socket.socket) -> None:
        connection.settimeout(0.02)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(5000):
            with contextlib.suppress(TimeoutError):
                if connection.recv(1) == b"":
                    return
            clock.advance(1.0)
            connection.sendall(b"x")

    with talking(say) as url:
        assert make(clock=clock).deliver(url, "e1", BODY) == 200
    assert clock.monotonic() >= 1010


def test_no_more_than_64_kib_are_read(make: Make) -> None:
    sent = []

    def say(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100_000):
            sent.append(connection.send(b"x" * 65536))

    with talking(say) as url:
        assert make().deliver(url, "e1", BODY) == 200
    assert sum(sent) < 100_000 * 65536, "it was hung up on"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"nonsense",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"X" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_no_answer_is_a_failure(make: Make, answer: bytes) -> None:
    with talking(lambda connection: connection.sendall(answer)) as url, pytest.raises(CallbackError) as failed:
        make().deliver(url, "e1", BODY)
    assert "secret" not in failed.value.detail
    assert failed.value.__context__ is None, "it would hold the request"


def test_nobody_listens(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CallbackError, match="ConnectionRefusedError"):
        make().deliver(f"http://127.0.0.1:{port}/", "e1", BODY)
