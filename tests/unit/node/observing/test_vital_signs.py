"""How a node is: a sample every ten seconds, also where the machine does not tell everything."""

from pathlib import Path

import pytest

import testmesh
from testmesh.clock import FakeClock
from testmesh.node.condition import Condition
from testmesh.node.messaging.messages import Load
from testmesh.node.observing.vital_signs import VitalSigns
from testmesh.node.working.admission import Processors, Sample


class Machine:
    """One processor that is half busy, by the clock of a test; `broken`: it cannot be measured just now."""

    def __init__(self, clock: FakeClock) -> None:
        self.cores, self.scope = 1.0, "machine"
        self.memory: int | None = 1000
        self._clock = clock
        self.broken = False
        self.reads = 0

    def read(self) -> Sample:
        self.reads += 1
        if self.broken:
            raise OSError("/proc is not there")
        now = self._clock.monotonic()
        return Sample(now, (Processors(1.0, now / 2, 0.0),), 400)

    def own_ready(self) -> int:
        return 0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def machine(clock: FakeClock) -> Machine:
    return Machine(clock)


@pytest.fixture
def signs(clock: FakeClock, machine: Machine, tmp_path: Path) -> VitalSigns:
    isolation = {"sandbox": "portable", "loopback": "shared", "cause": "why"}
    return VitalSigns("a:1", Condition(tmp_path), lambda: Load(8, 2, 3, 1.0), machine, isolation, clock)


def test_ticks_take_a_sample_every_ten_seconds(signs: VitalSigns, clock: FakeClock, machine: Machine) -> None:
    for _ in range(41):
        signs.tick()
        clock.advance(0.5)
    assert machine.reads == 3
    vitals = signs.read(history=True)
    assert [(m.age, m.running, m.waiting, m.cpu) for m in vitals.history] == [
        (20.5, 2, 3, None),
        (10.5, 2, 3, 0.5),
        (0.5, 2, 3, 0.5),
    ]


def test_it_says_all_of_itself(signs: VitalSigns, clock: FakeClock) -> None:
    signs.tick()
    clock.advance(5.0)
    vitals = signs.read(history=False)
    assert (vitals.address, vitals.status, vitals.version) == ("a:1", "ok", testmesh.__version__)
    assert (vitals.sandbox, vitals.loopback, vitals.load) == ("portable", "shared", Load(8, 2, 3, 1.0))
    assert (vitals.cpu, vitals.memory, vitals.uptime, vitals.history) == (0.5, 0.6, 5.0, ())


def test_what_cannot_be_measured_just_now_is_not_known(signs: VitalSigns, clock: FakeClock, machine: Machine) -> None:
    machine.broken = True
    signs.tick()
    clock.advance(10.0)
    machine.broken = False
    signs.tick()
    assert [moment.cpu for moment in signs.read(history=True).history] == [None, None]
    machine.broken = True
    assert (signs.read(history=True).cpu, signs.read(history=True).memory) == (None, None)
