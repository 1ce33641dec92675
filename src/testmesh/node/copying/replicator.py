"""Carries records to the peers: pushed as they change, and compared now and then (anti-entropy) for what got lost.

A peer that is slow or away costs nobody else anything: each has a link of its own, whose waiting records are coalesced
to their newest. What a dead peer missed it gets by comparing digests when it is back.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from testmesh.errors import DiskFullError, PeerConflictError, PeerError, PeerFailedError, PeerUnableError, TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation
from testmesh.node.messaging.batching import MAX_TEXT, batches, text_of
from testmesh.node.messaging.messages import Replicate
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord, merge_evaluations, merge_modules

log = logging.getLogger(__name__)
_PUSH_TIMEOUT_S = 10.0
_MAX_WAITING = 64 * 1024 * 1024  # about the characters that wait for one peer; beyond, it gets them by comparing
_RECORD_WEIGHT = 500  # of a record without its text; a module's line in an evaluation is a fifth of it
_FLUSH_S = 5.0
_SETTLE_S = 1.0  # a digest that differs and stands still for less than this may be records on their way
_ANSWERED = (PeerConflictError, PeerFailedError, PeerUnableError)  # by a peer that is in reach
_DIFFERING_S = 5.0  # and one that moves is that of a busy mesh: it is not compared more often


@dataclass(slots=True)
class _Difference:
    """Times are monotonic seconds."""

    since: float
    digest: int
    stands_since: float


class Replicator:
    """Safe from any thread."""

    def __init__(self, address: str, ledger: Ledger, peers: PeerClient) -> None:
        self._address = address
        self._ledger = ledger
        self._peers = peers
        self._links: dict[str, PeerLink] = {}
        self._differing: dict[str, _Difference] = {}  # peers whose digest is another
        self._to_compare: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._stopped = False
        self._thread = threading.Thread(target=self._compare_for_ever, name="anti-entropy", daemon=True)
        ledger.subscribe(self._changed)
        self._thread.start()

    # Pushing ---------------------------------------------------------------------------------

    def peer_joined(self, address: str) -> None:
        with self._lock:
            if address not in self._links and not self._stopped:
                self._links[address] = PeerLink(address, self._peers, self.compare_soon)

    def peer_gone(self, address: str) -> None:
        with self._lock:
            link = self._links.pop(address, None)
            self._differing.pop(address, None)
            self._to_compare.discard(address)
        if link:
            link.abandon()

    def _changed(self, changes: Changes, publish: bool) -> None:
        if not publish:
            return
        with self._lock:
            links = list(self._links.values())
        for link in links:
            link.push(changes)

    # Comparing -------------------------------------------------------------------------------

    def digest_seen(self, address: str, theirs: int) -> None:
        """A peer said what its store's digest is."""
        same = theirs == self._ledger.store.digest()
        now = time.monotonic()
        with self._lock:
            if same:
                self._differing.pop(address, None)
                return
            seen = self._differing.setdefault(address, _Difference(now, theirs, now))
            if seen.digest != theirs:
                seen.digest, seen.stands_since = theirs, now
            if now - seen.stands_since >= _SETTLE_S or now - seen.since >= _DIFFERING_S:
                del self._differing[address]
                self._to_compare.add(address)
                self._wake.notify_all()

    def compare_soon(self, address: str) -> None:
        with self._lock:
            self._to_compare.add(address)
            self._wake.notify_all()

    def _compare_for_ever(self) -> None:
        while True:
            with self._lock:
                self._wake.wait_for(lambda: self._to_compare or self._stopped)
                if self._stopped:
                    return
                address = self._to_compare.pop()
            try:
                self.compare(address)
            except TestmeshError as error:
                log.info("could not compare records with %s: %s", address, error, extra=about(node=address))
            except Exception:
                log.exception("could not compare records with %s", address, extra=about(node=address))

    def compare(self, address: str) -> None:
        """Fetch and merge every evaluation of which a peer knows something else, but for those that cannot be had.

        Raises:
            PeerError: it is out of reach. DiskFullError: here. MalformedError: its digests are none.
        """
        theirs = self._peers.digests(address)
        mine = self._ledger.store.digests()
        differing = [name for name, digest in theirs.items() if mine.get(name) != digest]
        gathered: list[Changes] = []
        weight = 0
        try:
            for changes in self._records(address, differing):
                gathered.append(changes)
                weight += sum(map(_evaluation_weight, changes.evaluations)) + sum(map(_module_weight, changes.modules))
                if weight >= MAX_TEXT:
                    full, gathered, weight = gathered, [], 0
                    self._merge(full)
        finally:
            self._merge(gathered)

    def _records(self, address: str, evaluation_ids: Iterable[str]) -> Iterator[Changes]:
        """One that its peer cannot give, or that cannot be read, keeps none of the others away."""
        for evaluation_id in evaluation_ids:
            if self._stopped:
                return
            try:
                yield from self._peers.records(address, evaluation_id, _PUSH_TIMEOUT_S)
            except _ANSWERED as error:
                log.info(
                    "%s does not give evaluation %s: %s",
                    address,
                    evaluation_id,
                    error,
                    extra=about(evaluation=evaluation_id, node=address),
                )
            except PeerError:
                raise
            except TestmeshError as error:
                log.warning(
                    "what %s knows of evaluation %s cannot be read: %s",
                    address,
                    evaluation_id,
                    error,
                    extra=about(evaluation=evaluation_id, node=address),
                )
            except Exception:
                log.exception(
                    "what %s knows of evaluation %s cannot be read",
                    address,
                    evaluation_id,
                    extra=about(evaluation=evaluation_id, node=address),
                )

    def _merge(self, gathered: list[Changes]) -> None:
        """At once, as every merge costs a write to the disk; where that fails, one by one."""
        evaluations = tuple(evaluation for changes in gathered for evaluation in changes.evaluations)
        modules = tuple(record for changes in gathered for record in changes.modules)
        try:
            self._ledger.merge(Changes(evaluations, modules), publish=False)
        except DiskFullError:
            raise
        except Exception:
            log.exception("records of %d evaluations could not be merged at once", len(evaluations))
            for changes in gathered if len(gathered) > 1 else ():
                self._merge([changes])

    def stop(self) -> None:
        """Try once more to hand over what waits, for a few seconds, and end."""
        with self._lock:
            self._stopped = True
            links, self._links = list(self._links.values()), {}
            self._wake.notify_all()
        for link in links:
            link.stop()
        deadline = time.monotonic() + _FLUSH_S
        for link in links:
            link.join(max(0.0, deadline - time.monotonic()))
        self._thread.join(max(0.0, deadline - time.monotonic()))


