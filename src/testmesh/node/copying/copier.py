"""Makes lost copies of archives again, in the background and a few at a time, so that running work does not feel it."""

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from testmesh.clock import Clock
from testmesh.errors import PeerConflictError, PeerUnableError, TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation
from testmesh.node.copying.copies import (
    Bundle,
    Copy,
    Keep,
    Step,
    bundle_of,
    hand_over,
    missing,
    plan,
    questions,
    with_holders,
)
from testmesh.node.copying.durable import DurableCopies, Transfer
from testmesh.node.copying.fetching import ArchiveFetcher
from testmesh.node.messaging.messages import ArchivesAsked, ArchivesHeld
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes

log = logging.getLogger(__name__)
_SOON_S = 2.0  # after a change of the members, for what is unfinished: several may change together
_LATER_S = 30.0  # and for what has ended: a node that restarts need not be copied for
_PERIOD_S = 60.0
_REST_S = 60.0  # what failed is tried again then
_BELIEVED_S = 600.0  # what peers said they hold
_AT_ONCE = 2
_STEPS = 4  # for one evaluation, in a row: to fetch it, to become a holder, to copy it
_ASKED_AT_ONCE = 500
_ANSWERS_WITHIN_S = 12.0
_LEAVING_ANSWERS_WITHIN_S = 3.0
_LEAVING_AT_ONCE = 4


