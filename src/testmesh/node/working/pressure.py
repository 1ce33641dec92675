"""A sensor of what this node's processors and its memory have to do; `admission.py` decides by what it says.

Watched are the processors of the machine that it may use, and what its control group is given of them where that has a
quota. Linux only; elsewhere nothing can be measured.
"""

import os
import threading
import time
from pathlib import Path
from typing import Protocol

from testmesh.node.working.admission import Processors, Sample
from testmesh.testing.cgroup_share import Quota, own_share
from testmesh.testing.process_tree import ready_below

_PERIODS = 2.0  # of a quota, that say something on average
_LEAST_WINDOW_S = 0.1
_ALL = 1_000_000
_READ = 64 * 1024  # bytes of a file of /proc that are read at a time
_NICEST = 9  # what is nicer gives way to the modules: an environment that is compiled while they run


class Sensor(Protocol):
    """Safe from any thread."""

    cores: float  # that this node may use; a part of one where its control group has a quota
    memory: int | None  # bytes that it may use in all; None: not known
    scope: str  # whose processors these are: the same for all nodes that share them

    def read(self) -> Sample:
        """Takes a tenth of a millisecond. Raises OSError, ValueError."""
        ...

    def own_ready(self) -> int:
        """How many processes that this one started, and theirs, compute or want to, now. Some 50 us for each."""
        ...


class BlindSensor:
    """Where nothing can be measured."""

    def __init__(self, cores: float = 1.0) -> None:
        self.cores = cores
        self.memory: int | None = None
        self.scope = "machine"

    def read(self) -> Sample:
        return Sample(time.monotonic())

    def own_ready(self) -> int:
        return 0


class FakeSensor:
    """A machine that is as busy as a test says; `own` of those that compute are this node's."""

    def __init__(self, cores: float = 2.0, memory: int | None = None) -> None:
        self.cores = cores
        self.memory = memory
        self.free_memory = memory
        self.scope = "machine"
        self.own = 0
        self.reads = 0
        self._demand = self._busy_s = self._waited_s = 0.0
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def keep_busy(self, demand: float) -> None:
        """So many tasks compute, or want to, from now on."""
        self.read()
        self._demand = demand

    def read(self) -> Sample:
        with self._lock:
            self.reads += 1
            now = time.monotonic()
            busy = min(self._demand, self.cores)
            self._busy_s += busy * (now - self._at)
            self._waited_s += (self._demand - busy) * (now - self._at)
            self._at = now
            return Sample(now, (Processors(self.cores, self._busy_s, self._waited_s),), self.free_memory)

    def own_ready(self) -> int:
        return self.own


def open_sensor(root: Path = Path("/")) -> Sensor:
    """The best that can be had. `root`: below which /proc is."""
    try:
        return MachineSensor(root)
    except (OSError, ValueError, IndexError):
        return BlindSensor(float(os.cpu_count() or 1))


class MachineSensor:
    def __init__(self, root: Path = Path("/")) -> None:
        """Raises OSError, ValueError or IndexError where the machine does not tell what it should."""
        self._proc = str(root / "proc")  # no Path: it is read a hundred times a second while something waits
        own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        self._own = {b"cpu%d" % number for number in own}
        self._lock = threading.Lock()
        share = own_share(root)
        total = self._machine_memory(b"MemTotal:")
        self._limits = [limit for limit in share.memory if limit.limit < total]
        self.memory: int | None = min([total, *(limit.limit for limit in self._limits)])
        self._quota = share.quota if share.quota is not None and share.quota.cores < len(self._own) else None
        self.cores = float(len(self._own)) if self._quota is None else self._quota.cores
        self.scope = "machine" if self._quota is None else str(self._quota.folder)
        self._waited_s = 0.0
        self._last = _Moment.of(time.monotonic(), self._own, self._proc)
        self.read()

    def read(self) -> Sample:
        with self._lock:
            moment = _Moment.of(time.monotonic(), self._own, self._proc)
            self._waited_s += moment.waited_since(self._last)
            self._last = moment
            processors = [Processors(float(len(self._own)), moment.busy_s, self._waited_s)]
            if self._quota is not None:
                processors.append(_given(self._quota, moment))
            return Sample(moment.at, tuple(processors), self._free_memory())

    def own_ready(self) -> int:
        try:
            return ready_below(os.getpid(), _NICEST, self._proc)
        except OSError:  # they may not be looked at: perhaps all of them compute
            return _ALL

    def _free_memory(self) -> int:
        return min([self._machine_memory(b"MemAvailable:"), *(limit.free() for limit in self._limits)])

    def _machine_memory(self, name: bytes) -> int:
        words = _read(f"{self._proc}/meminfo").partition(name)[2].split(None, 1)
        if not words:
            raise ValueError(f"/proc/meminfo does not tell {name.decode()}")
        return int(words[0]) * 1024


def _given(quota: Quota, moment: "_Moment") -> Processors:
    """Where nothing counts what the group uses, what the machine does stands for it: never too little."""
    used = quota.used_s()
    busy = moment.busy_s if used is None else used
    return Processors(quota.cores, busy, quota.throttled_s(), max(_LEAST_WINDOW_S, _PERIODS * quota.period_s))


class _Moment:
    """What the kernel has counted until then."""

    def __init__(self, at: float, cores: int, idle_s: float, ready: int, stalled_s: float | None) -> None:
        self.at = at
        self.cores = cores
        self.busy_s = cores * at - idle_s
        self.ready = ready
        self.stalled_s = stalled_s

    @classmethod
    def of(cls, at: float, own: set[bytes], proc: str) -> "_Moment":
        counted = _read(f"{proc}/stat")
        lines = [line.split() for line in counted.partition(b"\nintr")[0].splitlines()]  # that is a long one
        times = [list(map(int, words[1:])) for words in lines if words and words[0] in own]
        if len(times) != len(own) or not any(map(any, times)):
            raise ValueError("/proc/stat does not tell what the processors do")
        idle = sum(of_one[3] + of_one[4] for of_one in times)  # with nothing to do, but for waiting for a disk
        running = counted.partition(b"\nprocs_running")[2].split(None, 1)
        ready = int(running[0]) if running else 1
        return cls(at, len(own), idle / os.sysconf("SC_CLK_TCK"), ready - 1, _stalled_s(proc))

    def waited_since(self, before: "_Moment") -> float:
        """Seconds, of all tasks together.

        The kernel tells for how long tasks waited on an average busy processor (PSI). Where it does not, how many are
        ready now stands for all the time between the two.
        """
        seconds = self.at - before.at
        if seconds <= 0:
            return 0.0
        if self.stalled_s is None or before.stalled_s is None:
            return max(0, self.ready - self.cores) * seconds
        busy = min(float(self.cores), max(0.0, self.busy_s - before.busy_s) / seconds)
        return max(0.0, self.stalled_s - before.stalled_s) * busy


def _stalled_s(proc: str) -> float | None:
    try:
        some, _, _ = _read(f"{proc}/pressure/cpu").partition(b"\n")
        return int(some.rpartition(b"total=")[2]) / 1e6
    except (OSError, ValueError):
        return None


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    data = b""
    try:
        while piece := os.read(descriptor, _READ):
            data += piece
    finally:
        os.close(descriptor)
    return data
