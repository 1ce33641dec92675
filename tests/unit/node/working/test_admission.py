"""What one sees of a machine decides whether a module more may start; on a simulated machine that keeps it busy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import pytest

from testmesh.node.working.admission import (
    HOLD_S,
    MIB,
    Admission,
    Answer,
    Processors,
    Run,
    Sample,
    automatic_slots,
    processor_was_short,
)


class Watched(Admission):
    """One that sees every 50 ms how many tasks compute, or want to."""

    at, busy_s, waited_s = 9.7, 0.0, 0.0
    free: int | None = None

    def sees(self, demand: float, until: float) -> None:
        self.seen(self.sample())
        for _ in range(round((until - self.at) / 0.05)):
            self.at += 0.05
            busy = min(demand, self.cores)
            self.busy_s += 0.05 * busy
            self.waited_s += 0.05 * (demand - busy)
            self.seen(self.sample())

    def sample(self) -> Sample:
        return Sample(self.at, (Processors(self.cores, self.busy_s, self.waited_s),), self.free)


def watched(
    demand: float, *, cores: float = 2.0, slots: int = 100, memory: int | None = None, free: int | None = None
) -> Watched:
    """It has seen that until 10.0."""
    admission = Watched(slots, cores, memory)
    admission.free = free
    admission.sees(demand, 10.0)
    return admission


def old_run(admission: Admission, *, alone: bool = False) -> Run:
    """One that began its tests long before 10.0."""
    run = admission.started(1.0, alone=alone)
    admission.begun(run, 1.1)
    return run


class TestProcessor:
    @pytest.mark.parametrize(
        ("demand", "answer"),
        [
            (0.0, Answer.YES),
            (1.0, Answer.YES),
            (1.65, Answer.YES),
            (1.9, Answer.NO_PROCESSOR),
            (2.0, Answer.NO_PROCESSOR),
            (4.0, Answer.NO_PROCESSOR),
        ],
    )
    def test_one_more_where_a_good_part_of_a_processor_is_free(self, demand: float, answer: Answer) -> None:
        admission = watched(demand)
        for _ in range(20):
            old_run(admission)
        assert admission.may_start(10.0, alone=False) is answer

    @pytest.mark.parametrize("demand", [0.0, 2.0, 50.0])
    def test_where_nothing_runs_always_one(self, demand: float) -> None:
        assert watched(demand).may_start(10.0, alone=False) is Answer.YES
        assert Admission(1, 2.0).may_start(10.0, alone=False) is Answer.YES, "nothing was measured yet"

    def test_what_is_starting_counts_before_it_can_be_measured(self) -> None:
        admission = watched(0.0)
        admission.started(10.0, alone=False)
        assert admission.may_start(10.0, alone=False) is Answer.YES
        admission.started(10.0, alone=False)
        assert admission.may_start(10.0, alone=False) is Answer.NO_PROCESSOR

    def test_as_soon_as_one_has_begun_its_successor_starts(self) -> None:
        admission = watched(0.0)
        runs = [admission.started(10.0, alone=False) for _ in range(2)]
        admission.sees(2.0, 10.1)
        assert admission.may_start(10.1, alone=False) is Answer.NO_PROCESSOR
        admission.begun(runs[0], 10.1)
        assert admission.may_start(10.1, alone=False) is Answer.YES

    def test_a_start_that_only_waits_does_not_hold_up_the_others_for_long(self) -> None:
        admission = watched(0.0)
        for _ in range(2):
            admission.started(10.0, alone=False)
        assert admission.next_hold_over(10.0) == 10.0 + HOLD_S
        admission.sees(0.0, 10.3)
        assert admission.may_start(10.3, alone=False) is Answer.YES
        assert admission.next_hold_over(10.3) is None

    def test_a_long_start_that_computes_is_measured(self) -> None:
        admission = watched(0.0)
        for _ in range(2):
            admission.started(10.0, alone=False)
        admission.sees(2.0, 10.4)
        assert admission.may_start(10.4, alone=False) is Answer.NO_PROCESSOR

    def test_when_one_that_computed_has_ended_the_next_starts_at_once(self) -> None:
        admission = watched(2.0)
        runs = [old_run(admission) for _ in range(2)]
        assert admission.may_start(10.0, alone=False) is Answer.NO_PROCESSOR
        admission.ended(runs[0], 10.0, used_cores=1.0)
        assert admission.may_start(10.0, alone=False) is Answer.YES

    def test_the_end_of_one_that_waited_frees_nothing(self) -> None:
        admission = watched(2.0)
        runs = [old_run(admission) for _ in range(3)]
        admission.ended(runs[0], 10.0, used_cores=0.01)
        assert admission.may_start(10.0, alone=False) is Answer.NO_PROCESSOR

    def test_an_overload_by_others_is_no_room_when_one_has_begun(self) -> None:
        admission = watched(4.0)
        old_run(admission)
        run = admission.started(10.0, alone=False)
        admission.sees(5.0, 10.1)
        admission.begun(run, 10.1)
        assert admission.may_start(10.1, alone=False) is Answer.NO_PROCESSOR

    @pytest.mark.parametrize(
        ("machine", "group", "answer"),
        [
            (1.0, 1.0, Answer.NO_PROCESSOR),
            (1.0, 0.1, Answer.YES),
            (8.0, 0.1, Answer.YES),  # full of other nodes with half a core each
            (15.5, 0.1, Answer.NO_PROCESSOR),
        ],
    )
    def test_with_half_a_core_of_a_machine_its_own_part_must_have_room(
        self, machine: float, group: float, answer: Answer
    ) -> None:
        admission = Admission(100, 0.5)
        for at in (9.7, 9.8, 9.9, 10.0):
            whole = Processors(8.0, min(8.0, machine) * at, max(0.0, machine - 8.0) * at)
            part = Processors(0.5, min(0.5, group) * at, max(0.0, group - 0.5) * at, window_s=0.2)
            admission.seen(Sample(at, (whole, part)))
        old_run(admission)
        assert admission.may_start(10.0, alone=False) is answer

    def test_half_a_core_takes_many_that_wait(self) -> None:
        admission = watched(0.05, cores=0.5)
        for _ in range(10):
            old_run(admission)
        assert admission.may_start(10.0, alone=False) is Answer.YES

    def test_one_look_alone_tells_nothing(self) -> None:
        admission = Admission(100, 2.0)
        admission.seen(Sample(10.0, (Processors(2.0, 0.0, 0.0),)))
        old_run(admission)
        assert admission.may_start(10.0, alone=False) is Answer.NO_PROCESSOR
        admission.seen(Sample(10.05, (Processors(2.0, 0.0, 0.0),)))
        assert admission.may_start(10.05, alone=False) is Answer.YES

    def test_what_was_seen_long_ago_tells_nothing(self) -> None:
        admission = watched(0.0)
        old_run(admission)
        admission.seen(Sample(20.0, (Processors(2.0, 5.0, 0.0),)))
        assert admission.may_start(20.0, alone=False) is Answer.NO_PROCESSOR

    def test_a_new_measurement_is_needed_after_a_moment(self) -> None:
        admission = Admission(100, 2.0)
        assert admission.needs_measuring(10.0)
        admission.seen(Sample(10.0))
        assert not admission.needs_measuring(10.005)
        assert admission.needs_measuring(10.01)


class TestFewerThanProcessors:
    @pytest.mark.parametrize(("demand", "answer"), [(2.0, Answer.YES), (2.9, Answer.YES), (3.5, Answer.NO_PROCESSOR)])
    def test_as_many_as_there_are_processors_run_unless_others_ask_for_far_more(
        self, demand: float, answer: Answer
    ) -> None:
        admission = watched(demand)
        old_run(admission)
        assert admission.may_start(10.0, alone=False) is answer
        old_run(admission)
        assert admission.may_start(10.0, alone=False) is Answer.NO_PROCESSOR


class TestOthersCompute:
    """The processors have no room. It is looked at whose processes compute."""

    def crowded(self, runs: int, looks: Sequence[int]) -> Answer:
        """`looks`: how many of the worker's own processes want a processor."""
        admission = watched(4.0)
        for _ in range(runs):
            old_run(admission)
        for ready in looks:
            admission.seen_own(10.0, ready)
        return admission.may_start(10.0, alone=False)

    def test_what_waits_here_is_not_held_up_by_others_who_compute(self) -> None:
        assert self.crowded(1, [0, 0]) is Answer.YES
        assert self.crowded(20, [1, 1]) is Answer.YES

    @pytest.mark.parametrize(
        ("runs", "looks"), [(1, [0]), (1, [1, 1]), (1, [0, 1]), (5, [1, 1]), (40, [2, 2]), (1, [])]
    )
    def test_but_what_computes_here_has_no_more_beside_it(self, runs: int, looks: Sequence[int]) -> None:
        assert self.crowded(runs, looks) is Answer.NO_PROCESSOR

    def test_each_one_more_takes_another_look(self) -> None:
        admission = watched(4.0)
        old_run(admission)
        for _ in range(2):
            admission.seen_own(10.0, 0)
        admission.begun(admission.started(10.0, alone=False), 10.0)
        assert admission.may_start(10.0, alone=False) is Answer.NO_PROCESSOR
        assert not admission.needs_look_at_own(10.2)
        assert admission.needs_look_at_own(10.25)
        admission.seen_own(10.25, 0)
        assert admission.may_start(10.25, alone=False) is Answer.YES

    def test_what_is_starting_may_compute_but_has_few_beside_it(self) -> None:
        admission = watched(4.0)
        old_run(admission)
        admission.started(9.0, alone=False)
        for _ in range(2):
            admission.seen_own(10.0, 1)
        assert admission.may_start(10.0, alone=False) is Answer.YES
        admission.started(10.0, alone=False)
        for _ in range(2):
            admission.seen_own(10.25, 2)
        assert admission.may_start(10.25, alone=False) is Answer.NO_PROCESSOR


