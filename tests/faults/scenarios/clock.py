"""Wall clocks that jump."""

from tests.faults.cluster import Cluster
from tests.faults.corpus import sleepers
from tests.faults.model import scenario

HOUR = 3600.0


@scenario(
    "clock-one-ahead",
    "clock",
    "the clock of one node jumps an hour ahead while an evaluation runs",
    needs=("clock",),
)
def one_ahead(cluster: Cluster) -> None:
    evaluation = cluster.submit(sleepers(8))
    cluster.wait_running(at=1)
    cluster.jump_clock(1, HOUR)
    cluster.wait_ended(evaluation)
