"""Who copies which archives where to: every lost copy is made again, once, and nodes that know the same agree."""

from collections.abc import Collection, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.node.copying.copies import Bundle, Copy, Keep, Step, bundle_of, hand_over, missing, plan, questions
from testmesh.node.membership.ownership import rendezvous
from tests.support.records import ARCHIVE, evaluation

NODES = ("a:1", "b:1", "c:1", "d:1", "e:1")
OTHER = "b" * 64


def bundle(
    name: str = "e1",
    holders: Collection[str] = ("a:1", "b:1"),
    *,
    archives: Collection[str] = (ARCHIVE,),
    finished: bool = False,
    at: float = 1.0,
) -> Bundle:
    return Bundle(name, frozenset(archives), frozenset(holders), finished, at)


def on(*nodes: str, live: Collection[str] = NODES, archive: str = ARCHIVE) -> dict[str, dict[str, bool]]:
    """What nodes say where these have it."""
    return {node: {archive: node in nodes} for node in live}


def all_steps(
    bundles: Collection[Bundle], live: Collection[str], said: Mapping[str, Mapping[str, bool]], replicas: int = 2
) -> dict[str, list[Step]]:
    found = {node: plan(bundles, node, live, said, replicas) for node in live}
    return {node: steps for node, steps in found.items() if steps}


def test_with_copies_enough_nobody_does_anything() -> None:
    assert all_steps([bundle()], NODES, on("a:1", "b:1")) == {}


def test_with_more_than_enough_they_are_left() -> None:
    assert all_steps([bundle(holders=NODES)], NODES, on(*NODES)) == {}


def test_when_a_holder_dies_one_who_has_it_copies_it_to_the_next_in_the_order() -> None:
    live = ("a:1", "c:1", "d:1")
    order = tuple(rendezvous("e1", ("c:1", "d:1")))
    assert all_steps([bundle()], live, on("a:1", live=live)) == {"a:1": [Copy(bundle(), order, 1)]}


def test_of_several_who_have_it_only_one_copies() -> None:
    steps = all_steps([bundle(holders=("a:1", "b:1", "c:1"))], ("a:1", "b:1", "d:1"), {}, replicas=3)
    assert list(steps) == [rendezvous("e1", ("a:1", "b:1"))[0]]


def test_in_a_mesh_of_two_there_is_nobody_to_copy_to_beyond_the_other() -> None:
    assert all_steps([bundle()], ("a:1", "b:1"), {}, replicas=5) == {}
    assert all_steps([bundle()], ("a:1",), {}, replicas=5) == {}


def test_a_holder_that_came_back_without_it_fetches_it_and_is_the_first_to_be_copied_to() -> None:
    steps = all_steps([bundle()], NODES, on("a:1"))
    assert steps["b:1"] == [Keep(bundle(), ("a:1",))]
    (copy,) = steps["a:1"]
    assert isinstance(copy, Copy)
    assert (copy.targets[0], copy.wanted) == ("b:1", 1)
    assert set(steps) == {"a:1", "b:1"}


def test_who_has_it_without_having_promised_is_copied_to_first() -> None:
    (copy,) = plan([bundle(holders=("a:1",))], "a:1", NODES, on("a:1", "d:1"), 2)
    assert isinstance(copy, Copy)
    assert copy.targets[0] == "d:1"


def test_where_no_holder_is_left_one_who_happens_to_have_it_becomes_one() -> None:
    live = ("c:1", "d:1", "e:1")
    first, second = rendezvous("e1", ("c:1", "d:1"))
    assert all_steps([bundle()], live, on("c:1", "d:1", live=live)) == {first: [Keep(bundle(), (second,))]}


def test_parts_on_several_nodes_are_brought_together() -> None:
    both = bundle(holders=("x:1",), archives=(ARCHIVE, OTHER))
    said = {"c:1": {ARCHIVE: True, OTHER: False}, "d:1": {ARCHIVE: False, OTHER: True}}
    first, second = rendezvous("e1", ("c:1", "d:1"))
    assert all_steps([both], ("c:1", "d:1", "e:1"), said) == {first: [Keep(both, (second,))]}


@pytest.mark.parametrize("archives", [(ARCHIVE,), (ARCHIVE, OTHER)])
def test_what_nobody_has_waits_for_who_is_away(archives: Collection[str]) -> None:
    said = {node: {ARCHIVE: False} for node in NODES}
    assert all_steps([bundle(archives=archives)], NODES, said) == {}


def test_who_does_not_answer_is_taken_at_its_word() -> None:
    assert all_steps([bundle()], NODES, {"a:1": {ARCHIVE: True}}) == {}


def test_unfinished_evaluations_come_first_then_the_newest() -> None:
    bundles = [
        bundle("old ended", ("a:1",), finished=True, at=1.0),
        bundle("new ended", ("a:1",), finished=True, at=4.0),
        bundle("old", ("a:1",), at=2.0),
        bundle("new", ("a:1",), at=3.0),
    ]
    steps = plan(bundles, "a:1", NODES, {}, 2)
    assert [step.bundle.evaluation for step in steps] == ["new", "old", "new ended", "old ended"]


