import hashlib
import io
import logging
import socket
import subprocess
import sys
import threading
import traceback
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testmesh.clock import FakeClock, SystemClock
from testmesh.errors import InfrastructureError, SourceError
from testmesh.testing.archive import ArchiveLimits, check_archive
from testmesh.testing.github import FetchedRepository, RepositoryFetcher
from testmesh.testing.repository_url import parse_repository_url
from tests.support.github import Executable, FakeGitHub, Link

MIB = 1024**2
LIMITS = ArchiveLimits(max_upload=8 * MIB, max_unpacked=32 * MIB, max_entries=100)
TOKEN = "ghp_canary0123456789"
URL = "https://github.com/owner/repo"


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as running:
        yield running


class Room:
    """A fetcher at work on one folder, on a clock that stands still, whose pauses are noted and not waited for."""

    def __init__(self, api: str, folder: Path) -> None:
        self.api = api
        self.clock = FakeClock()
        self.pauses: list[float] = []
        self.destination = folder / "repository.zip"

    def fetch(
        self, url: str = URL, token: str | None = None, limits: ArchiveLimits = LIMITS, timeout_s: float = 60
    ) -> FetchedRepository:
        fetcher = RepositoryFetcher(self.api, limits, self.clock, timeout_s, self.pauses.append)
        return fetcher.fetch(parse_repository_url(url), token, self.destination)

    def refusal(self, token: str | None = None, **options: object) -> str:
        """The sentence of the SourceError, once it is sure that nothing else comes or stays with it."""
        with pytest.raises(SourceError) as caught:
            self.fetch(token=token, **options)  # type: ignore[arg-type]
        assert list(self.destination.parent.iterdir()) == []
        assert_no_token(caught.value)
        return caught.value.detail


def assert_no_token(error: BaseException) -> None:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    for link in chain:
        assert TOKEN not in repr(link)
        assert TOKEN not in repr(vars(link))
    assert len(chain) == 1  # an error of `requests` would hold the request, and so the token
    assert TOKEN not in "".join(traceback.format_exception(error))


@pytest.fixture
def room(github: FakeGitHub, tmp_path: Path) -> Room:
    return Room(github.api, tmp_path)


def test_a_repository_comes_as_a_pinned_zip_that_the_archive_check_accepts(github: FakeGitHub, room: Room) -> None:
    commit = github.add(
        "owner/repo", {"test_a.py": "def test(): pass\n", "run.sh": Executable("#!/bin/sh\n"), "ln": Link("/etc")}
    )

    fetched = room.fetch()

    check_archive(fetched.archive, LIMITS)
    assert zipfile.ZipFile(fetched.archive).namelist() == ["run.sh", "test_a.py"]
    assert (fetched.commit, fetched.name, fetched.archive) == (commit, "owner-repo", room.destination)
    assert "link" in fetched.notes[0]
    assert list(room.destination.parent.iterdir()) == [room.destination]


def test_the_same_commit_gives_the_same_archive_on_every_node(github: FakeGitHub, tmp_path: Path) -> None:
    github.add("owner/repo", {"test_a.py": "def test(): pass\n" * 500, "b/c.py": ""})
    digests = set()
    for node in ("one", "two"):
        (tmp_path / node).mkdir()
        digests.add(hashlib.sha256(Room(github.api, tmp_path / node).fetch().archive.read_bytes()).hexdigest())

    assert len(digests) == 1


@pytest.mark.parametrize("ref", ["main", "feature/a/b", "x/status", "bot/@types/node"])
def test_a_branch_is_resolved_once_and_its_commit_is_fetched(github: FakeGitHub, room: Room, ref: str) -> None:
    commit = github.add("owner/repo", {"test_a.py": ""}, branches=(ref,))

    assert room.fetch(f"{URL}/tree/{ref}").commit == commit
    assert [request.path.rpartition("/")[2] for request in github.requests][1:] == [commit, commit]


