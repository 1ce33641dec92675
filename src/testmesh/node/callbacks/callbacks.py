"""Calls back when evaluations have ended: a thread that sees when, and a few short-lived ones that do.

At least once: where the node dies between telling and writing down that it has, its successor tells again.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from testmesh.clock import Clock
from testmesh.errors import TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation
from testmesh.node.callbacks.http_courier import CallbackError, NoKeyError
from testmesh.node.callbacks.message import body_of
from testmesh.node.callbacks.plan import Plan, wants_callback
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, may_be_pruned

log = logging.getLogger(__name__)
_GONE = 410
_LAST_WORDS_S = 2.0  # for those under way when the node stops
_LEAST_PAUSE_S = 0.01
_LOOK_AGAIN_S = 1.0


class Courier(Protocol):
    def deliver(self, url: str, evaluation_id: str, body: bytes) -> int:
        """The status of the answer. Raises CallbackError where there was none, NoKeyError where it cannot sign."""
        ...


class Callbacks:
    """Safe from any thread. `live` gives the addresses of the other live nodes."""

    def __init__(
        self, address: str, ledger: Ledger, live: Callable[[], Iterable[str]], clock: Clock, courier: Courier
    ) -> None:
        self._ledger = ledger
        self._live = live
        self._clock = clock
        self._courier = courier
        self._plan = Plan(address)
        self._lock = threading.Lock()  # of the plan; nothing else is called with it held
        self._wake = threading.Event()
        self._stopped = False
        self._under_way: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._run, name="callbacks", daemon=True)
        ledger.subscribe(self._merged)

    def start(self) -> None:
        """Once it is known who lives and what became of evaluations meanwhile: else they would be told of twice."""
        with self._lock:
            if not self._stopped:
                self._thread.start()

    def members_changed(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """Begin no more. What is not told by then is told by another node, or by this one's next process."""
        with self._lock:
            self._stopped = True
            under_way = tuple(self._under_way)
        self._wake.set()
        end = self._clock.monotonic() + _LAST_WORDS_S
        for thread in (self._thread, *under_way):
            if thread.is_alive():
                thread.join(max(0.0, end - self._clock.monotonic()))

    def _merged(self, changes: Changes, _publish: bool) -> None:
        with self._lock:
            is_wanted = [self._plan.see(evaluation) for evaluation in changes.evaluations]
        if any(is_wanted):
            self._wake.set()

    # The thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._see_earlier()
        except TestmeshError as error:
            log.warning("callbacks of evaluations that ended earlier could not be looked for: %s", error)
        while not self._stopped:
            self._wake.clear()
            try:
                pause = self._begin()
            except Exception:
                log.exception("callbacks could not be begun; that is tried again")
                pause = _LOOK_AGAIN_S
            self._wake.wait(pause)

    def _begin(self) -> float | None:
        """Begin what is due. Gives the seconds until more is; None: not before something happens."""
        live = tuple(self._live())
        now = self._clock.monotonic()
        with self._lock:
            for evaluation_id in () if self._stopped else self._plan.begin(live, now):
                thread = threading.Thread(target=self._call, args=(evaluation_id,), name="callback", daemon=True)
                self._under_way.add(thread)
                try:
                    thread.start()
                except (RuntimeError, MemoryError) as error:  # the machine has no more threads
                    log.warning("a callback waits: %s", error, extra=about(evaluation=evaluation_id))
                    self._under_way.discard(thread)
                    self._plan.not_begun(evaluation_id, now)
            due = self._plan.next_due(live)
        return None if due is None else max(_LEAST_PAUSE_S, due - now)

    def _see_earlier(self) -> None:
        for evaluation in self._ledger.store.awaiting_callback():
            with self._lock:
                self._plan.see(evaluation)

    # A call ----------------------------------------------------------------------------------

    def _call(self, evaluation_id: str) -> None:
        try:
            self._tell(evaluation_id)
        except Exception as error:
            unforeseen = None if isinstance(error, TestmeshError) else error
            log.warning(
                "the end of evaluation %s could not be told: %s",
                evaluation_id,
                error,
                exc_info=unforeseen,
                extra=about(evaluation=evaluation_id),
            )
            with self._lock:
                if self._plan.failed(evaluation_id, self._clock.monotonic()) is None:
                    self._plan.stored(evaluation_id)  # this process lets it be
        finally:
            with self._lock:
                self._under_way.discard(threading.current_thread())
            self._wake.set()

    def _tell(self, evaluation_id: str) -> None:
        store = self._ledger.store
        evaluation = store.evaluation(evaluation_id)
        if evaluation is None or not wants_callback(evaluation):
            with self._lock:
                self._plan.stored(evaluation_id)
            return
        states = store.states(evaluation_id)
        with self._lock:
            is_told = self._plan.is_told(evaluation_id)
            if not may_be_pruned(evaluation, states) and self._plan.incomplete(evaluation_id, self._clock.monotonic()):
                return
        if is_told or self._is_over(evaluation, body_of(evaluation, states, self._clock.wall())):
            self._write_down(evaluation)

    def _is_over(self, evaluation: Evaluation, body: bytes) -> bool:
        """Whether nothing more is to be sent: it was taken, is not wanted any more, or was tried for long enough."""
        try:
            status = self._courier.deliver(evaluation.options.callback_url or "", evaluation.id, body)
        except NoKeyError as error:
            log.warning(
                "the end of evaluation %s is not told by this node: %s",
                evaluation.id,
                error,
                extra=about(evaluation=evaluation.id),
            )
            with self._lock:  # not written down: one that has a key may become the caller yet
                self._plan.stored(evaluation.id)
            return False
        except CallbackError as error:
            reason = error.detail
        else:
            if 200 <= status < 300:
                log.info(
                    "the end of evaluation %s was told to its callback_url",
                    evaluation.id,
                    extra=about(evaluation=evaluation.id),
                )
                return True
            if status == _GONE:
                log.info(
                    "the callback_url of evaluation %s is gone (410): it is not told",
                    evaluation.id,
                    extra=about(evaluation=evaluation.id),
                )
                return True
            reason = f"It answered with {status}."
        with self._lock:
            pause = self._plan.failed(evaluation.id, self._clock.monotonic())
        if pause is None:
            log.warning(
                "the end of evaluation %s is not told: %s That was the last try.",
                evaluation.id,
                reason,
                extra=about(evaluation=evaluation.id),
            )
            return True
        log.info(
            "the end of evaluation %s is told again in %.0f s: %s",
            evaluation.id,
            pause,
            reason,
            extra=about(evaluation=evaluation.id),
        )
        return False

    def _write_down(self, evaluation: Evaluation) -> None:
        try:
            self._ledger.merge(Changes((replace(evaluation, called_back=True),)), publish=True)
        except TestmeshError as error:
            log.warning(
                "that evaluation %s was called back is not stored yet: %s",
                evaluation.id,
                error,
                extra=about(evaluation=evaluation.id),
            )
            with self._lock:
                self._plan.not_stored(evaluation.id, self._clock.monotonic())
        else:
            with self._lock:
                self._plan.stored(evaluation.id)
