"""Fetches archives from other nodes, each once however many ask for it, for as long as bytes come."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from testmesh.errors import ArchiveAwayError, PeerError
from testmesh.logs import about
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.messaging.messages import FetchOrder, FetchProgress
from testmesh.node.messaging.peers import PeerClient

log = logging.getLogger(__name__)
_AT_ONCE = 16
_ANSWER_WITHIN_S = 1.0  # who gave an order asks again then
_TOLD_WITHIN_S = 10.0  # an order that failed longer ago was somebody else's


@dataclass(slots=True)
class _Flight:
    """A download under way. Times are monotonic seconds."""

    future: Future[Path] = field(default_factory=Future)
    part: Path | None = None
    ended_at: float | None = None

    def received(self) -> int:
        try:
            return self.part.stat().st_size if self.part else 0
        except OSError:
            return 0


class ArchiveFetcher:
    """Safe from any thread. `live` gives the addresses of the other live nodes."""

    def __init__(self, archives: ArchiveStore, peers: PeerClient, live: Callable[[], Sequence[str]]) -> None:
        self._archives = archives
        self._peers = peers
        self._live = live
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")

    def ensure(self, digest: str, holders: Iterable[str]) -> Path:
        """The archive's path; where it is not here, it is fetched from a holder or any other live node.

        Raises:
            ArchiveAwayError: nobody who is alive has it. DiskFullError, InfrastructureError: this node's disk.
        """
        path = self._archives.path(digest)
        if path is not None:
            return path
        live = self._live()
        flight = self._join(digest, [address for address in holders if address in live])
        try:
            return flight.future.result()
        except CancelledError:
            raise ArchiveAwayError("This node is stopping; another one goes on.") from None

    def order(self, order: FetchOrder) -> FetchProgress:
        """Begin to fetch what is missing, or go on; answers soon, whether or not it is there by then.

        Raises:
            what `ensure` raises, if it was found out since the last time.
        """
        missing = [digest for digest in order.archives if self._archives.path(digest) is None]
        flights = [self._failed(digest) or self._join(digest, [order.holder]) for digest in missing]
        wait([flight.future for flight in flights], timeout=_ANSWER_WITHIN_S)
        received = sum(flight.received() for flight in flights)
        ended = {digest: flight for digest, flight in zip(missing, flights, strict=True) if flight.future.done()}
        with self._lock:
            for digest, flight in ended.items():
                if self._flights.get(digest) is flight:
                    del self._flights[digest]  # the next order tries again
        for flight in ended.values():
            if flight.future.cancelled():
                raise ArchiveAwayError("This node is stopping; ask another one.")
            flight.future.result()
        return FetchProgress(tuple(digest for digest in missing if digest not in ended), received)

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for flight in self._flights.values():
                flight.future.cancel()  # of those that did not begin

    def _failed(self, digest: str) -> _Flight | None:
        """One that failed between two orders: it is told once."""
        with self._lock:
            flight = self._flights.get(digest)
            if flight is None or flight.ended_at is None:
                return None
            del self._flights[digest]
            return flight if time.monotonic() - flight.ended_at < _TOLD_WITHIN_S else None

    def _join(self, digest: str, first: Sequence[str]) -> _Flight:
        with self._lock:
            flight = self._flights.get(digest)
            if flight is None or flight.ended_at is not None:
                now = time.monotonic()
                ended = ((key, f.ended_at) for key, f in self._flights.items())
                for old in [key for key, at in ended if at is not None and now - at > _TOLD_WITHIN_S]:
                    del self._flights[old]  # nobody asked any more
                flight = self._flights[digest] = _Flight()
                try:
                    self._threads.submit(self._fly, digest, first, flight)
                except RuntimeError:  # the threads have ended
                    flight.future.cancel()
            return flight

    def _fly(self, digest: str, first: Sequence[str], flight: _Flight) -> None:
        def download(part: Path) -> None:
            flight.part = part
            self._download(digest, tuple(dict.fromkeys((*first, *self._live()))), part)

        if not flight.future.set_running_or_notify_cancel():
            return
        try:
            path = self._archives.fetch(digest, download)
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told
            with self._lock:
                flight.ended_at = time.monotonic()
            flight.future.set_exception(error)
        else:
            with self._lock:
                if self._flights.get(digest) is flight:
                    del self._flights[digest]
            flight.future.set_result(path)

    def _download(self, digest: str, addresses: Sequence[str], part: Path) -> None:
        """From the first that has it; where one stops in the middle the next goes on from there."""
        for address in addresses:
            begun_here = False
            while not begun_here:
                begun_here = part.stat().st_size == 0
                try:
                    self._peers.archive(address, digest, part)
                except PeerError as error:
                    log.info(
                        "could not fetch archive %s from %s: %s", digest[:12], address, error, extra=about(node=address)
                    )
                    break
                if _is(part, digest):
                    return
                log.warning("the archive %s came damaged from %s", digest[:12], address, extra=about(node=address))
                part.write_bytes(b"")  # where another had sent the beginning, this one is tried from there
            if part.stat().st_size and _is(part, digest):
                return  # all had come before the connection broke
        raise ArchiveAwayError("No live node has the submission's files just now; it goes on when one is back.")


def _is(part: Path, digest: str) -> bool:
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest
