"""How busy the attempts that were placed make each node."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from testmesh.load_balance.policy import NodeLoad
from testmesh.node.driving.placed import Attempt, Placed
from testmesh.node.messaging.messages import Task

NODE = NodeLoad("a:1", 8, 0, cores=2.0)


def attempt(
    number: int, *, node: str = "a:1", work: float = 1.0, at: float = 0.0, alone: bool = False, need: str = ""
) -> Attempt:
    return Attempt("e", Task("p", f"t{number}", 0, 1, alone), node, work, at, need=need)


def test_what_is_placed_counts_before_the_node_has_said_so() -> None:
    placed = Placed()
    placed.add(attempt(1, at=10.0))
    placed.add(attempt(2, at=11.0, work=2.0))
    seen = placed.seen(NODE, 14.0, {"environment"})
    assert seen == NodeLoad("a:1", 8, 2, 2.0, queued=2, work=3.0, waited=4.0, has={"environment"}, queued_for={"": 2})


def test_what_begins_is_queued_no_more() -> None:
    placed = Placed()
    first, second = attempt(1, at=10.0), attempt(2, at=11.0)
    placed.add(first)
    placed.add(second)
    placed.begin(first, 12.0)
    placed.begin(first, 13.0)
    seen = placed.seen(NODE, 14.0, set())
    assert (seen.assigned, seen.queued, seen.waited, first.began_at) == (2, 1, 3.0, 12.0)
    assert seen.quiet == 2.0


def test_what_others_placed_there_is_work_too() -> None:
    placed = Placed()
    placed.add(attempt(1))
    busy = placed.seen(NodeLoad("a:1", 8, 5, cores=2.0), 0.0, set())
    assert (busy.assigned, busy.queued) == (5, 1)
    assert busy.work > placed.seen(NODE, 0.0, set()).work
    assert placed.seen(NodeLoad("b:1", 8, 5), 0.0, set()).delay > 0


def test_where_something_runs_alone_is_reserved_until_it_ends() -> None:
    placed, alone = Placed(), attempt(1, alone=True)
    placed.add(alone)
    assert placed.is_reserved("a:1")
    assert not placed.is_reserved("b:1")
    placed.remove(alone)
    assert not placed.is_reserved("a:1")


@given(st.lists(st.tuples(st.sampled_from(["a:1", "b:1"]), st.sampled_from([0.1, 0.3, 5.0]), st.integers(0, 2))))
def test_the_sums_are_those_of_what_is_there(steps: list[tuple[str, float, int]]) -> None:
    placed = Placed()
    there: list[Attempt] = []
    for number, (node, work, what) in enumerate(steps):
        one = attempt(number, node=node, work=work, at=float(number), need=f"environment {work}")
        placed.add(one)
        there.append(one)
        if what == 1:
            placed.begin(there[number % len(there)], float(number))
        elif what == 2:
            placed.remove(there.pop(number % len(there)))
        assert set(placed) == set(there)
        assert placed.counts() == {
            address: len(mine) for address in ("a:1", "b:1") if (mine := [a for a in there if a.node == address])
        }
        for address in ("a:1", "b:1"):
            mine = [a for a in there if a.node == address]
            seen = placed.seen(NodeLoad(address, 8, 0), 100.0, set())
            queued = [a for a in mine if a.began_at is None]
            assert (seen.assigned, seen.queued) == (len(mine), len(queued))
            assert seen.queued_for == Counter(a.need for a in queued)
            assert abs(seen.work - sum(a.work for a in mine)) < 1e-6
            assert seen.waited == (100.0 - min(a.placed_at for a in queued) if queued else 0.0)