class TestOtherBounds:
    def test_no_more_than_the_slots(self) -> None:
        admission = watched(0.0, slots=3)
        for _ in range(3):
            old_run(admission)
        assert admission.may_start(10.0, alone=False) is Answer.WHEN_ONE_CHANGES

    def test_what_must_run_alone_waits_until_nothing_runs(self) -> None:
        admission = watched(0.0)
        run = old_run(admission)
        assert admission.may_start(10.0, alone=True) is Answer.WHEN_ONE_CHANGES
        admission.ended(run, 10.0, 0.0)
        assert admission.may_start(10.0, alone=True) is Answer.YES

    def test_nothing_starts_beside_what_must_run_alone(self) -> None:
        admission = watched(0.0)
        old_run(admission, alone=True)
        assert admission.may_start(10.0, alone=False) is Answer.WHEN_ONE_CHANGES

    @pytest.mark.parametrize(("free", "answer"), [(1024, Answer.YES), (170, Answer.YES), (160, Answer.SOON)])
    def test_none_more_where_memory_is_short(self, free: int, answer: Answer) -> None:
        admission = watched(0.0, memory=1024 * MIB, free=free * MIB)
        old_run(admission)
        assert admission.may_start(10.0, alone=False) is answer

    def test_what_has_just_started_will_want_memory_too(self) -> None:
        admission = watched(0.0, cores=8.0, memory=1024 * MIB, free=300 * MIB)
        for _ in range(2):
            admission.started(10.0, alone=False)
        assert admission.may_start(10.0, alone=False) is Answer.YES
        admission.started(10.0, alone=False)
        assert admission.may_start(10.0, alone=False) is Answer.SOON

    def test_where_nothing_can_be_measured_twice_the_cores_run(self) -> None:
        admission = Admission(100, 3.0)
        admission.seen(Sample(10.0))
        for _ in range(5):
            old_run(admission)
        assert admission.may_start(10.0, alone=False) is Answer.YES
        old_run(admission)
        assert admission.may_start(10.0, alone=False) is Answer.WHEN_ONE_CHANGES


