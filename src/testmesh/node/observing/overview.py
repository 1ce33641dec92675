"""What operators look at, put together: how this node is, all nodes, metrics."""

import shutil
from collections.abc import Callable, Mapping
from typing import Any

from testmesh.clock import Clock
from testmesh.model import EvaluationStatus
from testmesh.node.condition import Condition
from testmesh.node.copying.copier import Copier
from testmesh.node.membership.membership_events import Health, Member
from testmesh.node.messaging.messages import Load
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.observing.endings import Endings
from testmesh.node.observing.metrics import Figures, Metrics
from testmesh.node.observing.roll_call import RollCall
from testmesh.node.observing.vital_signs import VitalSigns
from testmesh.node.storage.ledger import Ledger
from testmesh.node.working.pressure import Sensor
from testmesh.settings import Settings


class Overview:
    """Safe from any thread. `members` gives all nodes that this one knows of, `streams` how many read live events."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        condition: Condition,
        load: Callable[[], Load],
        sensor: Sensor | None,
        isolation: Mapping[str, Any],
        clock: Clock,
        peers: PeerClient,
        members: Callable[[], tuple[Member, ...]],
        copies: Copier,
        metrics: Metrics,
        streams: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._store = ledger.store
        self._condition = condition
        self._copies = copies
        self._streams = streams
        self.signs = VitalSigns(settings.advertise, condition, load, sensor, isolation, clock)
        self.roll_call = RollCall(self.signs, peers, clock, members)
        self.metrics = metrics
        Endings(settings.advertise, ledger, metrics.evaluation_ended)
        sandbox, loopback = str(isolation["sandbox"]), str(isolation["loopback"])
        metrics.watch(self._figures, {"address": settings.advertise, "sandbox": sandbox, "loopback": loopback})

    def stop(self) -> None:
        self.roll_call.stop()

    def _figures(self) -> Figures:
        queued, running = self._store.unfinished_by_progress()
        vitals = self.signs.read(history=False)
        states = self.roll_call.states()
        lacking, out_of_reach = self._copies.missing()
        return Figures(
            evaluations={EvaluationStatus.QUEUED.value: queued, EvaluationStatus.RUNNING.value: running},
            queue_limit=self._settings.max_queue,
            load=vitals.load,
            nodes={health.name.lower(): states.count(health) for health in Health},
            cpu=vitals.cpu,
            memory=vitals.memory,
            uptime=vitals.uptime,
            disk_free=shutil.disk_usage(self._settings.data_dir).free,
            accepts=self._condition.status == "ok",
            lacking=lacking,
            out_of_reach=out_of_reach,
            streams=self._streams(),
        )
