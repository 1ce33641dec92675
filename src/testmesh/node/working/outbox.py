"""A worker's reports on their way to the owners of their evaluations: kept until an owner has them."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from testmesh.errors import ConflictError, PeerConflictError, TestmeshError
from testmesh.logs import about
from testmesh.node.messaging.batching import batches, text_of
from testmesh.node.messaging.messages import AttemptReport, AttemptReports, Load
from testmesh.node.storage.ledger import Ledger

log = logging.getLogger(__name__)
_RETRY_S = 0.5
_SENDERS = 8  # owners that are told at the same time


class Outbox:
    """Who the owner is, is looked up at every try: another may have taken over.

    Each owner is told by a thread of its own, one batch after the other: one that does not answer holds up nobody else.
    """

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        send: Callable[[str, AttemptReports], None],
        load: Callable[[], Load],
        taken: Callable[[Sequence[AttemptReport]], None],
    ) -> None:
        self._address = address
        self._ledger = ledger
        self._send = send
        self._load = load
        self._taken = taken
        self._reports: list[AttemptReport] = []
        self._busy: set[str] = set()  # owners that are being told, or were in vain a moment ago
        self._changed = threading.Condition()
        self._news = False
        self._stopped = False
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="report")
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, report: AttemptReport) -> None:
        with self._changed:
            self._reports.append(report)
            self._wake()

    def stop(self) -> None:
        """Try once more to hand over what waits, then end."""
        with self._changed:
            self._stopped = True
            self._wake()
        self._thread.join()
        self._senders.shutdown(wait=True)

    def _wake(self) -> None:
        self._news = True
        self._changed.notify_all()

    def _run(self) -> None:
        stopped = False
        while not stopped:
            with self._changed:
                self._changed.wait_for(lambda: self._news)
                stopped = self._stopped
                if stopped:
                    self._changed.wait_for(lambda: not self._busy)
                self._news = False
                reports, self._reports = self._reports, []
            try:
                self._hand_out(reports)
            except Exception:
                log.exception("the reports of %d attempts could not be sorted; they are tried again", len(reports))
                self._put_back(reports)

    def _hand_out(self, reports: Sequence[AttemptReport]) -> None:
        by_owner: dict[str, list[AttemptReport]] = {}
        over: list[AttemptReport] = []
        for report in reports:
            evaluation = self._ledger.store.evaluation(report.evaluation)
            if evaluation is None or evaluation.finished_at is not None:
                over.append(report)  # nobody waits for it any more
            else:
                by_owner.setdefault(self._ledger.owner_of(evaluation), []).append(report)
        self._taken(over)
        for owner, mine in by_owner.items():
            with self._changed:
                if owner in self._busy:
                    self._reports = mine + self._reports  # its thread wakes this one when it is done
                    continue
                self._busy.add(owner)
            self._senders.submit(self._tell, owner, mine)

    def _tell(self, owner: str, reports: Sequence[AttemptReport]) -> None:
        waiting, left = deque(batches(reports, _weight)), list[AttemptReport]()
        while waiting:
            batch = waiting.popleft()
            try:
                self._send(owner, AttemptReports(self._address, batch, self._load_after(batch)))
            except (ConflictError, PeerConflictError) as error:
                by_evaluation = _by_evaluation(batch)
                if len(by_evaluation) > 1:  # one of them is another's by now
                    waiting.extendleft(by_evaluation)
                else:
                    log.info(
                        "%s does not take %d reports: %s",
                        owner,
                        len(batch),
                        error,
                        extra=about(evaluation=batch[0].evaluation, node=owner),
                    )
                    self._ledger.doubt_owner(batch[0].evaluation)
                    left += batch
            except Exception as error:
                known = isinstance(error, TestmeshError)
                log.log(
                    logging.INFO if known else logging.ERROR,
                    "could not report %d attempts to %s: %s",
                    len(batch),
                    owner,
                    error,
                    exc_info=None if known else error,
                    extra=about(node=owner),
                )
                left += [report for later in (batch, *waiting) for report in later]
                break
            else:
                self._taken(batch)
        if left:
            self._put_back(left)
        with self._changed:
            self._busy.discard(owner)
            self._wake()

    def _load_after(self, batch: Sequence[AttemptReport]) -> Load:
        """An owner places by this load: without the modules whose end it is being told."""
        load = self._load()
        ended = sum(report.is_over for report in batch)
        return replace(load, waiting=max(0, load.waiting - ended))

    def _put_back(self, reports: Iterable[AttemptReport]) -> None:
        """For the next try, a moment later."""
        with self._changed:
            self._reports = [*reports, *self._reports]
            self._changed.wait_for(lambda: self._stopped, timeout=_RETRY_S)
            self._wake()


def _by_evaluation(reports: Iterable[AttemptReport]) -> list[tuple[AttemptReport, ...]]:
    found: dict[str, list[AttemptReport]] = {}
    for report in reports:
        found.setdefault(report.evaluation, []).append(report)
    return [tuple(of_one) for of_one in found.values()]


def _weight(report: AttemptReport) -> int:
    return text_of(report.result.tests) if report.result is not None else 0