class TestQuestions:
    def test_holders_are_asked_what_they_promised_and_nobody_else(self) -> None:
        bundles = [bundle("e1"), bundle("e2", ("b:1", "gone:1"), archives=(OTHER,))]
        assert questions(bundles, NODES, {}) == {"a:1": [ARCHIVE], "b:1": [ARCHIVE, OTHER]}

    def test_what_was_said_is_not_asked_again(self) -> None:
        assert questions([bundle()], NODES, {"a:1": {ARCHIVE: True}}) == {"b:1": [ARCHIVE]}

    def test_everybody_is_asked_for_what_no_holder_has(self) -> None:
        live = ("b:1", "c:1", "d:1")
        assert questions([bundle()], live, {"b:1": {ARCHIVE: False}}) == {"c:1": [ARCHIVE], "d:1": [ARCHIVE]}
        assert questions([bundle()], ("c:1",), {}) == {"c:1": [ARCHIVE]}


class TestHandingOver:
    def test_unfinished_ones_get_as_many_copies_as_are_wanted_without_the_one_that_leaves(self) -> None:
        (step,) = hand_over([bundle()], "a:1", NODES, {}, 2)
        assert (step.wanted, set(step.targets)) == (1, {"c:1", "d:1", "e:1"})
        (step,) = hand_over([bundle(holders=("a:1",))], "a:1", NODES, {}, 2)
        assert (step.wanted, set(step.targets)) == (2, {"b:1", "c:1", "d:1", "e:1"})

    def test_a_holder_that_lost_it_does_not_count(self) -> None:
        (step,) = hand_over([bundle()], "a:1", NODES, {"b:1": {ARCHIVE: False}}, 1)
        assert step.targets[0] == "b:1"

    def test_ended_ones_are_copied_where_this_node_is_the_last(self) -> None:
        ended = bundle(finished=True)
        assert hand_over([ended], "a:1", NODES, {}, 2) == []
        (step,) = hand_over([ended], "a:1", NODES, {"b:1": {ARCHIVE: False}}, 2)
        assert step.wanted == 1

    def test_the_most_urgent_first(self) -> None:
        bundles = [
            bundle("ended", ("a:1",), finished=True, at=9.0),
            bundle("has another", at=8.0),
            bundle("is the last", ("a:1",), at=1.0),
        ]
        steps = hand_over(bundles, "a:1", NODES, {}, 2)
        assert [step.bundle.evaluation for step in steps] == ["is the last", "has another", "ended"]

    def test_alone_or_without_it_there_is_nothing_to_hand_over(self) -> None:
        assert hand_over([bundle()], "a:1", ("a:1",), {}, 2) == []
        assert hand_over([bundle(holders=("a:1",))], "a:1", NODES, {"a:1": {ARCHIVE: False}}, 2) == []


def test_an_evaluation_without_files_is_nobodys_concern() -> None:
    assert bundle_of(evaluation(sources=())) is None
    found = bundle_of(evaluation(holders=("a:1",), finished_at=5.0))
    assert found == Bundle("e1", frozenset({ARCHIVE}), frozenset({"a:1"}), True, 100.0)


nodes = st.sets(st.sampled_from(NODES))


@given(holders=nodes, live=nodes.filter(bool), having=nodes, second=nodes, replicas=st.integers(1, 4), lost=nodes)
def test_whatever_is_where_the_steps_of_all_lead_to_copies_enough_and_then_end(
    holders: set[str], live: set[str], having: set[str], second: set[str], replicas: int, lost: set[str]
) -> None:
    """All do what they planned, but those in `lost` fail to take a copy the first time."""
    where = {ARCHIVE: having & live, OTHER: second & live}
    wanted = bundle(holders=holders, archives=(ARCHIVE, OTHER))
    can_be_had = all(where.values())
    for round_number in range(12):
        said = {node: {digest: node in there for digest, there in where.items()} for node in live}
        steps = all_steps([wanted], live, said, replicas)
        if not steps:
            break
        promised = set(wanted.holders)
        for node, (step,) in steps.items():
            if isinstance(step, Keep):
                taking = [node]
            else:
                assert node not in step.targets
                able = [target for target in step.targets if round_number or target not in lost]
                taking = able[: step.wanted]
            for taker in taking:
                promised.add(taker)
                for there in where.values():
                    there.add(taker)
        wanted = bundle(holders=promised, archives=(ARCHIVE, OTHER))
    else:
        pytest.fail("it does not end")
    if can_be_had:
        assert len(where[ARCHIVE] & where[OTHER] & wanted.holders & live) >= min(replicas, len(live))


@given(st.lists(st.floats(0, 10), min_size=2, max_size=6), st.data())
def test_the_order_does_not_depend_on_how_they_come(times: list[float], data: st.DataObject) -> None:
    bundles = [bundle(f"e{i}", ("a:1",), at=at, finished=i % 2 == 0) for i, at in enumerate(times)]
    shuffled = data.draw(st.permutations(bundles))
    steps = plan(bundles, "a:1", NODES, {}, 2)
    assert plan(shuffled, "a:1", NODES, {}, 2) == steps
    assert all(not (a.bundle.finished and not b.bundle.finished) for a, b in pairwise(steps))


def test_missing_counts_what_has_too_few_live_holders_and_what_has_none() -> None:
    live = ("a:1", "c:1", "d:1")
    whole, halved, gone = bundle("e1", ("a:1", "c:1")), bundle("e2", ("a:1", "b:1")), bundle("e3", ("b:1",))
    assert missing([whole], live, {}, 2) == (0, 0)
    assert missing([whole, halved, gone], live, {}, 2) == (2, 1)
    assert missing([whole], live, on("a:1", live=live), 2) == (1, 0), "who says that it is not there has it no more"
    assert missing([halved], ("a:1",), {}, 2) == (0, 0), "alone there can be no second copy"
