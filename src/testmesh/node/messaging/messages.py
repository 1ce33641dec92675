"""What nodes say to each other, as frozen records; `peers.py` and `app/peer_routes.py` carry them as JSON."""

from dataclasses import dataclass, field
from enum import StrEnum

from testmesh.model import Evaluation, ModuleResult
from testmesh.node.membership.membership import Member
from testmesh.node.storage.replica import Changes


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a node is. Modules are counted, waiting and running. No slots: it takes no work (leaving, disk full)."""

    slots: int
    running: int
    waiting: int
    cores: float = 1.0  # processors that it may use; a part of one where a control group says so


@dataclass(frozen=True, slots=True)
class PingReply:
    """`updates` begins with the answering node's own entry; `digest` is its store's; `sandbox` its level.

    `wall`: what its clock shows, in Unix seconds.
    """

    updates: tuple[Member, ...]
    load: Load
    digest: int
    sandbox: str = "none"
    wall: float = 0.0


@dataclass(frozen=True, slots=True)
class IndirectReply:
    """What a helper found when it pinged a third node."""

    reached: bool
    refused: bool


@dataclass(frozen=True, slots=True)
class Members:
    """Membership entries: a join, its answer, an introduction."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Replicate:
    """Store these, after fetching the named archives from `holder`.

    `promise`: the answer is the promise to keep it all, as a holder. It is not given (409) where another submission has
    the id.
    """

    changes: Changes
    archives: tuple[str, ...] = ()
    holder: str = ""
    promise: bool = False


@dataclass(frozen=True, slots=True)
class FetchOrder:
    """Begin to fetch these archives from `holder`, where they are not there yet. Repeated until they are."""

    archives: tuple[str, ...]
    holder: str


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """What is still missing, and the bytes of it that have come: while these change, it goes on."""

    missing: tuple[str, ...] = ()
    received: int = 0


@dataclass(frozen=True, slots=True)
class ArchivesAsked:
    """Which of these archives are really there?"""

    archives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArchivesHeld:
    """What was found on the disk, whole, and what was not. Those in neither could not be looked at in time."""

    held: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt of one module."""

    project: str
    module: str
    epoch: int
    attempt: int
    alone: bool = field(default=False, compare=False)  # nothing else may run beside it


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """Run these attempts. The record comes along, so that a worker needs no round trip to begin.

    `whole`: it is to be stored. Else it has only the modules of these tasks: the node was given the whole one before.
    """

    evaluation: Evaluation
    tasks: tuple[Task, ...]
    whole: bool = True


class Returned(StrEnum):
    """Why a worker gives an attempt back that it did not run: nobody's fault, and not counted."""

    LEAVING = "leaving"  # the worker drains
    NO_ARCHIVE = "no_archive"  # no live node has the submission's files just now
    DISK_FULL = "disk_full"  # of the worker


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """An attempt began (`result` is None), ended, or was `returned`.

    `retry`: the node failed, not the module; try elsewhere. `starved`: the result is a timeout, and the processor was
    short while it ran beside others.
    """

    evaluation: str
    task: Task
    node: str
    result: ModuleResult | None = None
    retry: bool = False
    starved: bool = False
    returned: Returned | None = None

    @property
    def is_over(self) -> bool:
        """Whether the worker has nothing more to do with it once this is told."""
        return self.result is not None or self.returned is not None


@dataclass(frozen=True, slots=True)
class AttemptReports:
    """What one worker has to say, and how busy it is after it."""

    node: str
    reports: tuple[AttemptReport, ...]
    load: Load


@dataclass(frozen=True, slots=True)
class Held:
    """The attempts a worker still has: waiting, running, or ended with a report that nobody took yet."""

    tasks: tuple[tuple[str, Task], ...]  # (evaluation id, task)
    load: Load


@dataclass(frozen=True, slots=True)
class Digests:
    digests: dict[str, int]


@dataclass(frozen=True, slots=True)
class PeerList:
    """The live nodes that the answering one exchanges messages with."""

    peers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a node had to do `age` seconds ago. `cpu`: the used part of its processors, 0 to 1; None: not known."""

    age: float
    running: int
    waiting: int
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a node is, as it says itself. `status` and what follows as /health has it; `uptime` in seconds.

    `cpu`, `memory`: the used parts of what it may use, 0 to 1; None: it cannot tell. `history`: the oldest first.
    """

    address: str
    status: str
    sandbox: str
    loopback: str
    version: str
    load: Load
    cpu: float | None
    memory: float | None
    uptime: float
    history: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A part of an evaluation's records. `following`: the number of the module that the next one begins with."""

    changes: Changes
    following: int | None = None
