"""PURE: whether a worker may start one module more, by what its processors and its memory say.

What runs is told apart by age. What is *starting* computes: it counts as one processor from the first moment, though no
measurement shows it yet. What has *begun* its tests computes or waits, nobody knows: it counts for a part, and for less
and less until it is measured. What is *old* counts as it is measured, all together. So many modules that wait run side
by side, and of those that compute about as many as there are processors. Times are monotonic seconds.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from math import ceil

MIB = 1024**2
HOLD_S = 0.25  # after so long what is starting is measured, and need not be assumed any more
_WINDOW_S = 0.1  # how far back is looked: the kernel counts in hundredths of a second
_LEAST_S = 0.045  # less tells nothing
_KEPT_S = 0.6  # what is older says nothing of now
_FRESH_S = 0.01  # no new measurement is needed before
_BEGUN = 0.4  # processors that a module wants whose tests have just begun, as a guess
_ROOM = 0.3  # of a processor that must be free
_OWN_EVERY_S = 0.25  # how often it is looked at who uses the processors
_OWN_LOOKS = 2  # in a row that show that it is others
_OWN_PART = 0.15  # of the modules that have begun, that may compute then
_SHORT_WAIT, _SHORT_USE = 0.25, 0.5
_MODULE_MEMORY = 64 * MIB  # of a small module
_MOST_RESERVE = 512 * MIB
_SLOTS_A_CORE, _FEWEST_SLOTS, _MOST_SLOTS = 32, 16, 1024


@dataclass(frozen=True, slots=True)
class Processors:
    """What was done with some processors until a moment: the machine's, or those that a control group is given.

    `cores`: how many; a part of one where a group has a quota. `busy_s`: processor seconds that were used.
    `waited_s`: seconds that tasks were ready and got no processor, of all tasks together. `window_s`: how far apart two
    moments must be to tell something.
    """

    cores: float
    busy_s: float
    waited_s: float
    window_s: float = _WINDOW_S


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sensor sees at a moment.

    `processors`: the machine's, and then what a quota leaves of them, where there is one; none: this machine does not
    tell. `memory`: bytes that can still be had; None: it does not tell.
    """

    at: float
    processors: tuple[Processors, ...] = ()
    memory: int | None = None


class Answer(Enum):
    YES = auto()
    SOON = auto()  # not as it was measured; measure again in a moment
    NO_PROCESSOR = auto()  # the same; it may help to know who uses the processors
    WHEN_ONE_CHANGES = auto()  # not before a module begins its tests or ends


@dataclass(eq=False, slots=True)
class Run:
    """One module that was started. `first`: what was measured last before; `beside_others`: ever since it began."""

    started_at: float
    alone: bool
    first: Sample | None
    beside_others: bool
    begun_at: float | None = None

    @property
    def hold_over_at(self) -> float:
        """From then on it is measured, begun or not."""
        return self.started_at + HOLD_S

    def is_starting(self, now: float) -> bool:
        return self.begun_at is None and now < self.hold_over_at

    @property
    def start_was_short(self) -> bool:
        return self.begun_at is not None and self.begun_at < self.hold_over_at


@dataclass(frozen=True, slots=True)
class _Use:
    """Processors that something used which is over: it was measured, and must not count any more."""

    since: float
    until: float
    cores: float


def automatic_slots(cores: float, memory: int | None) -> int:
    """The most modules at once where nobody says: far more than ever compute, bounded by memory."""
    by_memory = _MOST_SLOTS if memory is None else memory // _MODULE_MEMORY
    return max(1, min(max(_FEWEST_SLOTS, round(_SLOTS_A_CORE * cores)), by_memory, _MOST_SLOTS))


def processor_was_short(first: Sample, last: Sample) -> bool:
    """Whether tasks took a good part longer between the two, since they waited for a processor."""
    seconds = last.at - first.at
    if seconds <= 0:
        return False
    for before, after in zip(first.processors, last.processors, strict=False):
        busy, waited = after.busy_s - before.busy_s, after.waited_s - before.waited_s
        if busy >= _SHORT_USE * after.cores * seconds and waited >= _SHORT_WAIT * busy:
            return True
    return False


