"""What is ready is started when there is room and a gate is free; what is cancelled is not."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from testmesh.node.working.pressure import BlindSensor, FakeSensor, Sensor
from testmesh.node.working.starter import Running, Starter
from testmesh.testing.start_gate import OpenGate
from tests.support.waiting import until


@dataclass(eq=False)
class Item:
    alone: bool = False
    is_wanted: bool = True
    may_begin: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)
    started: bool = False
    ended: bool = False


class FewGates:
    def __init__(self, free: int) -> None:
        self.free = free
        self.refused = 0
        self.lock = threading.Lock()

    def enter(self) -> OpenGate | None:
        with self.lock:
            if self.free <= 0:
                self.refused += 1
                return None
            self.free -= 1
        return self.open_one()

    def open_one(self) -> OpenGate:
        once = iter([1])

        def open_gate() -> None:
            with self.lock:
                self.free += next(once, 0)

        return open_gate


class Setup:
    def __init__(self, now: Callable[[], float] = time.monotonic, sensor: Sensor | None = None) -> None:
        self.sensor = FakeSensor(cores=8.0)
        self.gates = FewGates(100)
        self.unwanted: list[Item] = []
        self.starter: Starter[Item] = Starter(
            20, sensor or self.sensor, self.gates, self.run, self.unwanted.append, now
        )
        self.items: list[Item] = []

    def run(self, item: Item, running: Running) -> None:
        item.started = True
        item.may_begin.wait(30)
        running.begun()
        item.may_end.wait(30)
        item.ended = True

    def offer(self, *items: Item) -> None:
        for item in items:
            self.items.append(item)
            self.starter.offer("e", len(self.items), item)

    def started(self) -> int:
        return sum(item.started for item in self.items)


@pytest.fixture
def setup() -> Iterator[Setup]:
    found = Setup()
    yield found
    for item in found.items:
        item.may_begin.set()
        item.may_end.set()
    found.starter.stop()


def test_where_there_is_room_all_start(setup: Setup) -> None:
    setup.offer(*(Item() for _ in range(5)))
    until(lambda: setup.started() == 5)


def test_a_gate_is_held_until_the_tests_begin(setup: Setup) -> None:
    setup.gates.free = 1
    setup.offer(Item(), Item())
    until(lambda: setup.started() == 1)
    setup.items[0].may_begin.set()
    until(lambda: setup.started() == 2)
    assert not setup.items[0].ended


def test_a_start_that_hangs_gives_its_gate_to_the_next(setup: Setup) -> None:
    setup.gates.free = 1
    setup.offer(Item(), Item(), Item())
    until(lambda: setup.started() == 3)


def test_each_gate_is_given_back_once(setup: Setup) -> None:
    setup.gates.free = 2
    setup.offer(*(Item() for _ in range(6)))
    for item in setup.items:
        item.may_begin.set()
        item.may_end.set()
    until(lambda: all(item.ended for item in setup.items))
    until(lambda: setup.gates.free == 2)


def test_what_another_node_holds_is_tried_again(setup: Setup) -> None:
    setup.gates.free = 0
    setup.offer(Item())
    until(lambda: setup.sensor.reads > 2)
    assert setup.started() == 0
    setup.gates.free = 1
    until(lambda: setup.started() == 1)


class TestGatesThatNobodyOpens:
    """Those of a node that is stopped. Time stands still but where it is said to pass."""

    @pytest.fixture
    def time_passes(self) -> list[float]:
        return [1000.0]

    @pytest.fixture
    def setup(self, time_passes: list[float]) -> Iterator[Setup]:
        found = Setup(lambda: sum(time_passes), BlindSensor(8.0))
        found.gates.free = 0
        yield found
        for item in found.items:
            item.may_begin.set()
            item.may_end.set()
        found.starter.stop()

    def refused_again(self, setup: Setup) -> None:
        refused = setup.gates.refused
        until(lambda: setup.gates.refused > refused + 1)

    def test_are_waited_for_for_a_while_only(self, setup: Setup, time_passes: list[float]) -> None:
        setup.offer(Item())
        self.refused_again(setup)
        time_passes.append(0.5)
        self.refused_again(setup)
        assert setup.started() == 0
        time_passes.append(0.2)
        until(lambda: setup.started() == 1)

    def test_then_one_starts_at_a_time(self, setup: Setup, time_passes: list[float]) -> None:
        setup.offer(Item(), Item())
        self.refused_again(setup)
        time_passes.append(0.7)
        until(lambda: setup.started() == 1)
        self.refused_again(setup)
        assert setup.started() == 1
        setup.items[0].may_begin.set()
        until(lambda: setup.started() == 2)

    def test_one_that_was_opened_meanwhile_is_waited_for_again(self, setup: Setup, time_passes: list[float]) -> None:
        setup.offer(Item(), Item())
        self.refused_again(setup)
        time_passes.append(0.5)
        setup.gates.free = 1
        until(lambda: setup.started() == 1)
        setup.gates.free = -1  # another node waits for the one that is held
        setup.items[0].may_begin.set()
        until(lambda: setup.gates.free == 0)
        self.refused_again(setup)
        time_passes.append(0.2)
        self.refused_again(setup)
        assert setup.started() == 1
        time_passes.append(0.5)
        until(lambda: setup.started() == 2)

    def test_what_comes_later_does_not_count_the_time_when_nothing_waited(
        self, setup: Setup, time_passes: list[float]
    ) -> None:
        cancelled = Item()
        setup.offer(cancelled)
        self.refused_again(setup)
        cancelled.is_wanted = False
        setup.starter.look()
        until(lambda: setup.unwanted == [cancelled])
        time_passes.append(100.0)
        setup.offer(Item())
        self.refused_again(setup)
        assert setup.started() == 0


@pytest.mark.parametrize("alone", [False, True])
def test_where_the_system_gives_no_thread_it_is_tried_again_and_run_once(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    fails = iter([1])
    start = threading.Thread.start

    def no_thread(thread: threading.Thread) -> None:
        if thread.name.startswith("module") and next(fails, 0):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    runs = []
    perform = setup.run

    def run(item: Item, running: Running) -> None:
        runs.append(item)
        perform(item, running)

    monkeypatch.setattr(setup.starter, "_run", run)
    setup.gates.free = 1
    setup.offer(Item(alone=alone), Item())
    for item in setup.items:
        item.may_begin.set()
        item.may_end.set()
    until(lambda: all(item.ended for item in setup.items))
    until(lambda: setup.gates.free == 1)
    assert runs == setup.items


def test_what_is_cancelled_while_it_waits_is_handed_back(setup: Setup) -> None:
    setup.gates.free = 0
    item = Item()
    setup.offer(item)
    item.is_wanted = False
    setup.starter.look()
    until(lambda: setup.unwanted == [item])
    assert not item.started


def test_a_run_that_raises_makes_room_all_the_same(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(item: Item, running: Running) -> None:
        item.started = True
        raise ValueError("unforeseen")

    monkeypatch.setattr(setup.starter, "_run", fail)
    alone = [Item(alone=True), Item(alone=True)]
    setup.offer(*alone)
    until(lambda: setup.started() == 2)


def test_threads_are_made_as_they_are_needed(setup: Setup) -> None:
    before = {thread.name for thread in threading.enumerate()}
    setup.offer(Item(), Item())
    until(lambda: setup.started() == 2)
    made = [thread.name for thread in threading.enumerate() if thread.name not in before]
    assert len([name for name in made if name.startswith("module")]) <= 2


def test_stopping_waits_for_what_runs_and_starts_nothing_more() -> None:
    setup = Setup()
    setup.gates.free = 1
    running, waiting = Item(), Item()
    running.may_begin.set()
    setup.offer(running)
    until(lambda: running.started and setup.gates.free == 1)
    setup.gates.free = 0
    setup.offer(waiting)
    stopper = threading.Thread(target=setup.starter.stop)
    stopper.start()
    running.may_end.set()
    stopper.join(30)
    assert running.ended
    assert not waiting.started