class PeerLink:
    """The records that wait for one peer, and the thread that sends them.

    What waits is bounded: of a peer that takes nothing for long (stopped, its disk full) all is dropped, and comparing
    digests brings it. `answers_again` is told when that peer has taken something since.
    """

    def __init__(self, address: str, peers: PeerClient, answers_again: Callable[[str], None] = lambda _: None) -> None:
        self._address = address
        self._peers = peers
        self._answers_again = answers_again
        self._evaluations: dict[str, Evaluation] = {}
        self._modules: dict[tuple[str, str, str], ModuleRecord] = {}
        self._weight = 0  # of what waits
        self._dropped = False
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"link-{address}", daemon=True)
        self._thread.start()

    def push(self, changes: Changes) -> None:
        with self._changed:
            self._keep(changes)
            self._changed.notify_all()

    def stop(self) -> None:
        """Try once more to send what waits, then end."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """End; what waits is not sent."""
        with self._changed:
            self._clear()
            self._stopped = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _keep(self, changes: Changes) -> None:
        """Merged, as records may come in another order than they were made in."""
        for theirs in changes.evaluations:
            mine = self._evaluations.get(theirs.id)
            merged = self._evaluations[theirs.id] = merge_evaluations(mine or theirs, theirs)
            self._weight += _evaluation_weight(merged) - (_evaluation_weight(mine) if mine else 0)
        for record in changes.modules:
            key = record.state.key
            known = self._modules.get(key)
            kept = self._modules[key] = merge_modules(known, record) if known else record
            self._weight += _module_weight(kept) - (_module_weight(known) if known else 0)
        if self._weight > _MAX_WAITING:
            log.warning(
                "%s takes no records: what waits for it is dropped; it gets it by comparing",
                self._address,
                extra=about(node=self._address),
            )
            self._clear()
            self._dropped = True

    def _clear(self) -> None:
        self._evaluations, self._modules, self._weight = {}, {}, 0

    def _next(self) -> Changes:
        """Evaluations first: their modules mean little without them. But an end only after all results."""
        waiting = {record.state.evaluation for record in self._modules.values()}
        ready = [e for e in self._evaluations.values() if e.finished_at is None or e.id not in waiting]
        evaluations = next(batches(ready, _evaluation_weight), ())
        for evaluation in evaluations:
            del self._evaluations[evaluation.id]
        modules: tuple[ModuleRecord, ...] = ()
        if len(evaluations) == len(ready):
            modules = next(batches(tuple(self._modules.values()), _module_weight), ())
        for record in modules:
            del self._modules[record.state.key]
        self._weight -= sum(map(_evaluation_weight, evaluations)) + sum(map(_module_weight, modules))
        return Changes(evaluations, modules)

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._evaluations or self._modules)
                changes = self._next()
                stopped = self._stopped
            if not changes:
                return
            if self._sent(changes, failures):
                failures = 0
                self._tell_of_gap()
                continue
            if stopped:
                return
            failures += 1
            with self._changed:
                if not self._stopped:
                    self._keep(changes)
                self._changed.wait_for(lambda: self._stopped, timeout=min(2.0, 0.1 * 2 ** min(failures, 10)))

    def _tell_of_gap(self) -> None:
        with self._changed:
            dropped, self._dropped = self._dropped, False
        if dropped:
            self._answers_again(self._address)

    def _sent(self, changes: Changes, failures: int) -> bool:
        """Whether it need not be tried again."""
        try:
            self._peers.replicate(self._address, Replicate(changes), _PUSH_TIMEOUT_S)
        except TestmeshError as error:
            log.info(
                "could not send records to %s, try %d: %s",
                self._address,
                failures + 1,
                error,
                extra=about(node=self._address),
            )
            return False
        except Exception:  # it would fail every time: comparing digests brings what can be brought
            log.exception("records for %s are dropped", self._address, extra=about(node=self._address))
        return True


def _module_weight(record: ModuleRecord) -> int:
    return _RECORD_WEIGHT + text_of(record.tests)


def _evaluation_weight(evaluation: Evaluation) -> int:
    lines = sum(len(project.modules) + len(project.test_files) for project in evaluation.projects)
    return _RECORD_WEIGHT + lines * _RECORD_WEIGHT // 5
