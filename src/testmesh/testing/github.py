"""Fetches a repository from GitHub's API as one pinned archive. No git command is run.

Two requests: which commit the ref is now, and that commit's tarball (which GitHub redirects to another host). The
tarball becomes a zip like an uploaded one.
"""

import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import requests

from testmesh.clock import Clock
from testmesh.errors import InfrastructureError, SourceError
from testmesh.testing.archive import ArchiveLimits
from testmesh.testing.bounded_http import BoundedSession, TransientError
from testmesh.testing.repository_url import Repository
from testmesh.testing.tarball import repack

_COMMIT = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,500}")
_ANSWER_LIMIT = 1024
_REASONS = {
    401: "GitHub does not accept the auth_token; make a new one that may read this repository.",
    403: "GitHub forbids access; give an auth_token that may read this repository.",
    404: "not found, or private; check the URL, or give an auth_token that may read it.",
    409: "the repository is empty; push a commit first.",
    422: "it has no such branch, tag or commit (a folder cannot be named); check what follows /tree/.",
    451: "GitHub may not show it, for legal reasons; upload a zip.",
}


@dataclass(frozen=True, slots=True)
class FetchedRepository:
    commit: str  # in hexadecimal
    archive: Path  # a zip of the commit's files, the same bytes on every node
    name: str  # of the project at its root: owner-repo
    notes: tuple[str, ...]  # sentences for people: what of the repository the zip lacks


class RepositoryFetcher:
    """Safe to use from several threads at once; keeps nothing between fetches.

    `api` is the base URL (`settings.github_api`). `timeout_s` bounds one fetch, tries and pauses included.
    """

    def __init__(
        self,
        api: str,
        limits: ArchiveLimits,
        clock: Clock,
        timeout_s: float = 300.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api.rstrip("/")
        self._limits = limits
        self._clock = clock
        self._timeout_s = timeout_s
        self._sleep = sleep

    def fetch(self, repository: Repository, token: str | None, destination: Path) -> FetchedRepository:
        """Write the repository as a zip to `destination`, a file in a folder that exists. On an error nothing is left.

        Raises:
            SourceError: it cannot be had: not found, private, rate limit, too large, damaged, network.
            InfrastructureError: the disk does not take it.
        """
        if token is not None and not _TOKEN.fullmatch(token):
            raise SourceError("The auth_token has characters that no GitHub token has; copy it again.")
        tarball = destination.with_name(destination.name + ".tar.gz")
        try:
            with BoundedSession(self._api, token, self._clock, self._timeout_s, self._sleep) as session:
                fetch = _Fetch(session, repository, token is not None, self._clock)
                commit = session.persistently(fetch.commit)
                session.persistently(lambda: fetch.download(commit, tarball, self._limits.max_upload))
            notes = repack(tarball, destination, self._limits).sentences
        except OSError as error:
            raise InfrastructureError(
                f"A repository's archive cannot be written: {error.strerror}; check the disk of this node."
            ) from None
        finally:
            tarball.unlink(missing_ok=True)
        return FetchedRepository(commit, destination, repository.project_name, notes)


@dataclass(frozen=True, slots=True)
class _Fetch:
    session: BoundedSession
    repository: Repository
    has_token: bool
    clock: Clock

    @property
    def _path(self) -> str:
        return f"/repos/{self.repository.owner}/{self.repository.name}"

    def commit(self) -> str:
        # Quoted whole: a branch named x/status would otherwise be the statuses of x.
        ref = quote(self.repository.ref or "HEAD", safe="")
        with closing(self.session.get(f"{self._path}/commits/{ref}", "application/vnd.github.sha")) as response:
            self._check(response)
            answer = b"".join(self.session.body(response, _ANSWER_LIMIT)).strip()
        if not _COMMIT.fullmatch(answer):
            raise SourceError("GitHub's answer names no commit; check that MESH_GITHUB_API is the API's address.")
        return answer.decode()

    def download(self, commit: str, tarball: Path, limit: int) -> None:
        with (
            closing(self.session.get(f"{self._path}/tarball/{commit}", "application/vnd.github+json")) as response,
            tarball.open("wb") as file,
        ):
            self._check(response)
            for piece in self.session.body(response, limit):
                file.write(piece)

    def _check(self, response: requests.Response) -> None:
        """Raise the SourceError that tells what a status other than 200 means."""
        status = response.status_code
        if status == 200:
            return
        if status >= 500:
            raise TransientError(f"GitHub answers with an error of its own ({status}); try again later.")
        raise SourceError(f"{self.repository.url}: {self._reason(response)}")

    def _reason(self, response: requests.Response) -> str:
        status = response.status_code
        if status in (403, 429) and (again := self._rate_limit_ends(response)):
            help_ = "" if self.has_token else "; with an auth_token the limit is far higher"
            return f"GitHub's rate limit is reached; submit again {again}{help_}."
        if status == 404 and self.has_token:
            return "not found, or the auth_token may not read it; check the URL and the token's permissions."
        return _REASONS.get(status, f"GitHub answers with status {status}; check the URL, or upload a zip.")

    def _rate_limit_ends(self, response: requests.Response) -> str | None:
        """When to come back, in words; None where it is no rate limit."""
        wait = response.headers.get("Retry-After", "")
        if wait.isdecimal() and len(wait) < 7:
            return f"in {wait} s"
        if response.headers.get("X-RateLimit-Remaining") == "0":
            reset = response.headers.get("X-RateLimit-Reset", "")
            if reset.isdecimal() and len(reset) < 12 and int(reset) > self.clock.wall():
                return f"after {datetime.fromtimestamp(int(reset), UTC):%Y-%m-%d %H:%M:%S} UTC"
            return "in an hour"
        return "in some minutes" if response.status_code == 429 else None
