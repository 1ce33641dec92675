"""PURE: who is alive. SWIM (Das, Gupta, Motivala 2002) with suspicion and incarnation numbers.

`Membership.handle(event, now)` takes what happened and the monotonic time and returns what to do. It opens no
connection and reads no clock, so a whole mesh of them runs in a test with simulated time.

What differs from the paper: a refused connection that another node confirms is a death at once (the process is gone,
and its kernel says so); a member keeps a `boot` id, so that a restart on the same address is told from a refutation;
the dead are pinged now and then, so that the halves of a healed partition find each other; the news of a death is
passed on ahead of the gossip.
"""

import hashlib
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from testmesh.node.membership.membership_config import MembershipConfig
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
from testmesh.node.membership.rumours import Rumours
from testmesh.node.membership.suspicion import Suspicions

__all__ = ["Health", "Member", "Membership", "MembershipConfig"]  # more is in membership_events


_MAX_INCARNATION = 2**53  # no node refutes so often: what is beyond it is no message of a node
_MAX_STEP = 2**20  # nor so often unheard: what is told to be so far ahead is believed of nobody but itself


@dataclass(slots=True)
class Membership:
    """One node's view. Not thread-safe: one thread feeds it."""

    me: Member
    bootstrap: tuple[str, ...] = ()
    config: MembershipConfig = field(default_factory=MembershipConfig)
    rng: random.Random = field(default_factory=random.Random)
    others: dict[str, Member] = field(default_factory=dict)
    _rumours: Rumours = field(default_factory=Rumours)
    _round: list[str] = field(default_factory=list)  # who is still to be pinged in this round
    _pending: set[str] = field(default_factory=set)  # pings and indirect pings under way
    _suspected: Suspicions = field(init=False)
    _failed: dict[str, list[bool]] = field(default_factory=dict)  # direct pings failed in a row: were they refused?
    _died_at: dict[str, float] = field(default_factory=dict)
    _returned_at: dict[str, float] = field(default_factory=dict)  # of those that were dead here and are not
    _next_ping: float = 0.0
    _next_bootstrap: float = 0.0
    _next_revive: float = 0.0
    _neighbour_is_next: bool = False
    _ticked_at: float = math.inf
    _live: tuple[str, ...] | None = None  # computed when asked for, as is the next one
    _neighbour: str | None = None
    _rival: Member | None = None  # another process that claims this address

    def __post_init__(self) -> None:
        self._suspected = Suspicions(self.config.suspicion_timeout, self.config.hearsay_factor)

    # Reading ---------------------------------------------------------------------------------

    def live(self) -> tuple[str, ...]:
        """Addresses of the live members but this one, sorted."""
        if self._live is None:
            self._live = tuple(sorted(address for address, member in self.others.items() if member.health.is_live))
        return self._live

    def member(self, address: str) -> Member | None:
        return self.me if address == self.me.address else self.others.get(address)

    def all_members(self) -> tuple[Member, ...]:
        """Everything known, this node first: what a joining node is told."""
        return (self.me, *self.others.values())

    def next_due(self) -> float:
        """The monotonic time at which the next Tick has something to do, at the latest."""
        return min(self._next_ping, self._next_bootstrap, self._suspected.next_due())

    def answer(self, sender: str | None) -> tuple[Member, ...]:
        """What goes with the answer to a ping."""
        return self.gossip(sender, self.config.answer_batch)

    def gossip(self, to: str | None = None, batch: int | None = None) -> tuple[Member, ...]:
        """This node's entry and the most urgent news; `to` also learns what is believed of itself, to refute it.

        Even where it is believed alive: a process that came back on its address may be taken for the one before.
        """
        updates = [self.me]
        target = self.others.get(to) if to else None
        if target is not None:
            updates.append(target)
        at_most = self.config.gossip_batch if batch is None else batch
        news = self._rumours.send(at_most, self.config.gossip_factor * self._spread())
        updates += [member for member in news if member not in updates]
        return tuple(updates)

    # Deciding --------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:  # noqa: PLR0911 - one an event
        match event:
            case Tick():
                return self._tick(now)
            case Heard(updates):
                return self._apply(updates, now)
            case Exchanged(members):
                mine = (m for m in members if m.health is not Health.DEAD or m.address == self.me.address)
                return self._apply(mine, now)
            case PingAnswered(address, updates):
                return self._ping_answered(address, updates, now)
            case PingFailed(address, refused):
                return self._ping_failed(address, refused, now)
            case IndirectAnswered(target, reached, refused):
                return self._indirect_answered(target, reached, refused, now)
            case Leave():
                self.me = replace(self.me, health=Health.LEFT)
                live = self.live()
                return [Introduce(live, (self.me,))] if live else []

    def _tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        self._suspected.extend(max(0.0, now - self._ticked_at - 2 * self.config.ping_interval), now)
        self._ticked_at = now
        for address in self._suspected.expired(now):
            effects += self._set_health(address, Health.DEAD, now)
        self._forget(now)
        if self.me.health is Health.LEFT:
            self._next_ping = self._next_bootstrap = now + self.config.bootstrap_interval
            return effects
        if now >= self._next_bootstrap:
            self._next_bootstrap = now + self.config.bootstrap_interval
            live = set(self.live()) | {self.me.address}
            effects += [SendJoin(address) for address in self.bootstrap if address not in live]
        if now >= self._next_revive:
            self._next_revive = now + self.config.revive_interval * max(1.0, len(self.live()) / self.config.revivers)
            dead = [a for a, m in self.others.items() if m.health is Health.DEAD and a not in self._pending]
            if dead:
                effects.append(self._ping(self.rng.choice(sorted(dead))))
        if now >= self._next_ping:
            self._next_ping = now + self.config.ping_interval
            target = self._next_target()
            effects += [self._ping(address) for address in self._suspected.own() if address != target]
            if target is not None:
                effects.append(self._ping(target))
        return effects

    def _forget(self, now: float) -> None:
        self._rumours.forget_deaths_before(now - self.config.death_is_news)
        for address, since in list(self._died_at.items()):
            has_left = self.others[address].health is Health.LEFT
            if now >= since + (self.config.forget_left_after if has_left else self.config.forget_dead_after):
                del self.others[address], self._died_at[address]

    def _ping(self, address: str) -> SendPing:
        self._pending.add(address)
        suspected = address in self._suspected.own()
        timeout = self.config.suspicion_timeout if suspected else self.config.ping_timeout
        return SendPing(address, self.gossip(address), timeout)

    def _next_target(self) -> str | None:
        """By turns the neighbour on a ring, so that everybody is pinged by its own every second time, and a random one.

        The random ones spread the news. They go round over a list that is shuffled anew each round.
        """
        self._neighbour_is_next = not self._neighbour_is_next
        if self._neighbour_is_next:
            if self._neighbour is None:
                ring = [self.me.address, *(a for a in self.live() if a not in self._suspected)]
                ring.sort(key=_place_on_ring)
                self._neighbour = ring[(ring.index(self.me.address) + 1) % len(ring)]
            if self._neighbour != self.me.address and self._neighbour not in self._pending:
                return self._neighbour
        live = set(self.live())
        for _ in range(2):
            while self._round:
                address = self._round.pop()
                if address in live and address not in self._pending:
                    return address
            self._round = sorted(live)
            self.rng.shuffle(self._round)
        return None

    def _ping_answered(self, address: str, updates: tuple[Member, ...], now: float) -> list[Effect]:
        if not updates or updates[0].address != address:  # somebody else lives there now
            return self._ping_failed(address, False, now)
        if address == self.me.address:
            if updates[0].boot == self.me.boot or self.me.health is Health.LEFT:
                return []
            self.me = replace(self.me, health=Health.LEFT)
            return [AddressTaken(updates[0])]
        self._pending.discard(address)
        self._failed.pop(address, None)
        return self._apply(updates, now, first_hand=address)

    def _ping_failed(self, address: str, refused: bool, now: float) -> list[Effect]:
        self._pending.discard(address)
        member = self.others.get(address)
        if member is None or not member.health.is_live:
            return []
        if address in self._suspected.own() and not refused:
            return []  # nothing new
        failed = self._failed.setdefault(address, [])
        failed.append(refused)
        helpers = [other for other in self.live() if other != address and other not in self._suspected]
        if helpers:
            self._pending.add(address)
            chosen = self.rng.sample(helpers, min(self.config.indirect_count, len(helpers)))
            return [SendIndirectPing(address, tuple(chosen), self.config.indirect_timeout)]
        if len(failed) < 2:
            return [self._ping(address)]  # nobody else can be asked: a second try instead
        if all(failed[-2:]):
            return self._set_health(address, Health.DEAD, now)  # nobody to confirm it, but its kernel said so twice
        return self._suspect(address, now)

    def _indirect_answered(self, target: str, reached: bool, refused: bool, now: float) -> list[Effect]:
        self._pending.discard(target)
        if reached:
            self._failed.pop(target, None)
            return []
        if refused and any(self._failed.get(target, [])[-1:]):
            return self._set_health(target, Health.DEAD, now)
        return self._suspect(target, now)

    def _suspect(self, address: str, now: float) -> list[Effect]:
        """This node's own pings failed."""
        member = self.others.get(address)
        if member is None or not member.health.is_live:
            return []
        known_to_suspect = address in self._suspected.own()
        effects = self._set_health(address, Health.SUSPECT, now)
        self._suspected.confirm(address, now)
        return effects if known_to_suspect else [*effects, self._ping(address)]

    def _set_health(self, address: str, health: Health, now: float) -> list[Effect]:
        member = self.others.get(address)
        if member is None or member.health >= health:
            return []
        return self._record(replace(member, health=health), now)

    def _apply(self, updates: Iterable[Member], now: float, first_hand: str | None = None) -> list[Effect]:
        """The first is the sender's own, but in an introduction. `first_hand`: who surely said it, for it was asked."""
        effects: list[Effect] = []
        updates = tuple(updates)
        was_away = bool(updates) and self._was_away(updates[0].address, now)
        for update in updates:
            if not 0 <= update.incarnation < _MAX_INCARNATION:
                continue
            if update.address == self.me.address:
                effects += self._refute(update)
                continue
            known = self.others.get(update.address)
            if known is None and not update.health.is_live:
                continue  # the death of a node never seen is no news
            if was_away and update.health is Health.DEAD and known is not None and known.health.is_live:
                continue  # it was cut off from that one as from this: a partition has healed
            if update.incarnation > _furthest(known) and update.address != first_hand:
                if update.address not in self._pending and self.me.health is not Health.LEFT:
                    effects.append(self._ping(update.address))  # it tells itself, if it is so
                continue
            if known is None or update.supersedes(known):
                effects += self._record(update, now)
        return effects

    def _was_away(self, address: str, now: float) -> bool:
        """Whether it was dead for this node until now, or a moment ago."""
        known = self.others.get(address)
        is_dead = known is not None and known.health is Health.DEAD
        return is_dead or now - self._returned_at.get(address, -math.inf) < self.config.returned_lately

    def _refute(self, update: Member) -> list[Effect]:
        """Somebody says something of this node that is not so: every message from now on has a higher incarnation.

        A process that was here before says nothing more; where another one goes on refuting, both claim the address,
        and a ping to it tells whose it is.
        """
        wrong = update.boot != self.me.boot or update.health is not Health.ALIVE
        if self.me.health is Health.LEFT or not wrong or update.incarnation < self.me.incarnation:
            return []
        if update.incarnation > _furthest(self.me):
            return []  # nobody else believes it; an answer to it would leave nothing to answer the next one with
        contested = (
            self._rival is not None
            and self._rival.boot == update.boot != self.me.boot
            and self._rival.incarnation < update.incarnation
        )
        self._rival = update
        self.me = replace(self.me, incarnation=update.incarnation + 1)
        return [SendPing(self.me.address, self.gossip(), self.config.ping_timeout)] if contested else []

    def _spread(self) -> int:
        """How many must be told by each who is told, so that all but surely everybody is: it grows as the logarithm."""
        return math.ceil(math.log2(len(self.others) + 2))

    def _record(self, member: Member, now: float) -> list[Effect]:
        before = self.others.get(member.address)
        self.others[member.address] = member
        self._rumours.add(member, now)
        self._suspected.clear(member.address)
        self._live = self._neighbour = None
        effects: list[Effect] = [MemberChanged(before, member)]
        if member.health is Health.SUSPECT:
            self._suspected.heard(member.address, now)
        if member.health.is_live:
            self._died_at.pop(member.address, None)
            if before is not None and before.health is Health.DEAD:
                self._returned_at[member.address] = now
                self._next_revive = now  # a partition may have healed: who else is back?
        else:
            self._died_at[member.address] = now
            self._returned_at.pop(member.address, None)
            self._pending.discard(member.address)
            self._failed.pop(member.address, None)
            near = [address for address in self.live() if address not in self._suspected]
            if member.health is Health.DEAD and near:
                told = self.rng.sample(near, min(self._spread(), len(near)))
                effects.append(Introduce(tuple(told), (member,)))
        return effects


def _furthest(known: Member | None) -> int:
    """The highest incarnation that news of this member may have."""
    return (known.incarnation if known else 0) + _MAX_STEP


def _place_on_ring(address: str) -> bytes:
    """Far from its likes: the nodes of one host may go all at once."""
    return hashlib.sha256(address.encode()).digest()