class Copier:
    """Safe from any thread. `live` gives the other live nodes; `held` tells what is really on this node's disk."""

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        fetcher: ArchiveFetcher,
        durable: DurableCopies,
        peers: PeerClient,
        clock: Clock,
        live: Callable[[], tuple[str, ...]],
        held: Callable[[ArchivesAsked], ArchivesHeld],
        replicas: int,
    ) -> None:
        self._address = address
        self._ledger = ledger
        self._fetcher = fetcher
        self._durable = durable
        self._peers = peers
        self._clock = clock
        self._live = live
        self._held = held
        self._replicas = replicas
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._bundles: dict[str, Bundle] = {}
        self._said: dict[str, dict[str, bool]] = {}
        self._believed_until = 0.0
        self._rests_until: dict[str, float] = {}  # evaluations, and peers that cannot take anything
        self._due = {False: clock.monotonic(), True: clock.monotonic()}  # by whether ended ones are looked at too
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(max(_AT_ONCE, _LEAVING_AT_ONCE), thread_name_prefix="copies")
        self._thread = threading.Thread(target=self._run, name="copies", daemon=True)
        ledger.subscribe(self._changed)

    # From other threads ----------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def member_changed(self, address: str) -> None:
        """It died, left, joined, or is another process now: what it said before counts no more."""
        now = self._clock.monotonic()
        with self._lock:
            self._said.pop(address, None)
            self._rests_until.pop(address, None)
            self._due = {False: now + _SOON_S, True: now + _LATER_S}
            self._wake.notify_all()

    def missing(self) -> tuple[int, int]:
        """How many evaluations have their files on too few live nodes, and how many of these on none."""
        live = (self._address, *self._live())
        return missing(self._known(finished_too=True), live, self._what_was_said(), self._replicas)

    def hand_over(self, deadline: float) -> tuple[str, ...]:
        """Before this node leaves: copy what the others would lack. `deadline` is monotonic.

        Gives the ids of the evaluations that could not be copied; nothing else is copied from now on.
        """
        self._stopped.set()
        others = self._live()
        if not others:
            return ()
        bundles = [bundle for bundle in self._known(finished_too=True) if self._address in bundle.holders]
        within = min(_LEAVING_ANSWERS_WITHIN_S, deadline - self._clock.monotonic())
        self._ask(bundles, (self._address, *others), within)
        steps = hand_over(bundles, self._address, others, self._what_was_said(), self._replicas)
        transfers: list[Transfer] = []
        threads = ThreadPoolExecutor(_LEAVING_AT_ONCE, thread_name_prefix="hand-over")
        asked = {threads.submit(self._copy, step, transfers, deadline): step.bundle.evaluation for step in steps}
        ended, _ = wait(asked, timeout=max(0.0, deadline - self._clock.monotonic()))
        threads.shutdown(wait=False, cancel_futures=True)
        for transfer in tuple(transfers):
            transfer.given_up.set()
        copied = {asked[future] for future in ended if not future.exception() and future.result()}
        return tuple(evaluation_id for evaluation_id in asked.values() if evaluation_id not in copied)

    def stop(self) -> None:
        with self._lock:
            self._stopped.set()
            self._wake.notify_all()
        self._threads.shutdown(wait=False)  # what waits in it sees at once that it is over
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    # Looking ---------------------------------------------------------------------------------

    def _changed(self, changes: Changes, _publish: bool) -> None:
        with self._lock:
            for evaluation in changes.evaluations:
                self._note(evaluation)

    def _note(self, evaluation: Evaluation) -> None:
        """Under the lock. By the newest record: two threads that merge may tell of it in the wrong order."""
        try:
            newest = self._ledger.store.evaluation(evaluation.id) or evaluation
        except TestmeshError:
            newest = evaluation
        bundle = bundle_of(newest)
        if bundle is None:
            self._bundles.pop(evaluation.id, None)
        else:
            self._bundles[evaluation.id] = bundle

    def _load(self) -> None:
        """What was stored before; newer records may come in meanwhile."""
        after: str | None = None
        while not self._stopped.is_set():
            try:
                found = self._ledger.store.newest(100, after)
            except KeyError:  # pruned just now: what is older is found by a later change, or after the next start
                return
            with self._lock:
                for evaluation in found:
                    if evaluation.id not in self._bundles:
                        self._note(evaluation)
            if not found:
                return
            after = found[-1].id

    def _run(self) -> None:
        is_loaded = False
        while not self._stopped.is_set():
            with self._lock:
                now = self._clock.monotonic()
                due = min(self._due.values())
                if due > now:
                    self._wake.wait(due - now)
                    continue
                finished_too = self._due[True] <= now
                self._due = {False: now + _PERIOD_S, True: now + _PERIOD_S if finished_too else self._due[True]}
            try:
                if not is_loaded:
                    self._load()
                    is_loaded = True
                self.look(finished_too=finished_too)
            except Exception:
                if not self._stopped.is_set():
                    log.exception("copies could not be looked after; it is done again in a while")

    def look(self, *, finished_too: bool) -> None:
        """Do what is to be done, until there is nothing more, or it failed."""
        tries: Counter[str] = Counter()
        while not self._stopped.is_set():
            live = (self._address, *self._live())
            if len(live) == 1:
                return
            bundles = self._known(finished_too)
            self._ask(bundles, live, _ANSWERS_WITHIN_S)
            steps = plan(bundles, self._address, live, self._what_was_said(), self._replicas)
            steps = [step for step in steps if self._is_ready(step.bundle.evaluation)]
            if not steps:
                return
            steps = steps[:_AT_ONCE]
            wait([self._threads.submit(self._do, step) for step in steps])
            tries.update(step.bundle.evaluation for step in steps)
            for name in [name for name, count in tries.items() if count >= _STEPS]:
                self._rest(name)  # its steps succeed and change nothing

    def _known(self, finished_too: bool) -> list[Bundle]:
        with self._lock:
            return [bundle for bundle in self._bundles.values() if finished_too or not bundle.finished]

    def _is_ready(self, name: str) -> bool:
        with self._lock:
            return self._rests_until.get(name, 0.0) <= self._clock.monotonic()

    def _rest(self, name: str) -> None:
        now = self._clock.monotonic()
        with self._lock:
            self._rests_until = {key: until for key, until in self._rests_until.items() if until > now}
            self._rests_until[name] = now + _REST_S

    # Asking ----------------------------------------------------------------------------------

    def _what_was_said(self) -> dict[str, dict[str, bool]]:
        with self._lock:
            return {node: dict(said) for node, said in self._said.items()}

    def _ask(self, bundles: Iterable[Bundle], live: Collection[str], within: float) -> None:
        """Holders what they have, then everybody for what no holder has. This node looks at its disk every time."""
        bundles = tuple(bundles)
        now = self._clock.monotonic()
        with self._lock:
            self._said.pop(self._address, None)
            if now >= self._believed_until:
                self._said.clear()
                self._believed_until = now + _BELIEVED_S
        until = now + within
        silent: set[str] = set()
        for _ in range(2):
            asked = questions(bundles, live, self._what_was_said())
            calls = [
                self._threads.submit(self._ask_one, node, asked[node], silent) for node in asked if node not in silent
            ]
            wait(calls, timeout=max(0.0, until - self._clock.monotonic()))

    def _ask_one(self, node: str, archives: list[str], silent: set[str]) -> None:
        for start in range(0, len(archives), _ASKED_AT_ONCE):
            asked = ArchivesAsked(tuple(archives[start : start + _ASKED_AT_ONCE]))
            try:
                answer = self._held(asked) if node == self._address else self._peers.held_archives(node, asked)
            except TestmeshError as error:
                log.info("%s does not say which archives it holds: %s", node, error, extra=about(node=node))
                silent.add(node)
                return
            said = dict.fromkeys(answer.held, True) | dict.fromkeys(answer.missing, False)
            with self._lock:
                self._said.setdefault(node, {}).update(said)

    # Doing -----------------------------------------------------------------------------------

    def _do(self, step: Step) -> None:
        if self._stopped.is_set():
            return
        try:
            done = self._keep(step) if isinstance(step, Keep) else self._copy(step, [])
        except TestmeshError as error:
            log.warning(
                "evaluation %s has too few copies still: %s",
                step.bundle.evaluation,
                error,
                extra=about(evaluation=step.bundle.evaluation),
            )
            done = False
        except Exception:
            if not self._stopped.is_set():  # else the store is closed
                log.exception(
                    "evaluation %s could not be copied",
                    step.bundle.evaluation,
                    extra=about(evaluation=step.bundle.evaluation),
                )
            done = False
        if not done:
            self._rest(step.bundle.evaluation)

    def _keep(self, step: Keep) -> bool:
        evaluation = self._ledger.store.evaluation(step.bundle.evaluation)
        if evaluation is None or not evaluation.archives:
            return False
        for digest in evaluation.archives:
            self._fetcher.ensure(digest, step.sources)
        log.info(
            "evaluation %s: this node has its files again, or for the first time",
            evaluation.id,
            extra=about(evaluation=evaluation.id),
        )
        self._ledger.merge(Changes((with_holders(evaluation, self._address),)), publish=True)
        return True

    def _copy(self, step: Copy, transfers: list[Transfer], deadline: float = math.inf) -> bool:
        """Whether as many as wanted took one. `transfers` gets what can be given up from outside."""
        evaluation = self._ledger.store.evaluation(step.bundle.evaluation)
        if evaluation is None or not evaluation.archives:
            return False
        took: list[str] = []
        for target in filter(self._is_ready, step.targets):
            if len(took) == step.wanted or self._clock.monotonic() >= deadline:
                break
            transfer = self._durable.to(target)
            transfers.append(transfer)
            try:
                self._durable.copy_to(evaluation, transfer)
            except (PeerUnableError, PeerConflictError) as error:
                log.warning(
                    "%s takes no copy of evaluation %s: %s",
                    target,
                    evaluation.id,
                    error,
                    extra=about(evaluation=evaluation.id, node=target),
                )
                if isinstance(error, PeerUnableError):
                    self._rest(target)
            except TestmeshError as error:
                log.info(
                    "could not copy evaluation %s to %s: %s",
                    evaluation.id,
                    target,
                    error,
                    extra=about(evaluation=evaluation.id, node=target),
                )
            else:
                took.append(target)
                with self._lock:
                    self._said.setdefault(target, {}).update(dict.fromkeys(evaluation.archives, True))
        if took:
            log.info(
                "evaluation %s is copied to %s", evaluation.id, ", ".join(took), extra=about(evaluation=evaluation.id)
            )
            self._ledger.merge(Changes((with_holders(evaluation, *took),)), publish=True)
        return len(took) >= step.wanted
