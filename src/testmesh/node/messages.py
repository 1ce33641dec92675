"""What nodes say to each other, as frozen records; `peers.py` and `app/peer_routes.py` carry them as JSON."""

from dataclasses import dataclass

from testmesh.model import Evaluation, ModuleResult
from testmesh.node.membership import Member
from testmesh.node.replica import Changes


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a node is. Modules are counted, waiting and running."""

    slots: int
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class PingReply:
    """`updates` begins with the answering node's own entry; `digest` is its store's; `sandbox` its level."""

    updates: tuple[Member, ...]
    load: Load
    digest: int
    sandbox: str = "none"


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
    """Store these, after fetching the named archives from `holder`: the answer is the promise to keep them."""

    changes: Changes
    archives: tuple[str, ...] = ()
    holder: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt of one module."""

    project: str
    module: str
    epoch: int
    attempt: int


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """Run these attempts. The record comes along, so that a worker needs no round trip to begin."""

    evaluation: Evaluation
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """An attempt began (`result` is None) or ended. `retry`: the node failed, not the module; try elsewhere."""

    evaluation: str
    task: Task
    node: str
    result: ModuleResult | None = None
    retry: bool = False


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
class Page:
    """A part of an evaluation's records. `following`: the number of the module that the next one begins with."""

    changes: Changes
    following: int | None = None
