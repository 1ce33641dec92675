"""Whose turn it is to be placed."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from testmesh.model import ModulePlan, ModuleState, Project
from testmesh.node.driving.equipment import needs_of
from testmesh.node.driving.jobs import Module
from testmesh.node.driving.prediction import Prediction
from testmesh.node.driving.turns import Turns

seconds = st.sampled_from([0.05, 0.3, 1.0, 4.0])


def module(evaluation: str, position: int, work: float = 1.0, *, starved: int = 0, environment: str = "") -> Module:
    project = Project("p", "p", (), environment=environment)
    state = ModuleState(evaluation, "p", f"t{position}", starved=starved)
    prediction = Prediction(work, work, known=True)
    needs = needs_of(evaluation, project)
    return Module(state, project, ModulePlan(f"t{position}"), prediction, needs, position, 1, (0, 0))


def order(turns: Turns, *held_back: str) -> list[tuple[str, str]]:
    return [(candidate.evaluation, candidate.module) for candidate in turns.candidates(held_back)]


def take_next(turns: Turns, modules: dict[tuple[str, str], Module]) -> Module:
    found = modules[order(turns)[0]]
    turns.take(found)
    return found


class TestWithinAnEvaluation:
    def test_the_longest_goes_first_and_what_runs_alone_last(self) -> None:
        turns = Turns()
        for one in (module("e", 0, 1.0), module("e", 1, 9.0, starved=1), module("e", 2, 3.0), module("e", 3, 1.0)):
            turns.add(one)
        assert [name for _, name in order(turns)] == ["t2", "t0", "t3", "t1"]

    def test_what_is_taken_or_removed_waits_no_more_and_what_is_given_back_does(self) -> None:
        turns, modules = Turns(), [module("e", n) for n in range(4)]
        for one in modules:
            turns.add(one)
        turns.take(modules[1])
        turns.remove(modules[2])
        assert [name for _, name in order(turns)] == ["t0", "t3"]
        turns.give_back(modules[1])
        assert [name for _, name in order(turns)] == ["t0", "t1", "t3"]
        assert [one.is_waiting for one in modules] == [True, True, False, True]

    def test_candidates_know_how_much_work_waits_for_the_same_environment(self) -> None:
        turns = Turns()
        shared = [module(name, 0, work, environment="x") for name, work in (("e", 1.0), ("f", 2.0))]
        for one in (*shared, module("e", 1, 4.0)):
            turns.add(one)
        backlogs = {(c.evaluation, c.module): c.backlog for c in turns.candidates(())}
        assert backlogs == {("e", "t0"): 3.0, ("f", "t0"): 3.0, ("e", "t1"): 4.0}
        turns.take(shared[1])
        assert next(c.backlog for c in turns.candidates(()) if c.module == "t0") == 1.0
        turns.drop("e")
        assert turns.is_empty(())

    def test_what_runs_alone_knows_since_when_it_is_its_turn(self) -> None:
        turns, alone = Turns(), module("e", 1, starved=1)
        turns.add(alone)
        turns.add(module("e", 0))

        def waited(now: float) -> list[float]:
            return [candidate.waited for candidate in turns.candidates((), now)]

        assert next(turns.candidates((), 10.0)).waited == 0.0, "it is the other one's turn"
        assert [waited(20.0), waited(23.0)] == [[0.0, 0.0], [0.0, 3.0]]
        turns.take(alone)
        turns.give_back(alone)
        assert waited(30.0) == [0.0, 0.0]

    def test_what_there_is_no_room_for_is_not_offered_unless_it_runs_alone(self) -> None:
        turns = Turns()
        for n, (environment, starved) in enumerate((("slow", 0), ("slow", 1), ("quick", 0), ("slow", 0))):
            turns.add(module("e", n, environment=environment, starved=starved))
        offered = turns.candidates((), 0.0, lambda need: need == "environment quick")
        assert [candidate.module for candidate in offered] == ["t2", "t1"]


class TestBetweenEvaluations:
    def test_what_is_held_back_has_no_turn(self) -> None:
        turns = Turns()
        turns.add(module("e", 0))
        turns.add(module("f", 0))
        assert order(turns, "e") == [("f", "t0")]
        assert not turns.is_empty({"e"})
        assert turns.is_empty({"e", "f"})

    def test_one_that_had_nothing_to_do_for_long_gets_no_more_than_its_share_for_it(self) -> None:
        turns = Turns()
        modules = {("large", f"t{n}"): module("large", n) for n in range(20)}
        for one in modules.values():
            turns.add(one)
        for _ in range(10):
            take_next(turns, modules)
        late = {("late", f"t{n}"): module("late", n) for n in range(20)}
        for one in late.values():
            turns.add(one)
        counts = Counter(take_next(turns, modules | late).state.evaluation for _ in range(10))
        assert counts == {"large": 5, "late": 5}

    def test_what_was_given_back_is_not_charged_twice(self) -> None:
        turns = Turns()
        modules = {(name, f"t{n}"): module(name, n) for name in "ef" for n in range(20)}
        for one in modules.values():
            turns.add(one)
        for _ in range(10):  # its node refuses it again and again
            turns.take(modules["e", "t0"])
            turns.give_back(modules["e", "t0"])
        counts = Counter(take_next(turns, modules).state.evaluation for _ in range(10))
        assert counts == {"e": 5, "f": 5}

    @given(st.dictionaries(st.sampled_from("abcde"), st.lists(seconds, min_size=1, max_size=12), min_size=2))
    def test_while_all_have_work_they_get_as_much_of_it_but_for_one_module(self, work: dict[str, list[float]]) -> None:
        turns = Turns()
        modules = {(name, f"t{n}"): module(name, n, s) for name, of in work.items() for n, s in enumerate(of)}
        for one in modules.values():
            turns.add(one)
        served = dict.fromkeys(work, 0.0)
        left = {name: len(of) for name, of in work.items()}
        while all(left.values()):
            placed = take_next(turns, modules)
            name = placed.state.evaluation
            served[name] += placed.work
            left[name] -= 1
            longest = max(max(of) for of in work.values())
            assert max(served.values()) - min(served.values()) <= longest + 1e-9

    @given(st.lists(st.tuples(st.sampled_from("abc"), seconds, st.sampled_from(["take", "back", "remove"]))))
    def test_whatever_is_taken_and_given_back_all_that_waits_is_offered_once(
        self, steps: list[tuple[str, float, str]]
    ) -> None:
        turns = Turns()
        waiting: dict[tuple[str, str], Module] = {}
        away: dict[tuple[str, str], Module] = {}
        for position, (name, work, what) in enumerate(steps):
            one = module(name, position, work)
            turns.add(one)
            waiting[name, one.plan.path] = one
            if what != "back":
                gone = waiting.pop(order(turns)[0])
                (turns.take if what == "take" else turns.remove)(gone)
                away[gone.state.evaluation, gone.plan.path] = gone
            elif away:
                key, back = away.popitem()
                turns.give_back(back)
                waiting[key] = back
        assert sorted(order(turns)) == sorted(waiting)
        total = sum(one.work for one in waiting.values() if one.state.evaluation == "a")
        assert all(abs(c.backlog - total) < 1e-6 for c in turns.candidates("bc"))
