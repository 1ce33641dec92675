"""Which modules get a second attempt when nothing waits, and where."""

import math
from dataclasses import replace

import pytest

from testmesh.load_balance.policy import Candidate, NodeLoad
from testmesh.node.driving.prediction import Prediction
from testmesh.node.driving.tail import PATIENCE_S, Running, second_attempts

NOW = 1000.0
KNOWN, GUESSED = Prediction(5.0, 5.0, known=True), Prediction(5.0, 5.0, known=False)
IDLE = NodeLoad("idle:1", 8, 0)
BUSY = NodeLoad("busy:1", 8, 2, queued=1, work=10.0)  # runs one of 5 s, another waits
NEEDS = (("environment", 2.0),)


def running(name: str = "m", *, ran: float, prediction: Prediction = KNOWN, node: str = "busy:1") -> Running:
    candidate = Candidate("e", "p", name, frozenset({node}), work=prediction.cpu)
    return Running(candidate, prediction, node, NOW - ran, NOW - ran)


def waiting(name: str = "m", *, since: float = 60.0, prediction: Prediction = KNOWN, node: str = "busy:1") -> Running:
    candidate = Candidate("e", "p", name, frozenset({node}), work=prediction.cpu)
    return Running(candidate, prediction, node, NOW - since, None)


def given(late: list[Running], *nodes: NodeLoad) -> list[tuple[str, str]]:
    return [(p.candidate.module, p.address) for p in second_attempts(late, nodes, NOW)]


class TestWhatRuns:
    @pytest.mark.parametrize(
        ("ran", "prediction", "is_late"),
        [
            (9.9, KNOWN, False),
            (10.1, KNOWN, True),
            (1.9, Prediction(0.1, 0.1, known=True), False),
            (2.1, Prediction(0.1, 0.1, known=True), True),
            (9.9, Prediction(0.1, 0.1, known=False), False),
            (10.1, Prediction(0.1, 0.1, known=False), True),
            (10.1, GUESSED, True),
            (-float("inf"), KNOWN, False),  # nobody knows when it began
        ],
    )
    def test_it_is_late_after_twice_as_long_as_predicted_and_a_while(
        self, ran: float, prediction: Prediction, is_late: bool
    ) -> None:
        assert bool(given([running(ran=ran, prediction=prediction)], BUSY, IDLE)) is is_late

    def test_the_latest_goes_first_and_a_node_takes_as_many_as_it_has_processors(self) -> None:
        late = [running("little", ran=11.0), running("much", ran=60.0), running("more", ran=30.0)]
        assert given(late, BUSY, replace(IDLE, cores=2.0)) == [("much", "idle:1"), ("more", "idle:1")]

    def test_not_where_it_runs_nor_where_it_was_lost(self) -> None:
        assert given([running(ran=60.0, node="idle:1")], IDLE) == []
        lost = running(ran=60.0)
        lost = replace(lost, candidate=replace(lost.candidate, avoid=frozenset({"idle:1"})))
        assert given([lost], BUSY, IDLE) == []

    def test_without_a_free_node_nothing(self) -> None:
        assert given([running(ran=60.0)], BUSY, replace(BUSY, address="other:1")) == []
        assert given([running(ran=60.0)], BUSY, replace(IDLE, slots=0)) == []

    def test_where_the_environment_is_goes_before_where_it_is_not(self) -> None:
        late = running(ran=60.0)
        late = replace(late, candidate=replace(late.candidate, needs=NEEDS))
        warm = replace(IDLE, address="warm:1", has={"environment"})
        assert given([late], BUSY, IDLE, warm) == [("m", "warm:1")]


class TestWhatWaits:
    def test_at_a_busy_node_it_is_begun_at_the_free_one(self) -> None:
        assert given([waiting()], BUSY, IDLE) == [("m", "idle:1")]

    def test_not_before_its_order_can_have_come(self) -> None:
        assert given([waiting(since=PATIENCE_S / 2)], BUSY, IDLE) == []

    def test_not_where_the_other_is_only_preparing_it(self) -> None:
        assert given([waiting(since=1.9)], replace(BUSY, assigned=1, queued=1), IDLE) == []

    @pytest.mark.parametrize(
        ("why", "needs", "since", "quiet", "is_late"),
        [
            ("its code should be there", (("code", 0.2),), 2.9, math.inf, True),
            ("it is on its way", (("code", 0.2),), 2.7, math.inf, False),
            ("its environment may be being built", (*NEEDS, ("code", 0.2)), 10.7, math.inf, False),
            ("nor should that take so long", (*NEEDS, ("code", 0.2)), 10.9, math.inf, True),
            ("other modules began before it came", (("code", 0.2),), 9.0, 9.5, True),
            ("others begin: it will have its turn", (("code", 0.2),), 9.0, 8.5, False),
        ],
    )
    def test_but_where_the_preparation_hangs_or_anothers_module_runs_alone(
        self, why: str, needs: tuple[tuple[str, float], ...], since: float, quiet: float, is_late: bool
    ) -> None:
        one = waiting(since=since, prediction=Prediction(1.0, 1.0, known=True))
        one = replace(one, candidate=replace(one.candidate, needs=needs))
        there = NodeLoad("busy:1", 8, 2, cores=2.0, queued=1, work=1.5, quiet=quiet)
        assert bool(given([one], there, IDLE)) is is_late, why

    def test_not_where_bringing_what_it_needs_takes_longer_than_waiting(self) -> None:
        one = waiting(since=1.0, prediction=Prediction(1.0, 1.0, known=True))
        one = replace(one, candidate=replace(one.candidate, needs=NEEDS))
        assert given([one], replace(BUSY, work=2.5), IDLE) == []
        assert given([one], replace(BUSY, work=3.5), IDLE) == [("m", "idle:1")]

    def test_the_longest_goes_first_and_before_all_that_runs(self) -> None:
        late = [
            running("runs", ran=90.0),
            waiting("short", prediction=Prediction(1.0, 1.0, known=True)),
            waiting("long"),
        ]
        assert given(late, BUSY, replace(IDLE, cores=3.0)) == [
            ("long", "idle:1"),
            ("short", "idle:1"),
            ("runs", "idle:1"),
        ]

    def test_at_a_node_that_nothing_is_known_of_it_stays(self) -> None:
        assert given([waiting(node="resting:1")], BUSY, IDLE) == []
