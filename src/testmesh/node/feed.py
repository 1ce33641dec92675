"""Live events of evaluations, for any number of readers: made once, as bytes, for all of them.

One thread makes them. What happens in a burst is told together, a lonely change at once. An evaluation that nobody
watches costs nothing; its channel is kept for a minute, for readers that lost their connection.
"""

import logging
import math
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from testmesh.clock import Clock
from testmesh.errors import BusyError, NotFoundError, TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation, ModuleState
from testmesh.node.feed_channel import Channel, is_last, news_of, records_of
from testmesh.node.service import EvaluationView
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes

log = logging.getLogger(__name__)
MAX_READERS = 256  # of all evaluations together
_GAP_S = 0.15  # between two flushes of an evaluation, at least
_REFRESH_S = 2.0  # the time left and the time taken are told so often
_MOST_OF_A_CORE = 0.1  # what making events may use
_LINGER_S = 60.0
_MOST_LINGERING = 32
_RETRY_S = 5


class Watch:
    """One reader of one evaluation: `EventStream` of the service."""

    def __init__(self, feed: "Feed", open_: "_Open", position: int, first: bytes | None) -> None:
        self._feed = feed
        self._open = open_
        self._position = position
        self._first = first
        self.wake: Callable[[], None] | None = None
        self.is_lost = False  # too slow, or closed

    @property
    def has_ended(self) -> bool:
        with self._feed.lock:
            told_all = self._first is None and self._position >= self._open.channel.position
            return self.is_lost or self._open.is_broken or (told_all and self._open.channel.is_over)

    def take(self) -> list[bytes]:
        with self._feed.lock:
            found = self._open.channel.since(self._position)
            if self.is_lost or found is None:
                self.is_lost = True
                return []
            first, self._first = self._first, None
            self._position += len(found)
            return found if first is None else [first, *found]

    def listen(self, wake: Callable[[], None]) -> None:
        with self._feed.lock:
            self.wake = wake
        wake()

    def close(self) -> None:
        with self._feed.lock:
            self.is_lost = True
        self._feed.left(self._open, self)


@dataclass(eq=False)
class _Open:
    """An evaluation that is watched, or was a moment ago."""

    channel: Channel
    flushed_at: float
    watches: set[Watch] = field(default_factory=set)
    news: deque[Changes] = field(default_factory=deque)
    is_stale: bool = True  # what it knows is to be read from the store again
    is_broken: bool = False
    gap_s: float = _GAP_S
    unwatched_since: float = math.inf

    @property
    def due_at(self) -> float:
        if self.is_broken or not self.watches:
            return self.unwatched_since + _LINGER_S
        if self.channel.is_over:
            return math.inf
        return self.flushed_at + (self.gap_s if self.news or self.is_stale else max(self.gap_s, _REFRESH_S))


