"""A mesh of `Membership`s in simulated time: messages with latency and loss, partitions, pauses, crashes, restarts.

Discrete events: nothing waits, and one seed gives one run. Effects are executed as the MeshNode thread executes them.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from testmesh.node.membership.membership import Membership, MembershipConfig
from testmesh.node.membership.membership_events import (
    AddressTaken,
    Effect,
    Event,
    Exchanged,
    Health,
    Heard,
    IndirectAnswered,
    Introduce,
    Leave,
    Member,
    MemberChanged,
    PingAnswered,
    PingFailed,
    SendIndirectPing,
    SendJoin,
    SendPing,
    Tick,
)

P = TypeVar("P", bound="Process")
Updates = tuple[Member, ...]
_JOIN_TIMEOUT, _INTRODUCE_TIMEOUT, _LONGEST_SLEEP = 3.0, 2.0, 1.0


@dataclass(frozen=True)
class Change:
    """What one node began to believe of another."""

    at: float
    observer: str
    before: Member | None
    after: Member


@dataclass
class Process:
    """One process of a node. While it is paused, what should have happened to it waits, in order."""

    simulation: "Simulation"
    membership: Membership
    running: bool = True
    paused: bool = False
    waiting: list[Callable[[], None]] = field(default_factory=list)
    pings_sent: int = 0
    joins_sent: int = 0
    evicted: bool = False

    @property
    def address(self) -> str:
        return self.membership.me.address

    def do(self, action: Callable[[], None]) -> None:
        if not self.running:
            return
        if self.paused:
            self.waiting.append(action)
        else:
            action()

    def health_of(self, address: str) -> Health | None:
        member = self.membership.member(address)
        return member.health if member else None

    # As MeshNode does ------------------------------------------------------------------------

    def run(self) -> None:
        self.feed(Tick())
        due = self.membership.next_due() - self.simulation.now
        self.simulation.after(min(_LONGEST_SLEEP, max(0.01, due)), lambda: self.do(self.run))

    def feed(self, event: Event) -> None:
        for effect in self.membership.handle(event, self.simulation.now):
            self.execute(effect)

    def execute(self, effect: Effect) -> None:
        call = self.simulation.call
        match effect:
            case SendPing(address, updates, timeout):
                self.pings_sent += 1
                self.simulation.longest_ping = max(self.simulation.longest_ping, updates, key=len)
                self.ping(address, updates, timeout, lambda _: None, lambda refused: None)
            case SendIndirectPing(target, through, timeout):
                self.ping_through(target, through, timeout)
            case SendJoin(address):
                self.join(address)
            case Introduce(addresses, updates):
                for address in addresses:
                    call(self, address, lambda p: p.feed(Heard(updates)), _INTRODUCE_TIMEOUT)
            case MemberChanged(before, after):
                self.simulation.changes.append(Change(self.simulation.now, self.address, before, after))
                self.member_changed(before, after)
            case AddressTaken():
                self.evicted = True

    # What a whole node does besides ----------------------------------------------------------

    def member_changed(self, before: Member | None, after: Member) -> None:
        pass

    def said_with_answer(self) -> Any:
        """What goes with the answer to a ping, beside the membership's news."""
        return None

    def ping_answered(self, address: str, said: Any) -> None:
        pass

    def joined(self) -> None:
        pass

    # Messages --------------------------------------------------------------------------------

    def join(self, address: str) -> None:
        def take(found: Updates) -> None:
            self.feed(Exchanged(found))
            self.joined()

        self.joins_sent += 1
        members = self.membership.all_members()
        self.simulation.call(self, address, lambda p: p.joining(members), _JOIN_TIMEOUT, take)

    def ping(
        self,
        address: str,
        updates: Updates,
        timeout: float,
        answered: Callable[[Updates], None],
        failed: Callable[[bool], None],
    ) -> None:
        def take(found: tuple[Updates, Any]) -> None:
            self.feed(PingAnswered(address, found[0]))
            self.ping_answered(address, found[1])
            answered(found[0])

        def fail(refused: bool) -> None:
            self.feed(PingFailed(address, refused))
            failed(refused)

        self.simulation.call(self, address, lambda p: p.heard(updates, self.address), timeout, take, fail)

    def ping_through(self, target: str, through: tuple[str, ...], timeout: float) -> None:
        """All helpers at once; over when one knows, or all have answered."""
        left = set(through)

        def said(helper: str, reached: bool, refused: bool) -> None:
            if helper in left:
                left.discard(helper)
                if reached or refused or not left:
                    left.clear()
                    self.feed(IndirectAnswered(target, reached, refused))

        for helper in through:
            self.simulation.call_later(
                self,
                helper,
                lambda p, reply: p.ping_for(target, timeout / 2, reply),
                timeout,
                lambda found, helper=helper: said(helper, *found),  # type: ignore[misc]
                lambda _, helper=helper: said(helper, False, False),  # type: ignore[misc]
            )

    def ping_for(self, target: str, timeout: float, reply: Callable[[tuple[bool, bool]], None]) -> None:
        def take(found: tuple[Updates, Any]) -> None:
            self.feed(PingAnswered(target, found[0]))
            self.ping_answered(target, found[1])
            reply((True, False))

        updates = self.membership.gossip(target)
        self.simulation.call(
            self,
            target,
            lambda p: p.heard(updates, self.address),
            timeout,
            take,
            lambda refused: reply((False, refused)),
        )

    def heard(self, updates: Updates, sender: str) -> tuple[Updates, Any]:
        self.feed(Heard(updates))
        return self.membership.answer(sender), self.said_with_answer()

    def joining(self, members: Updates) -> Updates:
        before = set(self.membership.live())
        self.feed(Exchanged(members))
        fresh = tuple(m for m in members if m.address not in before and m.health.is_live)
        if fresh:
            self.execute(Introduce(tuple(before - {m.address for m in members}), fresh))
        return self.membership.all_members()