def test_the_token_is_told_to_the_api_and_not_to_where_it_redirects(github: FakeGitHub, room: Room) -> None:
    github.token = TOKEN
    github.add("owner/repo", {"test_a.py": ""}, private=True)

    room.fetch(token=TOKEN)

    assert [request.authorization for request in github.seen("api")] == [f"Bearer {TOKEN}"] * 2
    assert [request.authorization for request in github.seen("codeload")] == [None]
    assert not any(TOKEN in str(request) for request in github.seen("codeload"))


def test_the_token_does_not_come_back_when_a_redirect_leads_home(github: FakeGitHub, room: Room) -> None:
    commit = github.add("owner/repo", {"test_a.py": ""})
    with FakeGitHub() as other:
        github.faults.location = f"{other.api}/away"
        other.faults.answer = (302, {"Location": f"{github.api}/repos/owner/repo/tarball/{commit}"})

        room.refusal(token=TOKEN)

        assert {request.authorization for request in other.requests} == {None}
    commit_asked, tarball_asked, *led_home = github.requests
    assert (commit_asked.authorization, tarball_asked.authorization) == (f"Bearer {TOKEN}",) * 2
    assert {request.authorization for request in led_home} == {None}


def test_a_redirect_within_the_api_keeps_the_token(github: FakeGitHub, room: Room) -> None:
    """A repository that was renamed."""
    github.add("owner/repo", {"test_a.py": ""}, private=True)
    commit = github.add("owner/new", {"test_a.py": ""}, private=True)
    github.faults.location = f"/repos/owner/new/other/{commit}"

    room.refusal(token=TOKEN)

    assert github.requests[-1].path == github.faults.location
    assert github.requests[-1].authorization == f"Bearer {TOKEN}"


