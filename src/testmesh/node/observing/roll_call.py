"""All nodes of the mesh with how they are: each is asked, at the same time, and not waited for long."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from testmesh.clock import Clock
from testmesh.node.membership.membership_events import Health, Member
from testmesh.node.messaging.messages import PingReply, Vitals
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.observing.vital_signs import VitalSigns
from testmesh.node.service import NodeVitals

_ASK_TIMEOUT_S = 1.0
_FRESH_S = 1.0  # so long an answer serves all who ask: a hundred readers are no load for the mesh
_SHOWN_GONE_S = 24 * 3600.0  # who is gone for longer is not listed


@dataclass(frozen=True, slots=True)
class _Answer:
    until: float
    nodes: tuple[NodeVitals, ...]


class RollCall:
    """Safe from any thread. `members` gives all nodes that this one knows of, itself too."""

    def __init__(
        self, own: VitalSigns, peers: PeerClient, clock: Clock, members: Callable[[], tuple[Member, ...]]
    ) -> None:
        self._own = own
        self._peers = peers
        self._clock = clock
        self._members = members
        self._lock = threading.Lock()
        self._asking = {history: threading.Lock() for history in (False, True)}
        self._answers: dict[bool, _Answer] = {}
        self._said: dict[str, PingReply] = {}  # the last of each live peer
        self._gone_at: dict[str, float] = {}
        self._askers = ThreadPoolExecutor(16, thread_name_prefix="roll-call")

    # What the membership tells ---------------------------------------------------------------

    def pinged(self, address: str, reply: PingReply) -> None:
        with self._lock:
            self._said[address] = reply

    def changed(self, member: Member) -> None:
        with self._lock:
            if member.health.is_live:
                self._gone_at.pop(member.address, None)
            else:
                self._said.pop(member.address, None)
                self._gone_at.setdefault(member.address, self._clock.monotonic())

    # Reading ---------------------------------------------------------------------------------

    def states(self) -> list[Health]:
        """Of all nodes that are listed."""
        return [member.health for member in self._listed()]

    def nodes(self, *, history: bool) -> tuple[NodeVitals, ...]:
        """Live ones first, by address."""
        with self._asking[history]:
            answer = self._answers.get(history)
            if answer is None or answer.until <= self._clock.monotonic():
                found = self._ask(history)
                answer = self._answers[history] = _Answer(self._clock.monotonic() + _FRESH_S, found)
            return answer.nodes

    def stop(self) -> None:
        self._askers.shutdown(wait=False, cancel_futures=True)

    def _listed(self) -> list[Member]:
        shown_since = self._clock.monotonic() - _SHOWN_GONE_S
        with self._lock:
            gone_at = dict(self._gone_at)
        return [m for m in self._members() if m.health.is_live or gone_at.get(m.address, shown_since) > shown_since]

    def _ask(self, history: bool) -> tuple[NodeVitals, ...]:
        me = self._own.read(history=history)
        listed = [member for member in self._listed() if member.address != me.address]
        asked = {
            member.address: self._askers.submit(self._peers.vitals, member.address, history, _ASK_TIMEOUT_S)
            for member in listed
            if member.health.is_live
        }
        wait(asked.values(), timeout=_ASK_TIMEOUT_S)
        found = [self._shown(me)]
        for member in listed:
            said = _answer_of(asked.get(member.address))
            found.append(self._shown(said) if said is not None else self._silent(member))
        return tuple(sorted(found, key=lambda node: (not node.alive, node.address)))

    def _shown(self, vitals: Vitals) -> NodeVitals:
        """Moments by this node's clock, whatever the other's shows: so all of them fit into one chart."""
        now, load = self._clock.wall(), vitals.load
        return NodeVitals(
            address=vitals.address,
            alive=True,
            status=vitals.status,
            sandbox=vitals.sandbox,
            loopback=vitals.loopback,
            version=vitals.version,
            cores=load.cores,
            slots=load.slots,
            running=load.running,
            waiting=load.waiting,
            cpu=vitals.cpu,
            memory=vitals.memory,
            uptime=vitals.uptime,
            history=tuple((round(now - m.age), m.running, m.waiting, m.cpu) for m in vitals.history),
        )

    def _silent(self, member: Member) -> NodeVitals:
        """One that is gone, or is alive and did not answer just now: then as its last ping had it."""
        if not member.health.is_live:
            return NodeVitals(member.address, alive=False, status=member.health.name.lower())
        status = "suspect" if member.health is Health.SUSPECT else "no answer"
        with self._lock:
            said = self._said.get(member.address)
        if said is None:
            return NodeVitals(member.address, alive=True, status=status)
        load = said.load
        return NodeVitals(
            member.address,
            alive=True,
            status=status,
            sandbox=said.sandbox,
            cores=load.cores,
            slots=load.slots,
            running=load.running,
            waiting=load.waiting,
        )


def _answer_of(asked: "Future[Vitals] | None") -> Vitals | None:
    return asked.result() if asked is not None and asked.done() and asked.exception() is None else None
