"""A receiver of callbacks on loopback, over http or https, that answers as a test says."""

import contextlib
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Delivery:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`statuses` are answered in turn, the last again and again; `location` goes with each."""

    statuses: list[int] = field(default_factory=lambda: [204])
    location: str | None = None
    port: int = 0
    deliveries: list[Delivery] = field(default_factory=list)

    def answer(self) -> int:
        return self.statuses[min(len(self.deliveries), len(self.statuses)) - 1]

    def url(self, path: str = "/hook", scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@contextlib.contextmanager
def receiving(*statuses: int, location: str | None = None, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver(list(statuses) or [204], location)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                receiver.deliveries.append(Delivery(self.path, dict(self.headers.items()), body))
                status = receiver.answer()
            self.send_response(status)
            if receiver.location is not None:
                self.send_header("Location", receiver.location)
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - whoever follows a redirect comes so

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A handshake that was broken off is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificates(folder: Path, names: Sequence[str]) -> tuple[Path, ssl.SSLContext]:
    """The file of an authority of one's own, and what a server for these names (or addresses) needs."""
    moment = datetime.datetime.now(datetime.UTC)

    def issued(
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        extend: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name.from_rfc4514_string(f"CN={subject}"))
            .issuer_name(x509.Name.from_rfc4514_string("CN=authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - datetime.timedelta(days=1))
            .not_valid_after(moment + datetime.timedelta(days=1))
        )
        return extend(builder).sign(authority_key, hashes.SHA256())

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = issued(
        "authority", authority_key, lambda b: b.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    )
    server = issued(
        "server", key, lambda b: b.add_extension(x509.SubjectAlternativeName(list(map(_name, names))), False)
    )
    trusted, own = folder / "authority.pem", folder / "server.pem"
    trusted.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    own.write_bytes(
        server.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return trusted, context


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