class Feed:
    """Safe from any thread.

    `read` gives an evaluation from the store, wherever on the mesh it is known; `view` makes the same of records.
    """

    def __init__(
        self,
        ledger: Ledger,
        read: Callable[[str], EvaluationView],
        view: Callable[[Evaluation, Sequence[ModuleState]], EvaluationView],
        clock: Clock,
    ) -> None:
        self.lock = threading.Lock()
        self._bell = threading.Event()
        self._read = read
        self._view = view
        self._clock = clock
        self._opened: dict[str, _Open] = {}
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        ledger.subscribe(self._note)
        self._thread.start()

    @property
    def readers(self) -> int:
        """Streams that are open now."""
        with self.lock:
            return sum(len(open_.watches) for open_ in self._opened.values())

    def watch(self, evaluation_id: str, last_event_id: str | None) -> Watch | None:
        """As `NodeService.watch`."""
        known = self._opened.get(evaluation_id)
        fresh = None if known else self._new(evaluation_id)
        asked = known or fresh
        has_ended = asked is not None and asked.channel.evaluation.finished_at is not None
        if has_ended and last_event_id is not None and is_last(last_event_id):
            return None
        with self.lock:
            if self._is_stopped or sum(len(open_.watches) for open_ in self._opened.values()) >= MAX_READERS:
                raise BusyError("This node has all the readers of events it takes; try another, or later.", _RETRY_S)
            open_ = self._opened.get(evaluation_id) or fresh
            if open_ is not None:
                self._opened[evaluation_id] = open_
                channel = open_.channel
                position = None if last_event_id is None else channel.position_after(last_event_id)
                watch = Watch(self, open_, *((position, None) if position is not None else channel.whole()))
                open_.watches.add(watch)
        if open_ is None:  # it was let go of in this moment
            return self.watch(evaluation_id, last_event_id)
        self._bell.set()
        return watch

    def _new(self, evaluation_id: str) -> _Open:
        view = self._read(evaluation_id)
        now = self._clock.monotonic()
        return _Open(Channel(secrets.token_hex(6), view, self._clock.wall(), now), -math.inf)

    def left(self, open_: _Open, watch: Watch) -> None:
        with self.lock:
            open_.watches.discard(watch)
            if not open_.watches:
                open_.unwatched_since = self._clock.monotonic()
                open_.is_stale = True
                open_.news.clear()
                unwatched = [other for other in self._opened.values() if not other.watches]
                for other in sorted(unwatched, key=lambda other: other.unwatched_since)[:-_MOST_LINGERING]:
                    other.unwatched_since = -math.inf
        self._bell.set()

    def stop(self) -> None:
        """End every stream."""
        with self.lock:
            self._is_stopped = True
        self._bell.set()
        self._thread.join()

    # Inside ----------------------------------------------------------------------------------

    def _note(self, merged: Changes, _publish: bool) -> None:
        """In the thread that merges, which waits for no lock here."""
        for evaluation_id in merged.evaluation_ids() if self._opened else ():
            open_ = self._opened.get(evaluation_id)
            if open_ is not None and open_.watches:
                open_.news.append(news_of(merged, evaluation_id))
                self._bell.set()

    def _run(self) -> None:
        while not self._is_stopped:
            self._bell.clear()
            now = self._clock.monotonic()
            with self.lock:
                due = [(name, open_) for name, open_ in self._opened.items() if open_.due_at <= now]
                for evaluation_id, open_ in due:
                    if not open_.watches:
                        del self._opened[evaluation_id]
            for evaluation_id, open_ in due:
                if open_.watches:
                    self._flush(evaluation_id, open_)
            wait = self._next_due() - self._clock.monotonic()
            self._bell.wait(None if wait == math.inf else max(0.0, wait))
        with self.lock:
            left = list(self._opened.values())
            for open_ in left:
                open_.is_broken = True
        for open_ in left:
            self._wake(open_)

    def _next_due(self) -> float:
        with self.lock:
            return min((open_.due_at for open_ in self._opened.values()), default=math.inf)

    def _flush(self, evaluation_id: str, open_: _Open) -> None:
        begun = perf_counter()
        try:
            self._tell(evaluation_id, open_)
        except Exception as error:  # the readers of this one end, the others go on
            if not isinstance(error, TestmeshError):
                log.exception("the events of evaluation %s end", evaluation_id, extra=about(evaluation=evaluation_id))
            with self.lock:
                open_.is_broken = True
                self._opened.pop(evaluation_id, None)
        with self.lock:
            took = perf_counter() - begun
            open_.flushed_at = self._clock.monotonic()
            watched = sum(1 for other in self._opened.values() if other.watches)
            open_.gap_s = max(_GAP_S, took * watched / _MOST_OF_A_CORE)
        self._wake(open_)

    def _tell(self, evaluation_id: str, open_: _Open) -> None:
        channel = open_.channel
        with self.lock:
            is_stale, open_.is_stale = open_.is_stale, False
            news = [open_.news.popleft() for _ in range(len(open_.news))]  # more may be added meanwhile, by `_note`
        if is_stale:  # what was merged before anybody watched, in whichever moment
            channel.learn(records_of(self._read(evaluation_id)))
        for known in news:
            channel.learn(known)
        if channel.evaluation.pruned is not None:
            raise NotFoundError(f"Evaluation {evaluation_id} was pruned.")
        view = self._view(channel.evaluation, channel.states)
        prepared = channel.prepare(view, self._clock.wall(), self._clock.monotonic())
        with self.lock:
            channel.tell(prepared)

    def _wake(self, open_: _Open) -> None:
        with self.lock:
            wakes = {watch.wake for watch in open_.watches if watch.wake is not None}
        for wake in wakes:
            wake()
