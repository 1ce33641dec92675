"""What every sensor promises: the real one on this machine, the fake, and the blind one."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from testmesh.node.working.pressure import BlindSensor, FakeSensor, Sensor, open_sensor
from tests.support.waiting import until

SPIN = "while True: pass"


@pytest.fixture(params=[open_sensor, lambda: FakeSensor(1.5, 2**30), BlindSensor], ids=["real", "fake", "blind"])
def sensor(request: pytest.FixtureRequest) -> Sensor:
    make: Callable[[], Sensor] = request.param
    return make()


def test_it_has_processors_and_perhaps_memory(sensor: Sensor) -> None:
    assert sensor.cores > 0
    assert sensor.memory is None or sensor.memory > 0
    assert sensor.scope


def test_what_it_sees_belongs_to_what_it_has(sensor: Sensor) -> None:
    sample = sensor.read()
    if sample.processors:
        assert min(processors.cores for processors in sample.processors) == pytest.approx(sensor.cores)
    if sample.memory is not None:
        assert sensor.memory is not None
        assert 0 <= sample.memory <= sensor.memory


def test_time_and_what_is_counted_go_forward(sensor: Sensor) -> None:
    first = sensor.read()
    until(lambda: sensor.read().at > first.at + 0.05)
    last = sensor.read()
    assert len(first.processors) == len(last.processors)
    for before, after in zip(first.processors, last.processors, strict=True):
        assert after.waited_s >= before.waited_s
        used = after.busy_s - before.busy_s
        ticks = 0.02 * after.cores + 0.02  # the kernel rounds
        assert -ticks <= used <= after.cores * (last.at - first.at) + 0.2 + ticks


def test_it_counts_its_own_processes_that_compute(sensor: Sensor) -> None:
    assert sensor.own_ready() >= 0


def test_a_process_that_computes_is_seen() -> None:
    sensor = open_sensor()
    if isinstance(sensor, BlindSensor):
        pytest.skip("this machine tells nothing")
    with subprocess.Popen([sys.executable, "-c", SPIN]) as spinning:
        try:
            until(lambda: sensor.own_ready() >= 1)
            first = sensor.read().processors[0]
            until(lambda: sensor.read().processors[0].busy_s >= first.busy_s + 0.1)
        finally:
            spinning.kill()


def test_the_fake_is_as_busy_as_it_is_told() -> None:
    sensor = FakeSensor(cores=2.0)
    sensor.keep_busy(3.0)
    first = sensor.read()
    until(lambda: sensor.read().at > first.at + 0.02)
    last = sensor.read()
    seconds = last.at - first.at
    (before,), (after,) = first.processors, last.processors
    assert after.busy_s - before.busy_s == pytest.approx(2.0 * seconds)
    assert after.waited_s - before.waited_s == pytest.approx(1.0 * seconds)
