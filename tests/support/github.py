"""A GitHub API on loopback, repositories in memory: an API host, and a second host that it redirects tarballs to.

In a test: `with FakeGitHub() as github: github.add("owner/repo", {"test_a.py": "..."})`, then use `github.api`.
For a demo: `python -m tests.support.github --port 8080 FOLDER...` serves each folder as `local/<folder>`.
"""

import argparse
import gzip
import hashlib
import io
import os
import signal
import tarfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote

_SKIPPED = {".git", "__pycache__", ".venv", "node_modules", ".pytest_cache"}


@dataclass(frozen=True)
class Executable:
    content: str | bytes


@dataclass(frozen=True)
class Link:
    target: str


File = str | bytes | Executable | Link


@dataclass(frozen=True)
class Request:
    """What a client sent. `server` is "api" or "codeload"."""

    server: str
    path: str
    headers: Mapping[str, str]

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


@dataclass
class Stored:
    full_name: str
    commit: str
    tarball: bytes
    branches: tuple[str, ...]
    private: bool = False
    empty: bool = False


@dataclass
class Faults:
    """Switches, off at first; set them at any time."""

    failures: int = 0  # so many answers of `failure_status` before it works, from either host
    failure_status: int = 500
    answer: tuple[int, Mapping[str, str]] | None = None  # the API answers every request so
    location: str | None = None  # where the API redirects tarballs to instead
    direct: bool = False  # the API sends tarballs itself, with no redirect
    declared_length: int | None = None  # the tarball's Content-Length, whatever it really is; 0 sends none
    cut_after: int | None = None  # bytes of a tarball's body, then the connection ends
    cuts: int = 1_000_000  # how many times that is done
    drip_headers: bool = False  # a header that never ends, a byte at a time
    drip_body: bool = False  # a tarball a byte at a time
    endless_body: bool = False  # a tarball that goes on for ever, and a redirect's body
    before_tarball: Callable[[], None] = field(default=lambda: None)
    on_drip: Callable[[], None] = field(default=lambda: None)


