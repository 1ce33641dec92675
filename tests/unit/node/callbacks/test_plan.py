"""Who calls back, and when."""

from dataclasses import replace

from testmesh.model import Evaluation, Options, Pruned
from testmesh.node.callbacks.plan import AT_ONCE, AT_ONCE_TO_A_HOST, PAUSES_S, Plan, caller_of, wants_callback
from tests.support.records import evaluation

ME, OTHER, THIRD = "a:1", "b:1", "c:1"


def ended(evaluation_id: str = "e1", url: str = "http://x.org/", owner: str = ME, **fields: object) -> Evaluation:
    known = evaluation(evaluation_id, owner=owner, options=Options(callback_url=url))
    return replace(known, **{"finished_at": 200.0, **fields})  # type: ignore[arg-type]


def plan_of(*evaluations: Evaluation) -> Plan:
    plan = Plan(ME)
    for each in evaluations:
        plan.see(each)
    return plan


def test_only_what_has_ended_and_was_not_told_is_to_be_told() -> None:
    assert wants_callback(ended())
    assert wants_callback(ended(cancelled=True))
    assert not wants_callback(ended(finished_at=None))
    assert not wants_callback(ended(called_back=True))
    assert not wants_callback(ended(pruned=Pruned()))
    assert not wants_callback(replace(ended(), options=Options()))


def test_the_owner_calls_while_it_lives_and_then_a_holder_whom_all_agree_on() -> None:
    this = ended(owner=OTHER, holders=(ME, OTHER))
    assert caller_of(this, (ME, OTHER, THIRD)) == OTHER
    assert caller_of(this, (THIRD, ME)) == caller_of(this, (ME, THIRD)) == ME
    assert caller_of(this, (THIRD,)) == THIRD


def test_exactly_one_of_the_live_nodes_begins() -> None:
    for owner in (ME, OTHER, "gone:1"):
        this = ended(owner=owner, holders=("gone:1",))
        begun = []
        for address in (ME, OTHER, THIRD):
            plan = Plan(address)
            plan.see(this)
            begun += plan.begin({ME, OTHER, THIRD} - {address}, 0.0)
        assert begun == ["e1"]


def test_another_goes_on_as_soon_as_the_owner_is_gone() -> None:
    plan = plan_of(ended(owner=OTHER, holders=(ME,)))
    assert plan.begin((OTHER,), 5.0) == []
    assert plan.next_due((OTHER,)) is None, "nothing wakes it but news of members"
    assert plan.begin((), 5.0) == ["e1"]
    assert plan.begin((), 5.0) == [], "it is under way"


def test_pauses_double_from_a_second_and_end_after_about_an_hour() -> None:
    plan, now, found = plan_of(ended()), 0.0, []
    while True:
        assert plan.begin((), now) == ["e1"]
        pause = plan.failed("e1", now)
        if pause is None:
            break
        found.append(pause)
        assert plan.next_due(()) == now + pause
        assert plan.begin((), now + pause - 0.01) == []
        now += pause
    assert found == list(PAUSES_S)
    assert found[:4] == [1, 2, 4, 8]
    assert 3600 <= now < 4200


def test_what_another_node_told_is_not_told_again() -> None:
    plan = plan_of(ended())
    assert plan.begin((), 0.0)
    plan.failed("e1", 0.0)
    plan.see(ended(called_back=True))
    assert plan.begin((), 100.0) == []
    assert plan.next_due(()) is None


def test_news_of_an_evaluation_do_not_begin_its_pauses_anew() -> None:
    plan = plan_of(ended())
    plan.begin((), 0.0)
    plan.failed("e1", 0.0)
    plan.see(ended(holders=(OTHER,)))
    assert plan.begin((), 0.5) == []
    plan.begin((), 1.0)
    assert plan.failed("e1", 1.0) == 2.0


def test_a_host_that_does_not_answer_holds_up_nobody_else() -> None:
    slow = [ended(f"slow-{n}", "http://slow.org/?n=1") for n in range(5)]
    plan = plan_of(*slow, ended("other", "http://other.org/"))
    assert plan.begin((), 0.0) == ["slow-0", "slow-1", "other"]
    assert plan.next_due(()) is None
    plan.stored("slow-0")
    assert plan.begin((), 0.0) == ["slow-2"]


def test_ports_of_a_host_are_one_host_and_first_tries_go_first() -> None:
    plan = plan_of(*(ended(f"e{number}", f"http://X.org.:{8000 + number}/") for number in range(3)))
    assert plan.begin((), 0.0) == ["e0", "e1"]
    for evaluation_id in ("e0", "e1"):
        plan.failed(evaluation_id, 0.0)
    assert plan.begin((), 10.0) == ["e2", "e0"]


def test_calls_at_once_are_bounded() -> None:
    plan = plan_of(*(ended(f"e{n}", f"http://host-{n}.org/") for n in range(20)))
    assert len(plan.begin((), 0.0)) == AT_ONCE
    assert AT_ONCE_TO_A_HOST < AT_ONCE
    assert plan.begin((), 0.0) == []


def test_late_results_are_waited_for_but_not_for_ever() -> None:
    plan, now, looks = plan_of(ended()), 0.0, 0
    while plan.begin((), now) and plan.incomplete("e1", now):
        assert plan.next_due(()) == now + 2.0
        now, looks = now + 2.0, looks + 1
    assert looks == 15
    assert plan.failed("e1", now) == 1.0, "waiting for results is no try"


def test_a_call_that_could_not_begin_is_no_try() -> None:
    plan = plan_of(ended())
    plan.begin((), 0.0)
    plan.not_begun("e1", 0.0)
    assert plan.next_due(()) == 1.0
    assert plan.begin((), 1.0) == ["e1"]
    assert plan.failed("e1", 1.0) == PAUSES_S[0]


def test_what_was_told_and_not_stored_is_remembered() -> None:
    plan = plan_of(ended())
    plan.begin((), 0.0)
    assert not plan.is_told("e1")
    plan.not_stored("e1", 0.0)
    assert plan.is_told("e1")
    assert plan.begin((), 1.0) == []
    assert plan.begin((), 10.0) == ["e1"]
    plan.stored("e1")
    assert not plan.is_told("e1")