def test_without_a_token_none_is_sent_whatever_the_netrc_says(
    github: FakeGitHub, room: Room, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    github.add("owner/repo", {"test_a.py": ""})

    room.fetch()

    assert [request.authorization for request in github.requests] == [None] * 3


def test_netrc_is_not_read_either_where_the_environments_proxies_are(
    github: FakeGitHub, room: Room, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API that is not on this machine, asked through a proxy: here the fake stands for both."""
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("default login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", github.api)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    room.api = "http://api.test.invalid"

    room.refusal()

    assert github.requests[0].path == "http://api.test.invalid/repos/owner/repo/commits/HEAD"
    assert github.requests[0].authorization is None


def test_an_api_on_this_machine_is_not_asked_through_a_proxy(
    github: FakeGitHub, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    github.add("owner/repo", {"test_a.py": ""})

    assert room.fetch().name == "owner-repo"


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://example.invalid/x",
        "http://github.com/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//example.invalid/x",
        "http://user:pass@127.0.0.1/x",
        "https://user@codeload.invalid/x",
        "http://127.0.0.1:99999/x",
        "http://[::1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433/x",
        f"http://{TOKEN}.invalid/",
    ],
)
def test_an_odd_redirect_is_not_followed(github: FakeGitHub, room: Room, location: str) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    github.faults.location = location

    assert "redirected" in room.refusal(token=TOKEN)
    assert len(github.requests) == 2
    assert room.pauses == []


def test_an_api_elsewhere_may_not_redirect_to_plain_http(
    github: FakeGitHub, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", github.api)  # the fake answers for a host that is not this machine
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    room.api = "http://api.test.invalid"
    github.faults.answer = (302, {"Location": f"{github.codeload}/owner/repo"})

    assert "not followed" in room.refusal(token=TOKEN)
    assert len(github.requests) == 1


def test_the_body_of_a_redirect_is_not_read(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    github.faults.endless_body = True

    room.refusal()  # that it is reached at all shows that the redirect's own endless body was left alone

    assert len(github.seen("codeload")) == 1


def test_redirects_end(github: FakeGitHub, room: Room) -> None:
    github.faults.answer = (302, {"Location": "/again"})

    assert "more than 3 times" in room.refusal()
    assert len(github.requests) == 4


@pytest.mark.parametrize(
    ("answer", "token", "words"),
    [
        ((401, {}), TOKEN, "does not accept the auth_token"),
        ((403, {}), TOKEN, "forbids access"),
        ((403, {"X-RateLimit-Remaining": "57"}), None, "forbids access"),
        ((403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000060"}), None, "2027-01-15 08:01:00 UTC"),
        ((403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000060"}), None, "with an auth_token"),
        ((429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 50}), None, "rate limit"),
        ((429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}), None, "rate limit"),
        ((403, {"Retry-After": "42"}), TOKEN, "in 42 s"),
        ((429, {"Retry-After": "-1"}), TOKEN, "rate limit"),
        ((429, {}), None, "rate limit"),
        ((404, {}), TOKEN, "the auth_token may not read it"),
        ((404, {}), None, "give an auth_token"),
        ((409, {}), None, "empty"),
        ((422, {}), None, "no such branch"),
        ((451, {}), None, "legal"),
        ((418, {}), None, "418"),
        ((204, {}), None, "204"),
        ((304, {}), None, "304"),
    ],
)
def test_an_answer_becomes_a_sentence_and_is_not_asked_again(
    github: FakeGitHub, room: Room, answer: tuple[int, dict[str, str]], token: str | None, words: str
) -> None:
    github.faults.answer = answer

    assert words in room.refusal(token)
    assert len(github.requests) == 1


def test_what_is_not_there_is_not_found(github: FakeGitHub, room: Room) -> None:
    assert "not found, or private" in room.refusal()


def test_a_private_repository_asks_for_a_token(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""}, private=True)

    assert "auth_token" in room.refusal()


def test_a_wrong_token_is_told(github: FakeGitHub, room: Room) -> None:
    github.token = "another"
    github.add("owner/repo", {"test_a.py": ""}, private=True)

    assert "does not accept" in room.refusal(token=TOKEN)


def test_an_empty_repository_is_told(github: FakeGitHub, room: Room) -> None:
    github.add_empty("owner/repo")

    assert "empty" in room.refusal()


def test_a_branch_that_is_not_there_is_told(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})

    assert "/tree/" in room.refusal(url=f"{URL}/tree/main/folder")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_server_is_asked_again(github: FakeGitHub, room: Room, status: int) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    github.faults.failures, github.faults.failure_status = 2, status

    assert room.fetch().name == "owner-repo"
    assert len(room.pauses) == 2
    assert len(github.requests) == 5


def test_a_server_that_goes_on_failing_is_given_up(github: FakeGitHub, room: Room) -> None:
    github.faults.failures = 1000

    assert "500" in room.refusal(token=TOKEN)
    assert len(github.requests) == 3


def test_a_connection_that_breaks_in_the_body_is_tried_again(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": "x" * 5000})
    github.faults.cut_after, github.faults.cuts = 100, 1

    check_archive(room.fetch().archive, LIMITS)
    assert len(github.seen("codeload")) == 2


def test_a_body_that_is_always_cut_is_given_up(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": "x" * 5000})
    github.faults.cut_after = 100

    assert "broke" in room.refusal(token=TOKEN)
    assert len(github.seen("codeload")) == 3


def test_a_cut_body_of_unknown_length_is_damage(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": "x" * 5000})
    github.faults.cut_after, github.faults.declared_length = 100, 0

    assert "damaged" in room.refusal()


def test_a_refused_connection_is_told(room: Room) -> None:
    room.api = f"http://127.0.0.1:{closed_port()}"

    assert "cannot be reached" in room.refusal(token=TOKEN)
    assert len(room.pauses) == 2


def test_what_speaks_no_http_is_told(room: Room) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        room.api = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            for _ in range(3):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        server = threading.Thread(target=answer)
        server.start()
        assert "GitHub" in room.refusal(token=TOKEN)
        server.join()


def test_plain_http_where_tls_is_expected_is_told(github: FakeGitHub, room: Room) -> None:
    room.api = github.api.replace("http:", "https:")

    assert "GitHub" in room.refusal(token=TOKEN)


@pytest.mark.parametrize("declared", [None, 0])
def test_a_body_over_the_limit_is_refused(github: FakeGitHub, room: Room, declared: int | None) -> None:
    github.add_tarball("owner/repo", bytes(MIB))
    github.faults.declared_length = declared

    assert "larger than the 1000000 bytes" in room.refusal(limits=ArchiveLimits(1_000_000, 10 * MIB, 10))
    assert len(github.seen("codeload")) == 1


def test_a_body_without_an_end_is_cut_at_the_limit(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    github.faults.endless_body = True

    assert "larger" in room.refusal()


def test_a_declared_length_over_the_limit_is_refused_without_reading(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    github.faults.declared_length = 10 * 1024**3

    assert "larger" in room.refusal()


def test_an_answer_that_names_no_commit_is_told(github: FakeGitHub, room: Room) -> None:
    github.faults.answer = (200, {})

    assert "no commit" in room.refusal(token=TOKEN)


def test_an_endless_answer_instead_of_a_commit_is_told(github: FakeGitHub, room: Room) -> None:
    with FakeGitHub() as other:
        other.add("owner/repo", {"test_a.py": ""})
        other.faults.endless_body = True
        github.faults.answer = (302, {"Location": f"{other.codeload}/owner/repo"})

        assert "larger" in room.refusal()


def test_a_bomb_is_refused(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"zeros.bin": bytes(80 * MIB)})

    assert "200 times" in room.refusal(limits=ArchiveLimits(512 * MIB, 2048 * MIB, 100))


def test_the_time_is_over_when_the_clock_says_so(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    github.faults.before_tarball = lambda: room.clock.advance(61)

    assert "longer than the 60 s" in room.refusal(token=TOKEN)
    assert room.pauses == []


def test_the_clock_is_looked_at_with_every_piece_that_comes(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    github.faults.drip_body, github.faults.declared_length = True, MIB
    github.faults.on_drip = lambda: room.clock.advance(10)

    assert "longer than the 60 s" in room.refusal()
    assert room.clock.monotonic() < 20_000  # after a few drips, not when a minute of real time has brought thousands


def test_pauses_do_not_go_beyond_the_time(github: FakeGitHub, room: Room) -> None:
    github.faults.failures = 1000

    assert "500" in room.refusal(timeout_s=0.4)
    assert room.pauses == []


def _drip_body(github: FakeGitHub) -> None:
    github.faults.drip_body = True
    github.faults.declared_length = MIB


def _drip_headers(github: FakeGitHub) -> None:
    github.faults.drip_headers = True


def _drip_an_endless_body(github: FakeGitHub) -> None:
    github.faults.drip_body = True
    github.faults.declared_length = 0


@pytest.mark.parametrize("drip", [_drip_body, _drip_headers, _drip_an_endless_body])
def test_a_server_that_drips_holds_it_no_longer_than_its_time(
    github: FakeGitHub, tmp_path: Path, drip: Callable[[FakeGitHub], None]
) -> None:
    """Each byte comes well within any socket's timeout, and there is no end of them: only a deadline ends this."""
    github.add("owner/repo", {"test_a.py": ""})
    drip(github)
    fetcher = RepositoryFetcher(github.api, LIMITS, SystemClock(), timeout_s=0.5)

    with pytest.raises(SourceError, match=r"longer than the 0\.5 s") as caught:
        fetcher.fetch(parse_repository_url(URL), TOKEN, tmp_path / "repository.zip")

    assert_no_token(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_thread_and_no_connection_is_left(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    before = set(threading.enumerate())
    room.fetch()

    new = [thread for thread in set(threading.enumerate()) - before if isinstance(thread, threading.Timer)]
    for thread in new:
        thread.join()  # a timer that was not cancelled would hold this for a minute
    assert all(not thread.is_alive() for thread in new)


@pytest.mark.parametrize("token", ["two words", "a\r\nX-Evil: b", "naïve", "", "x" * 501, " " + TOKEN, TOKEN + "\n"])
def test_a_token_that_cannot_be_one_is_not_sent(github: FakeGitHub, room: Room, token: str) -> None:
    assert "auth_token" in room.refusal(token)
    assert github.requests == []


def test_a_folder_that_is_not_there_is_the_nodes_fault(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})
    room.destination = room.destination.parent / "missing" / "repository.zip"

    with pytest.raises(InfrastructureError) as caught:
        room.fetch(token=TOKEN)
    assert TOKEN not in repr(caught.value)


def test_the_token_gets_into_no_log(
    github: FakeGitHub, room: Room, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    github.add("owner/repo", {"test_a.py": "x" * 5000})
    github.faults.failures = 1
    room.fetch(token=TOKEN)
    room.destination.unlink()
    github.faults.cut_after = 100
    room.refusal(token=TOKEN)
    room.api = f"http://127.0.0.1:{closed_port()}"
    room.refusal(token=TOKEN)

    assert caplog.records  # something was logged at all
    assert not any(TOKEN in repr(vars(record)) for record in caplog.records)
    assert TOKEN not in "".join(capfd.readouterr())


def test_nothing_above_debug_is_logged_of_a_redirects_address(
    github: FakeGitHub, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    """GitHub's redirect of a private repository carries a key of its own."""
    caplog.set_level(logging.INFO)
    github.add("owner/repo", {"test_a.py": ""})
    github.faults.location = f"http://127.0.0.1:{closed_port()}/x?token=key"

    room.refusal()

    assert not caplog.records


def test_the_fetcher_shows_no_token(github: FakeGitHub, room: Room) -> None:
    github.add("owner/repo", {"test_a.py": ""})

    assert TOKEN not in repr(room.fetch(token=TOKEN))


def test_several_threads_may_fetch_at_once(github: FakeGitHub, tmp_path: Path) -> None:
    fetcher = RepositoryFetcher(github.api, LIMITS, SystemClock())
    commits = {name: github.add(f"owner/{name}", {"test_a.py": name}) for name in ("a", "b", "c", "d")}
    found: dict[str, str] = {}

    def fetch(name: str) -> None:
        repository = parse_repository_url(f"https://github.com/owner/{name}")
        found[name] = fetcher.fetch(repository, None, tmp_path / f"{name}.zip").commit

    threads = [threading.Thread(target=fetch, args=(name,)) for name in commits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == commits


def test_the_fake_serves_folders_as_a_process_of_its_own(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "__pycache__").mkdir(parents=True)
    (project / "__pycache__/x.pyc").write_bytes(b"")
    (project / "test_a.py").write_text("def test(): pass\n")
    command = [sys.executable, "-m", "tests.support.github", "--port", "0", str(project)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            api = process.stdout.readline().strip().removeprefix("MESH_GITHUB_API=")
            url = process.stdout.readline().strip()
            (tmp_path / "out").mkdir()
            fetched = Room(api, tmp_path / "out").fetch(url)
        finally:
            process.terminate()
    assert process.returncode == 0
    assert zipfile.ZipFile(io.BytesIO(fetched.archive.read_bytes())).namelist() == ["test_a.py"]
    assert fetched.name == "local-project"


def test_the_fake_answers_like_github_to_a_plain_client(github: FakeGitHub) -> None:
    commit = github.add("owner/repo", {"test_a.py": ""})

    with urllib.request.urlopen(f"{github.api}/repos/Owner/Repo/commits/main") as response:
        assert response.read().decode() == commit


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