class FakeGitHub:
    """Two servers on free ports of 127.0.0.1. Only `requests` is meant to be read while it runs."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.faults = Faults()
        self.token: str | None = None  # the only token that is accepted; None accepts any
        self._repositories: dict[str, Stored] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._servers = [_Server((host, port), self, "api"), _Server((host, 0), self, "codeload")]
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in self._servers]

    @property
    def api(self) -> str:
        """The base URL, for MESH_GITHUB_API."""
        return self._url(0)

    @property
    def codeload(self) -> str:
        return self._url(1)

    def add(
        self,
        full_name: str,
        files: Mapping[str, File],
        branches: tuple[str, ...] = ("main",),
        private: bool = False,
    ) -> str:
        """Serve `files` (paths to contents) as `owner/repo`; gives the commit."""
        digest = hashlib.sha1(full_name.encode())
        for path, file in sorted(files.items()):
            digest.update(path.encode() + (file if isinstance(file, bytes) else repr(file).encode()))
        commit = digest.hexdigest()
        wrapper = f"{full_name.replace('/', '-')}-{commit[:7]}"
        self._keep(Stored(full_name, commit, make_tarball(files, wrapper, commit), branches, private))
        return commit

    def add_tarball(self, full_name: str, tarball: bytes) -> str:
        """Serve any bytes as a repository's tarball."""
        commit = hashlib.sha1(tarball).hexdigest()
        self._keep(Stored(full_name, commit, tarball, ("main",)))
        return commit

    def add_empty(self, full_name: str) -> None:
        self._keep(Stored(full_name, "", b"", (), empty=True))

    def add_folder(self, full_name: str, folder: Path) -> str:
        return self.add(full_name, read_folder(folder))

    def seen(self, server: str) -> list[Request]:
        return [request for request in self.requests if request.server == server]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _url(self, index: int) -> str:
        host, port = self._servers[index].server_address[:2]
        return f"http://{host!s}:{port}"

    def _keep(self, repository: Stored) -> None:
        self._repositories[repository.full_name.lower()] = repository

    # For the handlers --------------------------------------------------------------------------

    def find(self, full_name: str) -> Stored | None:
        return self._repositories.get(full_name.lower())

    def record(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def fails_now(self) -> bool:
        with self._lock:
            self.faults.failures -= 1
            return self.faults.failures >= 0

    def cuts_now(self) -> bool:
        with self._lock:
            self.faults.cuts -= 1
            return self.faults.cut_after is not None and self.faults.cuts >= 0

    def pause(self, seconds: float) -> bool:
        """Wait between drips; true when the servers stop."""
        return self._stopping.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True  # no thread outlives the servers

    def __init__(self, address: tuple[str, int], github: FakeGitHub, name: str) -> None:
        super().__init__(address, _Handler)
        self.github = github
        self.name = name

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up; that is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection a request, so that stopping never waits for an idle one
    server: _Server

    def do_GET(self) -> None:
        github = self.server.github
        github.record(
            Request(self.server.name, self.path, {name.title(): value for name, value in self.headers.items()})
        )
        if github.faults.drip_headers:
            self._drip(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        elif github.fails_now():
            self._answer(github.faults.failure_status)
        elif self.server.name == "api":
            self._api(github)
        else:
            owner, name = self.path.split("/")[1:3]
            found = github.find(f"{owner}/{name}")
            self._tarball(found.tarball) if found else self._answer(404)

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests` instead."""

    def _api(self, github: FakeGitHub) -> None:
        if github.faults.answer:
            self._answer(github.faults.answer[0], headers=github.faults.answer[1])
            return
        given = self.headers.get("Authorization")
        if given and github.token and given != f"Bearer {github.token}":
            self._answer(401)
            return
        _, _, owner, name, kind, *rest = [*self.path.split("/"), "", "", ""]
        found = github.find(f"{owner}/{name}")
        ref = unquote(rest[0])
        if found is None or (found.private and not given):
            self._answer(404)
        elif found.empty:
            self._answer(409)
        elif ref not in ("HEAD", found.commit, *found.branches):
            self._answer(422)
        elif kind == "commits":
            self._answer(200, found.commit.encode())
        elif kind == "tarball" and github.faults.direct:
            self._tarball(found.tarball)
        elif kind == "tarball":
            default = f"{github.codeload}/{owner}/{name}/legacy.tar.gz/{found.commit}"
            location = github.faults.location if github.faults.location is not None else default
            self._answer(302, headers={"Location": location})
        else:
            self._answer(404)

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        # As an error page may: what it repeats must not reach a message.
        body = body or f"you sent {self.headers.get('Authorization')}".encode()
        endless = self.server.github.faults.endless_body and 300 <= status < 400
        length = {} if endless else {"Content-Length": str(len(body))}
        for name, value in {**length, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if endless:
            self._go_on()

    def _tarball(self, body: bytes) -> None:
        github, faults = self.server.github, self.server.github.faults
        faults.before_tarball()
        length = len(body) if faults.declared_length is None else faults.declared_length
        self.send_response(200)
        if length and not faults.endless_body:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if faults.endless_body:
            self._go_on()
        elif faults.drip_body:
            self._drip(body)
        else:
            self.wfile.write(body[: faults.cut_after] if github.cuts_now() else body)

    def _go_on(self) -> None:
        while not self.server.github.pause(0):
            self.wfile.write(os.urandom(65536))

    def _drip(self, start: bytes) -> None:
        github = self.server.github
        for byte in start:
            if github.pause(0.01):
                return
            self.wfile.write(bytes([byte]))
            github.faults.on_drip()
        while not github.pause(0.01):
            self.wfile.write(b".")
            github.faults.on_drip()


def make_tarball(files: Mapping[str, File], wrapper: str, commit: str) -> bytes:
    """A tar.gz as `git archive` makes GitHub's: the commit in a global header, then one folder with everything."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": commit}) as tar:
        folders = {wrapper}
        tar.addfile(_info(wrapper, tarfile.DIRTYPE, 0o775))
        for path, file in sorted(files.items()):
            name = f"{wrapper}/{path}"
            for parent in reversed(Path(name).parents[:-1]):
                if str(parent) not in folders:
                    folders.add(str(parent))
                    tar.addfile(_info(str(parent), tarfile.DIRTYPE, 0o775))
            _add(tar, name, file)
    return gzip.compress(raw.getvalue(), mtime=0)


def read_folder(folder: Path) -> dict[str, File]:
    found: dict[str, File] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if _SKIPPED & set(relative.parts):
            continue
        if path.is_symlink():
            found[relative.as_posix()] = Link(str(path.readlink()))
        elif path.is_file():
            content = path.read_bytes()
            found[relative.as_posix()] = Executable(content) if os.access(path, os.X_OK) else content
    return found


def _add(tar: tarfile.TarFile, name: str, file: File) -> None:
    if isinstance(file, Link):
        info = _info(name, tarfile.SYMTYPE, 0o777)
        info.linkname = file.target
        tar.addfile(info)
        return
    content = file.content if isinstance(file, Executable) else file
    data = content.encode() if isinstance(content, str) else content
    info = _info(name, tarfile.REGTYPE, 0o775 if isinstance(file, Executable) else 0o664)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, 1_700_000_000
    info.uname = info.gname = "root"
    return info


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve folders as the repositories local/<folder>.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("folders", nargs="+", type=Path)
    arguments = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with FakeGitHub(arguments.port, arguments.host) as github:
        print(f"MESH_GITHUB_API={github.api}", flush=True)  # noqa: T201 - a command's output
        for folder in arguments.folders:
            name = f"local/{folder.resolve().name}"
            github.add_folder(name, folder)
            print(f"https://github.com/{name}", flush=True)  # noqa: T201
        ended.wait()


if __name__ == "__main__":
    main()
