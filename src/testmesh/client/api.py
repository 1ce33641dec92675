"""The mesh's HTTP API from outside: one method a route, with the patience that a mesh of mortal nodes needs."""

import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import requests
from urllib3.exceptions import HTTPError

from testmesh.client.multipart import Multipart
from testmesh.client.sse import Event, EventParser
from testmesh.errors import TestmeshError

Document = dict[str, Any]

_PASSING = (429, 502, 503, 504)  # another node, or the same a little later, may well answer
_FIRST_PATIENCE_S = 3.0
_SILENCE_S = 35.0  # a stream says something every 15 s; one that does not is broken
_PIECE = 64 * 1024
_PARTS = ("id", "status", "_run_info", "projects", "module_results")
_STRANGE = "{} answers, but not as a mesh does; check --url or TESTMESH_URL"
_ADDRESS = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")
_MISS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class ClientError(TestmeshError):
    """The mesh cannot be asked, or refuses; the message says why."""


class NoStreamError(ClientError):
    """There are no live events, or no more; the document can still be read."""


class MeshClient:
    """Asks `urls[0]`, and where that does not answer the others and the nodes it once named.

    A request is tried again until `patience_s` have passed without an answer: reading changes nothing, and a
    submission carries an Idempotency-Key, so that no retry makes a second evaluation. A mesh that never answered
    yet, perhaps a wrong URL, is given up sooner.
    """

    def __init__(
        self,
        urls: Iterable[str],
        token: str | None = None,
        *,
        patience_s: float = 30.0,
        timeout_s: tuple[float, float] = (5.0, 120.0),  # to connect, and for each piece of an answer
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._met = False  # whether anybody ever answered
        self._sleep = sleep
        self._monotonic = monotonic
        self._session = requests.Session()
        self._session.auth = _Bearer(token)
        # A proxy of the environment cannot reach this machine's own loopback.
        self._session.trust_env = not any(map(_is_loopback, self._urls))

    @property
    def url(self) -> str:
        """The base URL that answered last."""
        return self._urls[0]

    def learn_nodes(self) -> None:
        """Ask for the live nodes, to turn to them where the entrance is lost. Never from https to plain http."""
        if urlsplit(self.url).scheme != "http":
            return
        try:
            addresses = self._get("/peers")
        except ClientError:
            return
        known = [f"http://{address}" for address in addresses if _ADDRESS.fullmatch(str(address))]
        self._urls += [url for url in known if url not in self._urls]

    def submit_archive(self, archive: Multipart) -> str:
        """POST zips; the new evaluation's id."""
        return self._post_evaluation(archive, archive.content_type)

    def submit_repositories(self, urls: list[str], options: Mapping[str, Any] | None, auth_token: str | None) -> str:
        document: Document = {"projects": urls}
        if options:
            document["options"] = dict(options)
        if auth_token:
            document["auth_token"] = auth_token
        return self._post_evaluation(document, None)

    def evaluations(self, limit: int) -> list[Document]:
        return list(self._field("evaluations", "/evaluation", limit=limit))

    def evaluation(self, evaluation_id: str) -> Document:
        """The whole document, as GET /evaluation/<id> has it."""
        document = self._get(_path(evaluation_id))
        if not isinstance(document, dict) or any(name not in document for name in _PARTS):
            raise ClientError(_STRANGE.format(self.url))
        return document

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> list[Document]:
        return list(self._field("tests", _path(evaluation_id, "tests"), project=project, module=module))

    def cancel(self, evaluation_id: str) -> None:
        self._request("DELETE", _path(evaluation_id))

    def rerun(self, evaluation_id: str, project: str | None) -> str:
        headers = {"Idempotency-Key": str(uuid4())}
        answer = self._request("POST", _path(evaluation_id, "rerun"), params={"project": project}, headers=headers)
        return str(_field(answer, "id", self.url))

    def nodes(self) -> list[Document]:
        """What each node says of itself, without its history."""
        return list(self._field("nodes", "/nodes", history=0))

    def export(self, evaluation_id: str, name: str) -> bytes:
        """`results.csv`, `junit.xml` or `report.html`, as the mesh makes it."""
        return self._answer("GET", _path(evaluation_id, name)).content

    def events(self, evaluation_id: str, last_id: str | None) -> Generator[list[Event], None, None]:
        """Live events in the bunches they come in, those after `last_id`; ends with the stream.

        Raises:
            NoStreamError: there is none to be had, or it broke.
        """
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        parser = EventParser()
        try:
            with self._session.get(
                self.url + _path(evaluation_id, "events"),
                headers=headers,
                stream=True,
                timeout=(self._timeout_s[0], _SILENCE_S),
                allow_redirects=False,
            ) as response:
                media_type = response.headers.get("Content-Type", "")
                if response.status_code != 200 or not media_type.startswith("text/event-stream"):
                    raise NoStreamError(_problem(response))
                # Not iter_content: where nothing is chunked it waits until a whole buffer is full.
                while piece := response.raw.read1(_PIECE):
                    if events := list(parser.feed(piece)):
                        yield events
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            raise NoStreamError(f"the stream of events broke: {error}") from error

    def _get(self, path: str, **query: Any) -> Any:
        return self._request("GET", path, params=query)

    def _field(self, name: str, path: str, **query: Any) -> Any:
        return _field(self._get(path, **query), name, self.url)

    def _post_evaluation(self, body: Multipart | Document, content_type: str | None) -> str:
        headers = {"Idempotency-Key": str(uuid4())}
        if isinstance(body, Multipart):
            headers["Content-Type"] = str(content_type)
            answer = self._request("POST", "/evaluation", data=body, headers=headers)
        else:
            answer = self._request("POST", "/evaluation", json=body, headers=headers)
        return str(_field(answer, "id", self.url))

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        response = self._answer(method, path, **arguments)
        try:
            return response.json() if response.content else {}
        except ValueError:
            raise ClientError(_STRANGE.format(self.url)) from None

    def _answer(self, method: str, path: str, **arguments: Any) -> requests.Response:
        began = self._monotonic()
        pause = 0.2
        untried = len(self._urls)
        while True:
            try:
                response = self._session.request(
                    method, self.url + path, timeout=self._timeout_s, allow_redirects=False, **arguments
                )
            except _MISS as error:
                reason, wait = _why(error), pause
            except requests.RequestException as error:
                raise ClientError(f"{self.url}{path} cannot be asked: {error}") from error
            else:
                self._met = True
                if response.status_code not in _PASSING:
                    return _accepted(response)
                reason, wait = _problem(response), _retry_after(response, pause)
            untried -= 1
            patience = self._patience_s if self._met else min(self._patience_s, _FIRST_PATIENCE_S)
            if untried <= 0 and self._monotonic() + wait > began + patience:
                raise ClientError(f"no answer from {', '.join(self._urls)}: {reason}")
            self._urls.append(self._urls.pop(0))
            if untried <= 0:  # the others are asked at once
                self._sleep(wait)
                pause = min(pause * 2, 2.0)


class _Bearer(requests.auth.AuthBase):
    """Sets the token, and without one keeps requests from taking a password out of ~/.netrc."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def find_mesh(candidates: Iterable[str], timeout_s: float = 2.0) -> str | None:
    """The first URL whose /health is a mesh's. Sends no token: who listens there is not known yet."""
    with requests.Session() as session:
        session.trust_env = False
        for url in candidates:
            try:
                health = session.get(f"{url}/health", timeout=timeout_s, allow_redirects=False).json()
            except (requests.RequestException, ValueError):
                continue
            if isinstance(health, dict) and "address" in health:
                return url
    return None


def _field(answer: Any, name: str, url: str) -> Any:
    if not isinstance(answer, dict) or name not in answer:
        raise ClientError(_STRANGE.format(url))
    return answer[name]


def _path(evaluation_id: str, below: str = "") -> str:
    return "/evaluation/" + quote(evaluation_id, safe="") + (f"/{below}" if below else "")


def _accepted(response: requests.Response) -> requests.Response:
    if response.status_code >= 400:
        raise ClientError(_problem(response))
    return response


def _problem(response: requests.Response) -> str:
    """The sentence of a problem+json document, else the status line."""
    try:
        document = response.json()
        return f"{document['title']}: {document.get('detail', '')} ({response.status_code})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{response.url} answered {response.status_code} {response.reason}"


def _retry_after(response: requests.Response, otherwise: float) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else otherwise


def _why(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    refused = "refused" in str(error)
    return "nobody listens there; is the mesh started? (./boot.sh)" if refused else "the connection broke"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
