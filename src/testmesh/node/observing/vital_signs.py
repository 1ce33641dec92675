"""How this node is: asked by the others, and for people."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from testmesh import __version__
from testmesh.clock import Clock
from testmesh.node.condition import Condition
from testmesh.node.messaging.messages import Load, Vitals
from testmesh.node.observing.load_history import LoadHistory
from testmesh.node.working.admission import Sample
from testmesh.node.working.pressure import BlindSensor, Sensor


class VitalSigns:
    """Safe from any thread. `isolation`: what /health says of the box; `load`: what this node tells its peers."""

    def __init__(
        self,
        address: str,
        condition: Condition,
        load: Callable[[], Load],
        sensor: Sensor | None,
        isolation: Mapping[str, Any],
        clock: Clock,
    ) -> None:
        self._address = address
        self._condition = condition
        self._load = load
        self._sensor = sensor or BlindSensor()
        self._isolation = isolation
        self._clock = clock
        self._born_at = clock.monotonic()
        self._history = LoadHistory(self._sensor.memory)
        self._lock = threading.Lock()

    def tick(self) -> None:
        """Called at least every second; takes a sample when it is time for one."""
        with self._lock:
            if self._history.is_due(self._clock.monotonic()):
                load = self._load()
                self._history.add(self._sample(), load.running, load.waiting)

    def read(self, *, history: bool) -> Vitals:
        load, status = self._load(), self._condition.status
        with self._lock:
            sample = self._sample()
            return Vitals(
                address=self._address,
                status=status,
                sandbox=str(self._isolation["sandbox"]),
                loopback=str(self._isolation["loopback"]),
                version=__version__,
                load=load,
                cpu=self._history.cpu(sample),
                memory=self._history.memory(sample),
                uptime=self._clock.monotonic() - self._born_at,
                history=self._history.moments(sample.at) if history else (),
            )

    def _sample(self) -> Sample:
        try:
            return self._sensor.read()
        except (OSError, ValueError):
            return Sample(self._clock.monotonic())