@pytest.mark.parametrize(
    ("cores", "memory", "slots"),
    [
        (2.0, 24 * 1024 * MIB, 64),
        (0.5, 24 * 1024 * MIB, 16),
        (2.0, 1024 * MIB, 16),
        (2.0, 256 * MIB, 4),
        (128.0, None, 1024),
        (1.0, 10 * MIB, 1),
    ],
)
def test_the_cap_that_nobody_set(cores: float, memory: int | None, slots: int) -> None:
    assert automatic_slots(cores, memory) == slots


class TestStarved:
    @pytest.mark.parametrize(
        ("busy", "waited", "short"),
        [(2.0, 2.0, True), (2.0, 0.6, True), (2.0, 0.3, False), (0.4, 0.4, False), (0.0, 0.0, False)],
    )
    def test_the_processor_was_short_where_tasks_waited_long(self, busy: float, waited: float, short: bool) -> None:
        first = Sample(10.0, (Processors(2.0, 100.0, 50.0),))
        last = Sample(40.0, (Processors(2.0, 100.0 + 30 * busy, 50.0 + 30 * waited),))
        assert processor_was_short(first, last) is short

    def test_or_where_its_group_was_throttled(self) -> None:
        first = Sample(10.0, (Processors(2.0, 0.0, 0.0), Processors(0.5, 0.0, 0.0)))
        last = Sample(20.0, (Processors(2.0, 5.0, 0.0), Processors(0.5, 5.0, 15.0)))
        assert processor_was_short(first, last)

    def test_only_what_ran_beside_others_was_starved_by_them(self) -> None:
        last = Sample(30.0, (Processors(2.0, 40.0, 40.0),))
        admission = Admission(100, 2.0)
        admission.seen(Sample(10.0, (Processors(2.0, 0.0, 0.0),)))
        run = admission.started(10.0, alone=False)
        assert not admission.was_starved(run, last)
        other = admission.started(11.0, alone=False)
        assert admission.was_starved(run, last)
        assert admission.was_starved(other, last)


