"""PURE: the news of members that rides on pings and their answers, and how often each piece was sent."""

import heapq
from dataclasses import dataclass, field

from testmesh.node.membership.membership_events import Health, Member


@dataclass(slots=True)
class _Rumour:
    member: Member
    since: float
    sent: int = 0

    @property
    def urgency(self) -> tuple[bool, int]:
        """The smallest goes first. A newcomer can wait, a death and its refutation cannot: also in a storm of joins."""
        return (self.member.health is Health.ALIVE and self.member.incarnation == 0, self.sent)


@dataclass(slots=True)
class Rumours:
    """Times are monotonic seconds."""

    _found: dict[str, _Rumour] = field(default_factory=dict)

    def add(self, member: Member, now: float) -> None:
        """Instead of what was said of it before."""
        self._found[member.address] = _Rumour(member, now)

    def send(self, at_most: int, times: int) -> list[Member]:
        """The most urgent, for one message; each is sent so many times."""
        chosen = heapq.nsmallest(at_most, self._found.values(), key=lambda rumour: rumour.urgency)
        for rumour in chosen:
            rumour.sent += 1
            if rumour.sent >= times:
                del self._found[rumour.member.address]
        return [rumour.member for rumour in chosen]

    def forget_deaths_before(self, moment: float) -> None:
        old = [a for a, r in self._found.items() if r.member.health is Health.DEAD and r.since < moment]
        for address in old:
            del self._found[address]
