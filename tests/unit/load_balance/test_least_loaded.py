"""The node that will begin it first goes first."""

from collections import Counter

from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.load_balance.policy import Candidate, NodeLoad


def place(count: int, *nodes: NodeLoad) -> list[str]:
    return [p.address for p in LeastLoaded().place([Candidate("e", "p", str(i)) for i in range(count)], nodes)]


def test_equal_nodes_get_equal_shares_in_turn() -> None:
    assert place(6, NodeLoad("c:1", 4, 0), NodeLoad("a:1", 4, 0), NodeLoad("b:1", 4, 0)) == ["a:1", "b:1", "c:1"] * 2


def test_work_is_relative_to_the_processors() -> None:
    small, large = NodeLoad("small:1", 9, 0, cores=1.0), NodeLoad("large:1", 9, 0, cores=2.0)
    assert Counter(place(6, small, large)) == {"small:1": 2, "large:1": 4}


def test_the_node_with_the_least_work_goes_first_however_many_modules_that_is() -> None:
    one_long, many_short = NodeLoad("a:1", 9, 1, work=60.0), NodeLoad("b:1", 9, 5, work=2.0)
    assert place(2, one_long, many_short) == ["b:1", "b:1"]


def test_one_where_something_waits_in_vain_goes_last() -> None:
    stuck, busy = NodeLoad("a:1", 9, 1, queued=1, waited=30.0), NodeLoad("b:1", 9, 1, work=5.0)
    assert place(1, stuck, busy) == ["b:1"]


def test_where_the_work_is_equal_the_number_of_modules_a_processor_decides() -> None:
    assert place(1, NodeLoad("busy:1", 9, 3), NodeLoad("idle:1", 9, 2)) == ["idle:1"]


def test_of_two_idle_nodes_the_larger_goes_first() -> None:
    assert place(1, NodeLoad("a:1", 2, 0, cores=1.0), NodeLoad("b:1", 8, 0, cores=4.0)) == ["b:1"]


def test_what_a_node_lacks_counts_as_work() -> None:
    candidate = Candidate("e", "p", "m", needs=(("environment", 2.0),), backlog=100.0)
    cold, warm = NodeLoad("cold:1", 9, 0), NodeLoad("warm:1", 9, 1, has={"environment"})
    for work, chosen in ((1.9, "warm:1"), (2.1, "cold:1")):
        (placement,) = LeastLoaded().place([candidate], [cold, NodeLoad("warm:1", 9, 1, work=work, has=warm.has)])
        assert placement.address == chosen
