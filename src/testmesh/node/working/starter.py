"""Starts what is ready to run as soon as there is room for it, in threads of its own; `admission.py` says when.

It is woken by what changes: something is ready, begins its tests, ends, is cancelled. Only while something ready has to
wait does it measure again by itself, some times a second.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from testmesh.node.working.admission import Admission, Answer, Run, Sample
from testmesh.node.working.pressure import Sensor
from testmesh.node.working.ready import ReadyQueue
from testmesh.testing.start_gate import NoGates, OpenGate, StartGates, try_again_after

log = logging.getLogger(__name__)
_MEASURE_EVERY_S = 0.05  # while something waits for a processor or for memory
_GATES_STUCK_S = 0.6  # all gates held for so long: it may be by a node that is stopped, which never opens them
_NO_THREAD_S = 1.0  # until a thread is tried again where the system gave none


class Startable(Protocol):
    @property
    def alone(self) -> bool:
        """Nothing else may run beside it."""
        ...

    @property
    def is_wanted(self) -> bool:
        """False once it is cancelled."""
        ...


S = TypeVar("S", bound=Startable)


class Running:
    """What a run tells its starter. Safe from any thread."""

    def __init__(self, run: Run, open_gate: OpenGate, tell: Callable[[], None], starved: Callable[[], bool]) -> None:
        self.run = run
        self.open_gate = open_gate
        self.used_cores = 0.0  # processors used on average, set at its end
        self.begun = tell
        self.was_starved = starved


class Starter(Generic[S]):
    """Safe from any thread. `run` runs one to its end, in a thread of its own; `unwanted` hears what is not to be."""

    def __init__(
        self,
        slots: int,
        sensor: Sensor,
        gates: StartGates,
        run: Callable[[S, "Running"], None],
        unwanted: Callable[[S], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._sensor = sensor
        self._gates = gates
        self._run = run
        self._unwanted = unwanted
        self._admission = Admission(slots, sensor.cores, sensor.memory)
        self._ready: ReadyQueue[S] = ReadyQueue()
        self._running: list[Running] = []
        self._changed = threading.Condition()
        self._news = False
        self._stopped = False
        self._complained = False
        self._refused_since: float | None = None  # when all gates were held, ever since
        self._asks_who = False  # whether something waits because the processors are busy
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="module")  # makes them as they are needed
        self._thread = threading.Thread(target=self._loop, name="admission", daemon=True)
        self._thread.start()

    def offer(self, evaluation: str, number: int, ready: S) -> None:
        """`number`: its place in the order of all that this worker was given."""
        with self._changed:
            self._ready.add(evaluation, number, ready)
            self._wake()

    def look(self) -> None:
        """Something was cancelled, or something will be ready soon, when a measurement will have been made."""
        with self._changed:
            self._wake()

    def stop(self) -> None:
        """Start no more, and wait for what runs."""
        with self._changed:
            self._stopped = True
            self._wake()
        self._thread.join()
        self._threads.shutdown(wait=True, cancel_futures=True)

    # The thread ------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._news = True
        self._changed.notify_all()

    def _loop(self) -> None:
        patience: float | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news, patience)
                self._news = False
                if self._stopped:
                    return
            try:
                patience = self._step()
            except Exception:
                log.exception("the next modules could not be started; this is tried again")
                patience = 1.0

    def _step(self) -> float | None:
        """Start what may be; seconds after which to look again, whatever happens. None: when something changes."""
        with self._changed:
            unwanted = self._ready.drop(lambda ready: not ready.is_wanted)
        for ready in unwanted:
            self._unwanted(ready)
        self._look(self._now())
        with self._changed:
            now = self._now()
            for running in self._running:
                if now >= running.run.hold_over_at:
                    running.open_gate()
            patience = self._start_ready(now)
            hold_over_at = self._admission.next_hold_over(now)
        times = [patience, None if hold_over_at is None else max(0.0, hold_over_at - now)]
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _look(self, now: float) -> None:
        if self._admission.needs_measuring(now):
            sample = self._measured()
            with self._changed:
                self._admission.seen(sample)
        if self._asks_who and self._admission.needs_look_at_own(now):
            ready = self._sensor.own_ready()
            with self._changed:
                self._admission.seen_own(now, ready)

    def _start_ready(self, now: float) -> float | None:
        self._asks_who = False
        while (ready := self._ready.first()) is not None:
            answer = self._admission.may_start(now, alone=ready.alone)
            if answer is not Answer.YES:
                self._asks_who = answer is Answer.NO_PROCESSOR
                return None if answer is Answer.WHEN_ONE_CHANGES else _MEASURE_EVERY_S
            open_gate, refused_s = self._enter(now)
            if open_gate is None:
                return try_again_after(refused_s)
            if not self._start(ready, self._admission.started(now, alone=ready.alone), open_gate):
                return _NO_THREAD_S
            self._ready.take_first()
        self._refused_since = None
        return None

    def _enter(self, now: float) -> tuple[OpenGate | None, float]:
        """A gate, or None and how long all have been held. Where that is long, one at a time starts without."""
        open_gate = self._gates.enter()
        if open_gate is not None:
            self._refused_since = None
            return open_gate, 0.0
        if self._refused_since is None:
            self._refused_since = now
        refused_s = now - self._refused_since
        if refused_s >= _GATES_STUCK_S and self._admission.next_hold_over(now) is None:
            return NoGates().enter(), refused_s
        return None, refused_s

    def _start(self, ready: S, run: Run, open_gate: OpenGate) -> bool:
        """False: there is no thread for it, and it is as if it had not been tried."""
        running = Running(run, open_gate, lambda: self._begun(running), lambda: self._was_starved(run))
        self._running.append(running)
        try:
            self._threads.submit(self._perform, ready, running)
        except RuntimeError as error:
            log.warning("a module cannot be started; this is tried again: %s", error)
            self._running.remove(running)
            self._admission.withdrawn(run)
            open_gate()
            return False
        return True

    def _measured(self) -> Sample:
        try:
            return self._sensor.read()
        except (OSError, ValueError) as error:
            if not self._complained:
                self._complained = True
                log.warning("the processors' load cannot be measured: %s", error)
            return Sample(self._now())

    # In the threads of the runs --------------------------------------------------------------

    def _perform(self, ready: S, running: Running) -> None:
        with self._changed:
            if running not in self._running:  # the pool keeps what it had no thread for, and has it run later
                return
        try:
            self._run(ready, running)
        except Exception:
            log.exception("a run ended by an error of the node")
        finally:
            running.open_gate()
            with self._changed:
                self._admission.ended(running.run, self._now(), running.used_cores)
                self._running.remove(running)
                self._wake()

    def _begun(self, running: Running) -> None:
        running.open_gate()
        with self._changed:
            self._admission.begun(running.run, self._now())
            self._wake()

    def _was_starved(self, run: Run) -> bool:
        last = self._measured()
        with self._changed:
            return self._admission.was_starved(run, last)
