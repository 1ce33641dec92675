"""What a scenario is, and what running one found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.faults.cluster import Cluster

Group = Literal["process", "network", "disk", "clock", "client", "nemesis"]
GROUPS: tuple[Group, ...] = ("process", "network", "disk", "clock", "client", "nemesis")
Need = Literal["network", "clock", "disk", "nginx"]


@dataclass(frozen=True)
class Scenario:
    """A fault and what happens around it. `run` returns when the fault is over; the checks of invariants follow.

    needs         what the machine must give, or it is skipped: faults of the network, clocks that jump, small disks,
                  Nginx
    allows        what else is no breach: "replaced", that the two sides of a partition each finish a module, so that a
                  final result is replaced at most once; "deaths", false ones (E), as at 30 % loss
    disks         bytes of the disk that a node has to itself, by number
    settings      MESH_ variables for all nodes
    """

    name: str
    group: Group
    says: str
    run: "Callable[[Cluster], None]"
    nodes: int = 3
    is_short: bool = False
    needs: frozenset[Need] = frozenset()
    allows: frozenset[Literal["replaced", "deaths"]] = frozenset()
    disks: Mapping[int, int] | None = None
    settings: Mapping[str, str] | None = None


def scenario(
    name: str,
    group: Group,
    says: str,
    *,
    nodes: int = 3,
    is_short: bool = False,
    needs: tuple[Need, ...] = (),
    allows: tuple[Literal["replaced", "deaths"], ...] = (),
    disks: Mapping[int, int] | None = None,
    settings: Mapping[str, str] | None = None,
) -> "Callable[[Callable[[Cluster], None]], Scenario]":
    """Makes a Scenario of the function below it. The catalogue finds those in tests/faults/scenarios/."""

    def made(run: "Callable[[Cluster], None]") -> Scenario:
        return Scenario(name, group, says, run, nodes, is_short, frozenset(needs), frozenset(allows), disks, settings)

    return made


@dataclass(frozen=True)
class Record:
    """What running a scenario found. Times in seconds; None: it was not a question here."""

    name: str
    group: Group
    says: str
    skipped: str = ""  # why it could not be run here
    broken: tuple[str, ...] = ()  # each begins with the invariant's letter
    duration: float = 0.0
    evaluations: int = 0
    modules: int = 0
    noticed: tuple[float, ...] = ()  # by each survivor, from the fault to its log's line that the node is dead
    moved: tuple[float, ...] = ()  # from then until all modules of the dead node ran elsewhere
    equal_after: float | None = None  # from the end of the faults and of the evaluations until all stores were equal
    replaced: int = 0  # final results that gave way to another one
    repeated: int = 0  # attempts beyond a module's first

    @property
    def held(self) -> bool:
        return not self.broken and not self.skipped