# A simulated machine -------------------------------------------------------------------------

_STEP_S = 0.002
COMPUTE, WAIT = True, False


@dataclass
class Module:
    """`phases`: whether it computes, and how long. Its tests begin after the first."""

    phases: Sequence[tuple[bool, float]]
    at: int = 0
    left: float = 0.0
    used_s: float = 0.0
    run: Run | None = None


@dataclass
class Machine:
    """Tasks share the processors evenly; the kernel counts in hundredths of a second."""

    cores: int = 2
    others: int = 0  # tasks of others, that always compute
    now: float = 0.0
    busy_s: float = 0.0
    waited_s: float = 0.0
    useful_s: float = 0.0
    most: int = 0
    most_computing: int = 0
    running: list[Module] = field(default_factory=list)

    def run(self, modules: Iterable[Module]) -> float:
        """Until all have ended; gives how long it took."""
        admission, waiting = Admission(1000, float(self.cores)), list(modules)
        look_at = 0.0
        while waiting or self.running:
            changed = self._pass_time(admission)
            if waiting and (changed or self.now >= look_at):
                self._start(admission, waiting)
                look_at = self.now + 0.05
            self.most = max(self.most, len(self.running))
            assert self.now < 1000
        return self.now

    def _start(self, admission: Admission, waiting: list[Module]) -> None:
        while waiting:
            if admission.needs_measuring(self.now):
                counted = int(self.busy_s * 100) / 100
                admission.seen(Sample(self.now, (Processors(float(self.cores), counted, self.waited_s),)))
            if admission.may_start(self.now, alone=False) is not Answer.YES:
                return
            module = waiting.pop(0)
            module.run, module.left = admission.started(self.now, alone=False), module.phases[0][1]
            self.running.append(module)

    def _pass_time(self, admission: Admission) -> bool:
        computing = sum(module.phases[module.at][0] for module in self.running)
        self.most_computing = max(self.most_computing, computing)
        tasks = computing + self.others
        share = min(1.0, self.cores / tasks) if tasks else 0.0
        self.now += _STEP_S
        self.busy_s += min(tasks, self.cores) * _STEP_S
        self.waited_s += min(max(0, tasks - self.cores), self.cores) * _STEP_S  # the kernel tells no more than that
        self.useful_s += computing * share * _STEP_S
        changed = False
        for module in list(self.running):
            assert module.run is not None
            computes = module.phases[module.at][0]
            module.left -= share * _STEP_S if computes else _STEP_S
            module.used_s += share * _STEP_S if computes else 0.0
            if module.left > 1e-9:
                continue
            changed = True
            module.at += 1
            if module.at == 1:
                admission.begun(module.run, self.now)
            if module.at < len(module.phases):
                module.left = module.phases[module.at][1]
            else:
                self.running.remove(module)
                admission.ended(module.run, self.now, module.used_s / (self.now - module.run.started_at))
        return changed