@dataclass(slots=True)
class Admission:
    """Not thread-safe. `memory`: bytes that this node may use in all; None: not known."""

    slots: int
    cores: float
    memory: int | None = None
    _runs: list[Run] = field(default_factory=list)
    _over: list[_Use] = field(default_factory=list)
    _samples: deque[Sample] = field(default_factory=deque)
    _own_at: float = 0.0  # when it was last looked at who uses the processors
    _own_quiet: int = 0  # how many looks in a row showed that it is others

    # What happens ----------------------------------------------------------------------------

    def seen(self, sample: Sample) -> None:
        self._samples.append(sample)
        while self._samples[0].at < sample.at - _KEPT_S:
            self._samples.popleft()
        self._over = [use for use in self._over if use.until > sample.at - _KEPT_S]

    def seen_own(self, now: float, ready: int) -> None:
        """`ready`: how many processes of this worker's modules compute, or want to."""
        starting = sum(run.begun_at is None for run in self._runs)
        may_compute = min(_OWN_PART * (len(self._runs) - starting), self.cores / 2)
        quiet = ready <= starting + may_compute and starting < ceil(self.cores)
        self._own_at, self._own_quiet = now, self._own_quiet + 1 if quiet else 0

    def started(self, now: float, *, alone: bool) -> Run:
        self._own_quiet = min(self._own_quiet, _OWN_LOOKS - 1)  # one for each look
        for other in self._runs:
            other.beside_others = True
        first = self._samples[-1] if self._samples else None
        run = Run(now, alone, first, beside_others=bool(self._runs))
        self._runs.append(run)
        return run

    def withdrawn(self, run: Run) -> None:
        """It could not be started after all."""
        self._runs.remove(run)

    def begun(self, run: Run, now: float) -> None:
        """Its own tests begin."""
        if run.begun_at is None:
            run.begun_at = now

    def ended(self, run: Run, now: float, used_cores: float) -> None:
        """`used_cores`: processors that it used on average; 0 where that is not known."""
        self._runs.remove(run)
        begun = run.begun_at if run.begun_at is not None else min(now, run.hold_over_at)
        self._over.append(_Use(run.started_at, begun, 1.0))
        self._over.append(_Use(begun, now, min(used_cores, self.cores)))

    def was_starved(self, run: Run, last: Sample) -> bool:
        """Whether the processor was short while it ran beside others."""
        return run.beside_others and run.first is not None and processor_was_short(run.first, last)

    # What follows ----------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return len(self._runs)

    def needs_measuring(self, now: float) -> bool:
        return not self._samples or self._samples[-1].at <= now - _FRESH_S

    def needs_look_at_own(self, now: float) -> bool:
        return now >= self._own_at + _OWN_EVERY_S

    def next_hold_over(self, now: float) -> float | None:
        """When the next of those that are starting is not assumed to do so any more; None: none is."""
        return min((run.hold_over_at for run in self._runs if run.is_starting(now)), default=None)

    def may_start(self, now: float, *, alone: bool) -> Answer:
        """One more? Where nothing runs, always."""
        if not self._runs:
            return Answer.YES
        if alone or len(self._runs) >= self.slots or any(run.alone for run in self._runs):
            return Answer.WHEN_ONE_CHANGES
        if not self._has_memory(now):
            return Answer.SOON
        if not self._samples or not self._samples[-1].processors:
            few = len(self._runs) < max(4, 2 * ceil(self.cores)) and self._starting(now) < ceil(self.cores)
            return Answer.YES if few else Answer.WHEN_ONE_CHANGES
        if self._has_processor(now) or self._others_compute(now):
            return Answer.YES
        return Answer.NO_PROCESSOR

    def _starting(self, now: float) -> int:
        return sum(run.is_starting(now) for run in self._runs)

    def _has_memory(self, now: float) -> bool:
        """For one more, beside a reserve and what those that have just started will still want."""
        free = self._samples[-1].memory if self._samples else None
        if free is None:
            return True
        young = sum(run.started_at > now - 1.0 for run in self._runs)
        reserve = min((self.memory or 0) // 10, _MOST_RESERVE)
        return free >= reserve + _MODULE_MEMORY * (young + 1)

    def _has_processor(self, now: float) -> bool:
        """There is room in what this node is given, or it runs fewer than that has processors.

        The machine may be full, as of other nodes with a quota of their own, but not asked for twice what it has.
        """
        demands = self._demands(now)
        if not demands:
            return False
        machine, wanted_of_machine = demands[0]
        if wanted_of_machine + 1 > 2 * max(1.0, machine):
            return False
        cores, wanted = demands[-1]
        return len(self._runs) < self.cores or cores - wanted >= _ROOM * min(1.0, cores)

    def _demands(self, now: float) -> list[tuple[float, float]]:
        """Of each of the bounds: how many processors, and how many are wanted. None: too little was seen of late."""
        last = self._samples[-1]
        found = []
        for number, processors in enumerate(last.processors):
            first = self._before(last.at - processors.window_s)
            seconds = last.at - first.at
            if seconds < _LEAST_S or len(first.processors) != len(last.processors):
                return []
            before = first.processors[number]
            asked_for = processors.busy_s - before.busy_s + processors.waited_s - before.waited_s
            old = max(0.0, asked_for / seconds - self._not_old(first.at, last.at))
            found.append((processors.cores, old + self._young(now)))
        return found

    def _others_compute(self, now: float) -> bool:
        """Others keep the processors busy, and what runs here waits: then one more that waits does no harm.

        Without this, a program of the machine's owner that computes all day would have course tests run one by one.
        """
        return self._own_quiet >= _OWN_LOOKS and now < self._own_at + _OWN_EVERY_S

    def _before(self, moment: float) -> Sample:
        """The newest sample that is at least as old; else the oldest there is."""
        found = self._samples[0]
        for sample in self._samples:
            if sample.at > moment:
                break
            found = sample
        return found

    def _not_old(self, since: float, until: float) -> float:
        """Processors that were used between the two by what was only starting, or is over."""
        uses = list(self._over)
        for run in self._runs:
            if run.is_starting(until):
                uses.append(_Use(run.started_at, until, 1.0))
            elif run.begun_at is not None and run.start_was_short:
                uses.append(_Use(run.started_at, run.begun_at, 1.0))
        used = sum(use.cores * max(0.0, min(until, use.until) - max(since, use.since)) for use in uses)
        return used / (until - since)

    def _young(self, now: float) -> float:
        """Processors that are wanted by what no measurement shows yet, or not all of it."""
        wanted = 0.0
        for run in self._runs:
            if run.is_starting(now):
                wanted += 1.0
            elif run.begun_at is not None and run.start_was_short:
                wanted += _BEGUN * max(0.0, 1.0 - (now - run.begun_at) / _WINDOW_S)
        return wanted