class Simulation:
    """`latency` is drawn evenly for every message, each way; `loss` is the chance of each to vanish, `doubling` to come
    twice.
    """

    def __init__(
        self,
        seed: int = 1,
        config: MembershipConfig | None = None,
        latency: tuple[float, float] = (0.001, 0.02),
        loss: float = 0.0,
    ) -> None:
        self.now = 1000.0
        self.rng = random.Random(seed)
        self.config = config or MembershipConfig()
        self.latency = latency
        self.loss = loss
        self.doubling = 0.0
        self.listening: dict[str, Process] = {}  # what is reached at an address
        self.processes: list[Process] = []
        self.changes: list[Change] = []
        self.longest_ping: Updates = ()
        self.cut: Callable[[str, str], bool] = lambda source, target: False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._boots = itertools.count()

    # What a test does ------------------------------------------------------------------------

    def start(self, address: str, *bootstrap: str, boot: str | None = None, listens: bool = True) -> Process:
        """Another process at an address; `listens`: messages to the address reach it."""
        process = Process(self, self.membership(address, bootstrap, boot))
        return self.begin(process, listens=listens)

    def membership(self, address: str, bootstrap: tuple[str, ...] = (), boot: str | None = None) -> Membership:
        me = Member(address, boot or f"{self.rng.getrandbits(32):08x}-{next(self._boots)}")
        return Membership(me, bootstrap, self.config, random.Random(self.rng.random()))

    def begin(self, process: P, *, listens: bool = True) -> P:
        if listens:
            self.listening[process.address] = process
        self.processes.append(process)
        self.after(self.rng.uniform(0, 0.2), lambda: process.do(process.run))
        return process

    def mesh(self, size: int) -> list[Process]:
        """`size` nodes that know each other, in the middle of their pinging."""
        first = self.start("node-0:1")
        nodes = [first, *(self.start(f"node-{i}:1", first.address) for i in range(1, size))]
        self.run_until(lambda: self.agree(nodes), 30)
        self.run(self.rng.uniform(5, 6))
        self.changes.clear()
        return nodes

    def crash(self, process: Process) -> None:
        """kill -9: from now on its address refuses."""
        process.running = False
        if self.listening.get(process.address) is process:
            del self.listening[process.address]

    def pause(self, process: Process) -> None:
        process.paused = True

    def resume(self, process: Process) -> None:
        """Its timers and what came meanwhile, in the order of time; timers that are due count as first."""
        process.paused = False
        waiting, process.waiting = process.waiting, []
        for action in waiting:
            process.do(action)

    def pause_for(self, process: Process, seconds: float) -> None:
        self.pause(process)
        self.after(seconds, lambda: self.resume(process))

    def leave(self, process: Process) -> None:
        process.feed(Leave())

    def partition(self, *groups: list[Process]) -> None:
        of = {process.address: index for index, group in enumerate(groups) for process in group}
        self.cut = lambda source, target: of.get(source) != of.get(target)

    def heal(self) -> None:
        self.cut = lambda source, target: False

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self._step()
        self.now = end

    def run_until(self, condition: Callable[[], bool], at_most: float, look_every: float = 0.05) -> float:
        """Seconds until the condition held. AssertionError where it does not within `at_most`."""
        began = self.now
        while not condition():
            assert self.now - began < at_most, f"not so within {at_most} simulated seconds"
            self.run(look_every)
        return self.now - began

    def agree(self, processes: list[Process]) -> bool:
        """Every one of them sees exactly the others, alive."""
        if any(len(process.membership.live()) != len(processes) - 1 for process in processes):
            return False  # most often so, and quickly known
        everybody = {process.membership.me for process in processes}
        return all(
            {m for m in process.membership.all_members() if m.health.is_live} == everybody for process in processes
        )

    def deaths(self, address: str | None = None) -> list[Change]:
        """Who was declared dead, by whom, when."""
        return [c for c in self.changes if c.after.health is Health.DEAD and address in (None, c.after.address)]

    # The network -----------------------------------------------------------------------------

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), action))

    def call(
        self,
        source: Process,
        address: str,
        handle: Callable[[Process], Any],
        timeout: float,
        answered: Callable[[Any], None] = lambda _: None,
        failed: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.call_later(source, address, lambda p, reply: reply(handle(p)), timeout, answered, failed)

    def call_later(
        self,
        source: Process,
        address: str,
        handle: Callable[[Process, Callable[[Any], None]], None],
        timeout: float,
        answered: Callable[[Any], None],
        failed: Callable[[bool], None],
    ) -> None:
        """A request and its answer; exactly one of `answered` and `failed` (refused?) is called, at the source."""
        over = False

        def end(action: Callable[[], None]) -> None:
            def once() -> None:
                nonlocal over
                if not over:
                    over = True
                    action()

            source.do(once)

        def reply(found: Any) -> None:
            self._send(address, source.address, lambda: end(lambda: answered(found)))

        def arrive() -> None:
            target = self.listening.get(address)
            if target is None:
                self._send(address, source.address, lambda: end(lambda: failed(True)))
            else:
                target.do(lambda: handle(target, reply))

        self.after(timeout, lambda: end(lambda: failed(False)))
        self._send(source.address, address, arrive)

    def _send(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        if self.cut(source, target) or self.rng.random() < self.loss:
            return
        self.after(self.rng.uniform(*self.latency), arrive)
        if self.rng.random() < self.doubling:
            self.after(self.rng.uniform(*self.latency), arrive)

    def _step(self) -> None:
        self.now, _, action = heapq.heappop(self._events)
        action()