def modules(number: int, *shapes: tuple[tuple[bool, float], ...]) -> list[Module]:
    return [Module(shape) for shape in islice(cycle(shapes), number)]


START, WARM_START = (COMPUTE, 0.36), (COMPUTE, 0.07)


def test_modules_that_wait_all_run_at_once() -> None:
    machine = Machine()
    took = machine.run(modules(32, *((WARM_START, (WAIT, wait)) for wait in (10.0, 9.0, 8.0, 7.0))))
    assert machine.most == 32
    assert took <= 1.25 * 10.07


def test_starts_of_modules_that_wait_use_all_processors() -> None:
    took = Machine(cores=4).run(modules(64, (START, (WAIT, 10.0))))
    assert took <= 1.25 * (64 * 0.36 / 4 + 10)


def test_of_modules_that_compute_hardly_more_run_than_there_are_processors() -> None:
    machine = Machine()
    computing = modules(40, *((WARM_START, (COMPUTE, length)) for length in (0.5, 3.1, 1.7, 2.3, 0.9)))
    work = sum(length for module in computing for _, length in module.phases)
    took = machine.run(computing)
    assert machine.most <= 3
    assert took <= 1.1 * work / 2


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_tiny_modules_keep_all_processors_busy(cores: int) -> None:
    machine = Machine(cores=cores)
    took = machine.run(modules(200 * cores, ((COMPUTE, 0.06), (COMPUTE, 0.015), (WAIT, 0.01))))
    assert machine.useful_s >= 0.93 * cores * took
    assert machine.most <= 2 * cores + 1


def test_modules_that_compute_and_wait_in_turn_fill_the_gaps_of_each_other() -> None:
    machine = Machine()
    took = machine.run(modules(60, (WARM_START, (COMPUTE, 0.5), (WAIT, 0.5), (COMPUTE, 0.5))))
    assert machine.useful_s >= 0.9 * machine.cores * took


def test_services_that_wait_before_the_tests_begin_do_not_make_a_queue() -> None:
    one = ((COMPUTE, 0.2), (WAIT, 3.0), (COMPUTE, 0.1), (WAIT, 3.0))
    waiting_first = modules(32, ((WAIT, 3.0), *one))
    assert Machine().run(waiting_first) <= 20, "one after the other, two at a time, it would be 150"


def test_a_node_whose_machine_others_overload_goes_on_with_one_at_a_time() -> None:
    machine = Machine(others=4)
    machine.run(modules(6, (WARM_START, (COMPUTE, 0.4))))
    assert machine.most == 1
