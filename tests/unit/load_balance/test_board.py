"""How much a node is given, and where what a module needs is worth waiting for."""

import pytest

from testmesh.load_balance.policy import Board, Candidate, NodeLoad

ENVIRONMENT, CODE = ("environment", 2.0), ("code", 0.2)


class TestRoom:
    @pytest.mark.parametrize(
        ("node", "room"),
        [
            (NodeLoad("a:1", 64, 0, cores=0.5), 2),
            (NodeLoad("a:1", 64, 0, cores=2.0), 4),
            (NodeLoad("a:1", 64, 0, cores=2.5), 6),
            (NodeLoad("a:1", 64, 30, cores=2.0, queued=0), 4),
            (NodeLoad("a:1", 64, 30, cores=2.0, queued=3), 1),
            (NodeLoad("a:1", 64, 30, cores=2.0, queued=4), 0),
            (NodeLoad("a:1", 64, 67, cores=2.0), 1),
            (NodeLoad("a:1", 64, 68, cores=2.0), 0),
            (NodeLoad("a:1", 1, 0, cores=8.0), 1),
            (NodeLoad("a:1", 1, 1, cores=8.0), 1),
            (NodeLoad("a:1", 1, 2, cores=8.0), 0),
        ],
    )
    def test_a_few_are_waiting_besides_what_runs_and_never_more_than_it_may_run(
        self, node: NodeLoad, room: int
    ) -> None:
        assert node.room == room

    @pytest.mark.parametrize(
        ("why", "node", "for_the_same", "for_another"),
        [
            ("it waits for its preparation", NodeLoad("a:1", 64, 4, 2.0, 4, waited=1.1, queued_for={"slow": 4}), 0, 4),
            ("that may still be quick", NodeLoad("a:1", 64, 4, 2.0, 4, waited=0.9, queued_for={"slow": 4}), 0, 0),
            ("it waits for processors", NodeLoad("a:1", 64, 6, 2.0, 4, waited=9.0, queued_for={"slow": 4}), 0, 0),
            ("several do", NodeLoad("a:1", 64, 14, 2.0, 14, waited=9.0, queued_for={"slow": 4, "b": 4, "c": 4}), 0, 2),
            ("all that may wait does", NodeLoad("a:1", 64, 16, 2.0, 16, waited=9.0, queued_for={"slow": 4}), 0, 0),
            ("it may hold no more", NodeLoad("a:1", 4, 7, 9.0, 4, waited=9.0, queued_for={"slow": 4}), 0, 1),
        ],
    )
    def test_a_preparation_that_takes_long_keeps_only_its_own_waiting(
        self, why: str, node: NodeLoad, for_the_same: int, for_another: int
    ) -> None:
        board, given = Board([node]), {"slow": 0, "quick": 0}
        for need in given:
            candidate = Candidate("e", "p", need, needs=((need, 2.0),))
            while board.choices(candidate):
                board.put(candidate, "a:1")
                given[need] += 1
        assert given == {"slow": for_the_same, "quick": for_another}, why

    def test_a_node_that_takes_nothing_has_no_room(self) -> None:
        assert NodeLoad("a:1", 0, 0, cores=4.0).room <= 0
        assert not NodeLoad("a:1", 0, 0, cores=4.0).is_free


class TestLocality:
    """Two nodes of one processor; `warm` has all that the candidate needs, unless a row says otherwise."""

    @pytest.mark.parametrize(
        ("why", "work", "backlog", "has", "chosen"),
        [
            ("waiting costs less than building", 0.5, 0.5, {"environment", "code"}, {"warm:1"}),
            ("what waits for the same counts too", 0.5, 3.0, {"environment", "code"}, {"cold:1", "warm:1"}),
            ("so does what is there", 3.0, 0.5, {"environment", "code"}, {"cold:1", "warm:1"}),
            ("bringing the code alone is quick", 0.5, 0.5, {"environment"}, {"warm:1"}),
            ("nobody has anything", 0.0, 0.5, set(), {"cold:1", "warm:1"}),
        ],
    )
    def test_a_node_that_lacks_something_is_no_choice_while_waiting_costs_less(
        self, why: str, work: float, backlog: float, has: set[str], chosen: set[str]
    ) -> None:
        board = Board([NodeLoad("cold:1", 9, 0), NodeLoad("warm:1", 9, 1, work=work, has=has)])
        candidate = Candidate("e", "p", "m", needs=(ENVIRONMENT, CODE), backlog=backlog)
        assert {node.address for node in board.choices(candidate)} == chosen, why

    def test_it_waits_for_a_full_node_that_has_it_though_another_is_free(self) -> None:
        full = NodeLoad("warm:1", 9, 2, queued=2, work=0.2, has={"environment", "code"})
        board = Board([NodeLoad("cold:1", 9, 0), full])
        assert board.choices(Candidate("e", "p", "m", needs=(ENVIRONMENT, CODE), backlog=0.1)) == []

    def test_but_not_where_nothing_begins_there(self) -> None:
        has = {"environment", "code"}
        stuck = NodeLoad("warm:1", 9, 2, queued=2, work=0.2, waited=3.0, has=has, queued_for={"environment": 2})
        board = Board([NodeLoad("cold:1", 9, 0), stuck])
        (node,) = board.choices(Candidate("e", "p", "m", needs=(ENVIRONMENT, CODE), backlog=0.1))
        assert node.address == "cold:1"

    def test_nor_where_that_node_is_kept_for_what_runs_alone(self) -> None:
        board = Board([NodeLoad("cold:1", 9, 5), NodeLoad("warm:1", 9, 0, has={"environment", "code"})])
        board.put(Candidate("e", "p", "alone", alone=True), "warm:1")
        (node,) = board.choices(Candidate("e", "p", "m", needs=(ENVIRONMENT, CODE)))
        assert node.address == "cold:1"

    def test_nor_where_others_keep_that_node_full(self) -> None:
        nodes = [NodeLoad("cold:1", 2, 0), NodeLoad("warm:1", 2, 4, work=0.2, has={"environment", "code"})]
        (node,) = Board(nodes).choices(Candidate("e", "p", "m", needs=(ENVIRONMENT, CODE), backlog=0.1))
        assert node.address == "cold:1"

    def test_what_is_placed_first_brings_it_for_the_next(self) -> None:
        board = Board([NodeLoad("a:1", 9, 0, cores=4.0), NodeLoad("b:1", 9, 0, cores=4.0)])
        one, other = (Candidate("e", "p", name, work=0.1, needs=(ENVIRONMENT, CODE), backlog=0.1) for name in "xy")
        board.put(one, "b:1")
        assert [node.address for node in board.choices(other)] == ["b:1"]

    def test_several_levels_of_lacking(self) -> None:
        """Code is brought to who has the environment rather than waited for; the environment is not built."""
        has = {"all:1": {"environment", "code"}, "code-away:1": {"environment"}, "nothing:1": set()}
        nodes = [NodeLoad(address, 9, 1, work=0.3, has=there) for address, there in has.items()]
        found = Board(nodes).choices(Candidate("e", "p", "m", needs=(ENVIRONMENT, CODE), backlog=0.1))
        assert [node.address for node in found] == ["all:1", "code-away:1"]
