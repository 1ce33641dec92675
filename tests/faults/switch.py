"""`python -m tests.faults.switch SEED TAP…`: an Ethernet switch whose cables do what its rules say.

Each TAP is the descriptor of a node's interface, the first one's MAC ending in 01. Standard input is a socket on
which a message is a JSON object and gets one answer: {"rules": [[source, target, {field of Rule: value}], …]} sets
those of these pairs, counted from 0. The answer has the frames so far: {"sent", "lost", "duplicated"}.
It ends with the other end of the socket. It sleeps while nothing happens.
"""

import contextlib
import heapq
import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

_MOST_QUEUED_S = 0.5  # on a slow link; what does not fit is lost, as everywhere
_FRAMES_AT_ONCE = 64
_LARGEST_FRAME = 65536
_BROADCAST = 0x01  # the bit of a MAC's first byte


@dataclass(frozen=True, slots=True)
class Rule:
    """One direction of one cable. `delay`: seconds, from and to; frames overtake each other where these differ."""

    cut: bool = False
    loss: float = 0.0
    duplicate: float = 0.0
    delay: tuple[float, float] = (0.0, 0.0)
    rate: float | None = None  # bytes per second


@dataclass
class Switch:
    """When each frame arrives where. Time is an argument."""

    ports: int
    rng: random.Random
    rules: dict[tuple[int, int], Rule] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"sent": 0, "lost": 0, "duplicated": 0})
    _free_at: dict[tuple[int, int], float] = field(default_factory=dict)

    def arrivals(self, source: int, frame: bytes, now: float) -> list[tuple[float, int]]:
        """The times and ports at which it comes out."""
        to_all = frame[0] & _BROADCAST
        targets = [port for port in range(self.ports) if port != source] if to_all else [frame[5] - 1]
        found = []
        for target in targets:
            if 0 <= target < self.ports:
                found += [(at, target) for at in self._times((source, target), len(frame), now)]
        return found

    def _times(self, pair: tuple[int, int], size: int, now: float) -> list[float]:
        rule = self.rules.get(pair)
        if rule is None:
            self.counts["sent"] += 1
            return [now]
        free_at = max(now, self._free_at.get(pair, now))
        is_full = rule.rate is not None and free_at - now > _MOST_QUEUED_S
        if rule.cut or is_full or self.rng.random() < rule.loss:
            self.counts["lost"] += 1
            return []
        if rule.rate is not None:
            free_at += size / rule.rate
            self._free_at[pair] = free_at
        copies = 1 + (self.rng.random() < rule.duplicate)
        self.counts["sent"] += 1
        self.counts["duplicated"] += copies - 1
        return [free_at + self.rng.uniform(*rule.delay) for _ in range(copies)]


def serve(control: socket.socket, taps: Sequence[int], seed: int) -> None:
    """Until the other end of `control` is closed."""
    switch = Switch(len(taps), random.Random(seed))
    port_of = {tap: port for port, tap in enumerate(taps)}
    waiting: list[tuple[float, int, int, bytes]] = []
    numbers = count()
    poller = select.epoll()
    for descriptor in (control.fileno(), *taps):
        poller.register(descriptor, select.EPOLLIN)
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else -1
        for descriptor, _ in poller.poll(timeout):
            if descriptor == control.fileno():
                message = control.recv(_LARGEST_FRAME)
                if not message:
                    return
                _obey(switch, json.loads(message))
                control.send(json.dumps(switch.counts).encode())
                continue
            for _ in range(_FRAMES_AT_ONCE):
                try:
                    frame = os.read(descriptor, _LARGEST_FRAME)
                except OSError:  # there is no more
                    break
                now = time.monotonic()
                for at, target in switch.arrivals(port_of[descriptor], frame, now):
                    if at <= now:
                        _put(taps[target], frame)
                    else:
                        heapq.heappush(waiting, (at, next(numbers), target, frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, target, frame = heapq.heappop(waiting)
            _put(taps[target], frame)


def _obey(switch: Switch, command: dict[str, list[tuple[int, int, dict[str, object]]]]) -> None:
    for source, target, values in command.get("rules", []):
        switch.rules[source, target] = Rule(**values)  # type: ignore[arg-type]


def _put(tap: int, frame: bytes) -> None:
    with contextlib.suppress(OSError):  # its interface is down or its queue is full: the frame is lost
        os.write(tap, frame)


if __name__ == "__main__":
    serve(socket.socket(fileno=0), [int(text) for text in sys.argv[2:]], int(sys.argv[1]))
