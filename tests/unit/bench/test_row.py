"""The table says what was reached, and what instead of what."""

from bench.row import Row, at_least, at_most, skipped, table


def test_a_goal_that_is_not_reached_is_told_with_the_figure() -> None:
    assert "**not reached: 1.30 x instead of <= 1.25 x**" in table([at_most("a", 1.3, 1.25, "x")])
    assert "**not reached: 5.90 x instead of >= 6.00 x**" in table([at_least("a", 5.9, 6, "x")])


def test_a_goal_that_is_just_reached_is_reached() -> None:
    assert at_most("a", 1.25, 1.25).reached
    assert at_least("a", 6.0, 6.0).reached


def test_what_could_not_be_measured_says_why_and_reaches_nothing() -> None:
    row = skipped("a", "no groups here")
    assert row.reached is None
    assert "no groups here" in table([row])
    assert "reached" not in table([row])


def test_a_cell_cannot_break_the_table() -> None:
    *_, line = table([Row("a|b", "1\n2")]).splitlines()
    assert line == "| a\\|b | 1 2 |  |  |  |"


def test_a_figure_just_beyond_its_goal_does_not_look_like_it() -> None:
    row = at_most("a", 1.2502, 1.25)
    assert (row.figure, row.reached) == ("1.2502", False)
