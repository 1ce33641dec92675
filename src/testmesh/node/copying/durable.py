"""Copies on other nodes before anything is promised: asked for, followed while bytes flow, counted when promised."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from testmesh.clock import Clock
from testmesh.errors import ConflictError, DrainingError, PeerConflictError, PeerError, PeerUnableError, TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation
from testmesh.node.copying.claims import KEY_USED
from testmesh.node.messaging.messages import FetchOrder, FetchProgress, Replicate
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.replica import Changes

log = logging.getLogger(__name__)
_CALL_TIMEOUT_S = 10.0
_NEXT_AFTER_S = 2.0  # a copy that does not get on for so long is not waited for alone
_PATIENCE_S = 15.0  # nor one that takes so long though bytes flow
_STILL_S = 20.0  # it failed; the taker itself gives up before
_LOOK_S = 0.1
_AGAIN_S, _TRIES = 0.25, 20  # a peer out of reach: longer than it takes to notice that a node is dead
_AT_ONCE = 32


@dataclass(slots=True)
class Transfer:
    """One under way. Times are monotonic seconds."""

    address: str
    begun_at: float
    moved_at: float
    given_up: threading.Event = field(default_factory=threading.Event)
    progress: FetchProgress | None = None

    def is_slow(self, now: float) -> bool:
        return now - self.moved_at >= _NEXT_AFTER_S or now - self.begun_at >= _PATIENCE_S


class DurableCopies:
    """Safe from any thread."""

    def __init__(self, address: str, peers: PeerClient, clock: Clock) -> None:
        self._address = address
        self._peers = peers
        self._clock = clock
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copy")

    def make_durable(
        self, evaluation: Evaluation, live: Callable[[], Sequence[str]], copies: int, *, one_first: bool = False
    ) -> tuple[str, ...]:
        """Have up to `copies` peers store an evaluation's record and archives; gives those that promised.

        `live` gives the live peers, those to be asked first at the beginning; it is called again and again. The next is
        asked where one fails or is slow: one that hangs holds up nobody's submission, and who dies is not waited for.
        With `one_first` nobody else is asked before the first has promised, or failed.

        Raises:
            DrainingError: there are live peers, and not one took it.
            ConflictError: one of them knows another submission under this id.
        """
        asking = _Asking(copies, one_first, self._clock)
        present = live() if copies else ()
        try:
            while not self._stopped.is_set():
                asking.forget_all_but(present)
                for address in asking.next_of(present):
                    copy = self.to(address)
                    asking.under_way[self._threads.submit(self.copy_to, evaluation, copy)] = copy
                if asking.is_settled(present):
                    break
                if asking.under_way:
                    wait(asking.under_way, _LOOK_S, FIRST_COMPLETED)
                else:
                    self._stopped.wait(_LOOK_S)
                asking.collect(evaluation.id)
                present = live() if copies else ()
        finally:
            for copy in asking.under_way.values():
                copy.given_up.set()
        if present and not asking.promised:
            raise DrainingError("No other node could store a copy of the submission just now; try again in a moment.")
        return tuple(asking.promised)

    def to(self, address: str) -> Transfer:
        """One to be begun now."""
        return Transfer(address, self._clock.monotonic(), self._clock.monotonic())

    def copy_to(self, evaluation: Evaluation, copy: Transfer) -> None:
        """Returns when the peer promised to keep a copy. It takes as long as bytes flow.

        With the record as it is: without its end, one that has ended would be run again by who did not know it.

        Raises:
            PeerError
        """
        order = FetchOrder(evaluation.archives, self._address)
        while order.archives:
            if copy.given_up.is_set() or self._stopped.is_set():
                raise PeerError(f"The copy on {copy.address} is not waited for any more.")
            progress = self._peers.fetch_archives(copy.address, order)
            now = self._clock.monotonic()
            if not progress.missing:
                break
            if progress != copy.progress:
                copy.progress, copy.moved_at = progress, now
            elif now - copy.moved_at > _STILL_S:
                raise PeerError(f"{copy.address} gets nothing of the archives any more.")
        message = Replicate(Changes((evaluation,)), evaluation.archives, self._address, promise=True)
        self._peers.replicate(copy.address, message, _CALL_TIMEOUT_S)

    def stop(self) -> None:
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Asking:
    """Who was asked for a copy of one evaluation, and what came of it."""

    def __init__(self, copies: int, one_first: bool, clock: Clock) -> None:
        self._copies = copies
        self._one_first = one_first
        self._clock = clock
        self.promised: list[str] = []
        self.under_way: dict[Future[None], Transfer] = {}
        self._unable: set[str] = set()
        self._tries: Counter[str] = Counter()
        self._rests_until: dict[str, float] = {}

    def forget_all_but(self, present: Sequence[str]) -> None:
        for future, copy in list(self.under_way.items()):
            if copy.address not in present:
                copy.given_up.set()
                del self.under_way[future]

    def next_of(self, present: Sequence[str]) -> list[str]:
        now = self._clock.monotonic()
        most = 1 if self._one_first and not self.promised else self._copies
        quick = sum(not copy.is_slow(now) for copy in self.under_way.values())
        ready = [address for address in self._left(present) if self._rests_until.get(address, 0.0) <= now]
        return ready[: max(0, most - len(self.promised) - quick)]

    def is_settled(self, present: Sequence[str]) -> bool:
        if len(self.promised) >= self._copies:
            return True
        left = self._left(present)
        # Fewer copies than wanted are better than to wait for those that could not be reached.
        return not self.under_way and (not left or (bool(self.promised) and all(self._tries[a] for a in left)))

    def collect(self, evaluation_id: str) -> None:
        for future, copy in list(self.under_way.items()):
            if not future.done():
                continue
            del self.under_way[future]
            try:
                future.result()
            except PeerConflictError as error:
                log.warning(
                    "%s did not take a copy of evaluation %s: %s",
                    copy.address,
                    evaluation_id,
                    error,
                    extra=about(evaluation=evaluation_id, node=copy.address),
                )
                raise ConflictError(KEY_USED) from error
            except TestmeshError as error:
                log.warning(
                    "%s did not take a copy of evaluation %s: %s",
                    copy.address,
                    evaluation_id,
                    error,
                    extra=about(evaluation=evaluation_id, node=copy.address),
                )
                self._tries[copy.address] += 1
                self._rests_until[copy.address] = self._clock.monotonic() + _AGAIN_S
                if isinstance(error, PeerUnableError) or self._tries[copy.address] >= _TRIES:
                    self._unable.add(copy.address)
            else:
                self.promised.append(copy.address)

    def _left(self, present: Sequence[str]) -> list[str]:
        asked = {copy.address for copy in self.under_way.values()}
        return [address for address in present if address not in {*self.promised, *self._unable, *asked}]
