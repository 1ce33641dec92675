"""The words of the driver: what happens to the evaluations a node drives, and what it wants done about it."""

from dataclasses import dataclass

from testmesh.model import Evaluation, ModuleState
from testmesh.node.messaging.messages import AttemptReports, Held, Load, WorkOrder
from testmesh.node.storage.replica import Changes

# What happens --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """A submission begins here; it was acknowledged, or will be in a moment."""

    evaluation_id: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The records of these evaluations themselves were merged into the store, and these results of other owners."""

    evaluation_ids: tuple[str, ...]
    results: tuple[ModuleState, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.evaluation_ids or self.results)


@dataclass(frozen=True, slots=True)
class MayClaim:
    """From now on unfinished evaluations whose owner is gone, or was this node before a restart, are taken up."""


@dataclass(frozen=True, slots=True)
class NodeLost:
    node: str
    blame: bool  # it was not in good order: the modules it ran may be why


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """Asked at once what it holds: it gets work as soon as it has answered."""

    node: str


@dataclass(frozen=True, slots=True)
class LoadSeen:
    node: str
    load: Load


@dataclass(frozen=True, slots=True)
class HeldTold:
    """What a worker has, as it answered. `held` is None where it did not."""

    node: str
    held: Held | None
    asked_at: float


@dataclass(frozen=True, slots=True)
class OrderFailed:
    node: str
    order: WorkOrder


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Another node has promised to drive these, or not."""

    target: str
    changes: Changes
    taken: bool


@dataclass(frozen=True, slots=True)
class Draining:
    """This node leaves: others are to go on with what it drives."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """This node ends now."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    pass


Event = (
    AttemptReports
    | Received
    | Changed
    | MayClaim
    | NodeLost
    | NodeJoined
    | LoadSeen
    | HeldTold
    | OrderFailed
    | HandedOver
    | Draining
    | Stopping
    | TimePassed
)


def changed(changes: Changes, *, own: bool) -> Changed:
    """What a driver must hear of a merge. `own`: it began here, where the driver makes the modules' states itself."""
    results = () if own else tuple(r.state for r in changes.modules if r.state.verdict.is_final)
    return Changed(tuple(dict.fromkeys(evaluation.id for evaluation in changes.evaluations)), results)


# What to do ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendOrder:
    """Give a worker (which may be this node's) these modules; OrderFailed where it does not take them."""

    node: str
    order: WorkOrder


@dataclass(frozen=True, slots=True)
class AskHeld:
    """Ask a worker what it has; HeldTold with the answer."""

    node: str
    asked_at: float


@dataclass(frozen=True, slots=True)
class ResolveSources:
    """Fetch what an evaluation's repositories are, unless that is under way."""

    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class HandOver:
    """Have another node store records that make it the owner; HandedOver with what it said."""

    target: str
    changes: Changes


Effect = SendOrder | AskHeld | ResolveSources | HandOver
