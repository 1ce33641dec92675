"""The words of the membership: its members, what happens to them, and what it wants done about it."""

from dataclasses import dataclass
from enum import IntEnum


class Health(IntEnum):
    """In order of precedence at one incarnation: the worse news wins."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3  # said good-bye itself

    @property
    def is_live(self) -> bool:
        """A suspect still counts: only a death moves work."""
        return self in (Health.ALIVE, Health.SUSPECT)


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one node. `incarnation` is raised by the node itself alone, to refute what others say of it."""

    address: str
    boot: str  # random, new for every process
    incarnation: int = 0
    health: Health = Health.ALIVE

    def supersedes(self, other: "Member") -> bool:
        """Of another process on the address only a higher incarnation is believed: it is told what is known of the one
        before, and raises its own. So every node sees a restart once, however old and new news of it mix.
        """
        if self.boot != other.boot:
            return self.incarnation > other.incarnation
        return (self.incarnation, self.health) > (other.incarnation, other.health)


# What happens --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message came with this news: a ping, an answer, a join, an introduction."""

    updates: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """All that another node knows, at a join. Who is dead to it may have been cut off from it, no more: only of itself
    does this node take such news, to refute it.
    """

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """`address` answered a direct ping; `updates` came with it, its own entry first."""

    address: str
    updates: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class PingFailed:
    """No answer in time, or (`refused`) nothing listens there."""

    address: str
    refused: bool


@dataclass(frozen=True, slots=True)
class IndirectAnswered:
    """What the members that were asked to ping `target` for us said."""

    target: str
    reached: bool
    refused: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """This node drains: say good-bye."""


Event = Tick | Heard | Exchanged | PingAnswered | PingFailed | IndirectAnswered | Leave


# What to do ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendPing:
    address: str
    updates: tuple[Member, ...]
    timeout: float


@dataclass(frozen=True, slots=True)
class SendIndirectPing:
    target: str
    through: tuple[str, ...]
    timeout: float


@dataclass(frozen=True, slots=True)
class SendJoin:
    address: str


@dataclass(frozen=True, slots=True)
class Introduce:
    """Tell these at once, ahead of the gossip."""

    addresses: tuple[str, ...]
    updates: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """For the rest of the node: `before` is None for a new member."""

    before: Member | None
    after: Member


@dataclass(frozen=True, slots=True)
class AddressTaken:
    """Another process is what the peers reach at this node's address: this one is of no use and has left."""

    by: Member


Effect = SendPing | SendIndirectPing | SendJoin | Introduce | MemberChanged | AddressTaken
