"""The MeshNode thread: keeps the membership's time and turns what it decides into messages."""

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed, wait

from testmesh.clock import Clock
from testmesh.errors import PeerRefusedError, TestmeshError
from testmesh.logs import about
from testmesh.node.membership.membership import Membership
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
from testmesh.node.messaging.messages import IndirectReply, PingReply
from testmesh.node.messaging.peers import PeerClient

log = logging.getLogger(__name__)
_GOOD_BYE_S = 5.0


class MeshNode:
    """Safe from any thread.

    `changed(before, after)` and `answered(address, reply)` are called for every change of a member and every answered
    ping, `ticked` at least every second; they must not block.
    """

    def __init__(
        self,
        membership: Membership,
        peers: PeerClient,
        clock: Clock,
        changed: Callable[[Member | None, Member], None],
        answered: Callable[[str, PingReply], None],
        ticked: Callable[[], None] = lambda: None,
    ) -> None:
        self._membership = membership
        self._peers = peers
        self._clock = clock
        self._changed = changed
        self._answered = answered
        self._ticked = ticked
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._joined = threading.Event()
        self._joining: set[str] = set()
        self._senders = ThreadPoolExecutor(32, thread_name_prefix="membership")  # pings: to suspects they take long
        self._helpers = ThreadPoolExecutor(16, thread_name_prefix="helper")  # apart, as a sender waits for them
        self._tellers = ThreadPoolExecutor(16, thread_name_prefix="news")  # apart, as a ping must not wait for them
        self._thread = threading.Thread(target=self._run, name="MeshNode", daemon=True)

    # Reading ---------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        return self._membership.me.address

    def live(self) -> tuple[str, ...]:
        """Addresses of the other live nodes, sorted."""
        with self._lock:
            return self._membership.live()

    def members(self) -> tuple[Member, ...]:
        with self._lock:
            return self._membership.all_members()

    def join_through(self, addresses: Iterable[str]) -> None:
        """Try these once, beside the bootstrap addresses that are tried for ever."""
        self._execute([SendJoin(address) for address in addresses])

    def wait_joined(self, timeout: float) -> bool:
        """Until some other node answered a join, or `timeout`."""
        return self._joined.wait(timeout)

    # What comes from other nodes -------------------------------------------------------------

    def heard(self, updates: tuple[Member, ...], sender: str | None = None) -> tuple[Member, ...]:
        """Take news in, and give this node's own for the answer."""
        self._feed(Heard(updates))
        with self._lock:
            return self._membership.answer(sender)

    def joining(self, members: tuple[Member, ...]) -> tuple[Member, ...]:
        """A node asks to join: it is told everything, and the others hear of it at once."""
        before = set(self.live())
        self._feed(Exchanged(members))
        fresh = tuple(member for member in members if member.address not in before and member.health.is_live)
        if fresh:
            self._execute([Introduce(tuple(before - {member.address for member in members}), fresh)])
        return self.members()

    def ping_for(self, target: str, timeout: float) -> IndirectReply:
        """Ping a third node for somebody who could not reach it."""
        try:
            self._take_reply(target, self._peers.ping(target, self._gossip(target), timeout))
        except TestmeshError as error:
            return IndirectReply(reached=False, refused=isinstance(error, PeerRefusedError))
        return IndirectReply(reached=True, refused=False)

    # Life ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Say good-bye to everybody, and wait until it was said; who cannot be reached is not waited for."""
        with self._lock:
            effects = self._membership.handle(Leave(), self._clock.monotonic())
        for effect in effects:
            if isinstance(effect, Introduce):
                futures = [self._tellers.submit(self._introduce, a, effect.updates) for a in effect.addresses]
                wait(futures, _GOOD_BYE_S)

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._senders.shutdown(wait=False, cancel_futures=True)
        self._helpers.shutdown(wait=False, cancel_futures=True)
        self._tellers.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._feed(Tick())
                self._ticked()
            except Exception:
                log.exception("the membership goes on after an error")
            with self._lock:
                due = self._membership.next_due() - self._clock.monotonic()
            self._wake.wait(min(1.0, max(0.01, due)))

    def _feed(self, event: Event) -> None:
        with self._lock:
            effects = self._membership.handle(event, self._clock.monotonic())
            for effect in effects:
                if isinstance(effect, MemberChanged):
                    self._tell(effect.before, effect.after)
        self._execute(effects)

    def _tell(self, before: Member | None, after: Member) -> None:
        was = before.health.name.lower() if before else "unknown"
        level = logging.WARNING if after.health in (Health.SUSPECT, Health.DEAD) else logging.INFO
        log.log(
            level,
            "node %s: %s -> %s (%d)",
            after.address,
            was,
            after.health.name.lower(),
            after.incarnation,
            extra=about(node=after.address),
        )
        try:
            self._changed(before, after)
        except Exception:  # what else is to be done, pings among it, is done all the same
            log.exception(
                "a change of node %s was not taken in everywhere", after.address, extra=about(node=after.address)
            )

    def _execute(self, effects: list[Effect]) -> None:
        if self._stopped:
            return
        for effect in effects:
            match effect:
                case SendPing():
                    self._senders.submit(self._ping, effect)
                case SendIndirectPing():
                    self._senders.submit(self._ping_through, effect)
                case SendJoin(address):
                    self._begin_join(address)
                case Introduce(addresses, updates):
                    for address in addresses:
                        self._tellers.submit(self._introduce, address, updates)
                case MemberChanged():
                    pass  # told under the lock, in order
                case AddressTaken(by):
                    log.error(
                        "another process (%s) answers at this node's address %s: it has left the mesh and takes no part"
                        " any more; give each node an address of its own (MESH_ADVERTISE)",
                        by.boot,
                        self.address,
                    )

    # Messages, in the senders' threads -------------------------------------------------------

    def _gossip(self, to: str) -> tuple[Member, ...]:
        with self._lock:
            return self._membership.gossip(to)

    def _take_reply(self, address: str, reply: PingReply) -> None:
        self._feed(PingAnswered(address, reply.updates))
        self._answered(address, reply)

    def _ping(self, effect: SendPing) -> None:
        try:
            self._take_reply(effect.address, self._peers.ping(effect.address, effect.updates, effect.timeout))
        except Exception as error:  # noqa: BLE001 - an answer that cannot be read is no answer either
            self._feed(PingFailed(effect.address, isinstance(error, PeerRefusedError)))

    def _ping_through(self, effect: SendIndirectPing) -> None:
        """All helpers are asked at once; the first that reached it, or was refused, settles it."""
        asked = [
            self._helpers.submit(self._peers.ping_through, helper, effect.target, effect.timeout)
            for helper in effect.through
        ]
        refused = False
        for answer in as_completed(asked):
            reply = None if answer.exception() else answer.result()
            if reply is not None and reply.reached:
                self._feed(IndirectAnswered(effect.target, reached=True, refused=False))
                return
            refused = refused or (reply is not None and reply.refused)
            if refused:
                break
        self._feed(IndirectAnswered(effect.target, reached=False, refused=refused))

    def _begin_join(self, address: str) -> None:
        with self._lock:
            if address in self._joining:
                return  # it takes longer than the time between two tries
            self._joining.add(address)
        self._tellers.submit(self._join, address)

    def _join(self, address: str) -> None:
        try:
            members = self._peers.join(address, self.members())
        except TestmeshError as error:
            log.info("cannot join through %s yet: %s", address, error, extra=about(node=address))
            return
        finally:
            with self._lock:
                self._joining.discard(address)
        self._feed(Exchanged(members))
        self._joined.set()

    def _introduce(self, address: str, updates: tuple[Member, ...]) -> None:
        try:
            self._peers.introduce(address, updates)
        except TestmeshError as error:
            log.info("could not tell %s the news: %s", address, error, extra=about(node=address))
