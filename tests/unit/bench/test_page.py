"""The report tells what was called on what, and every difference."""

import platform

import pytest

from bench import machine
from bench.kept import Kept
from bench.page import About, page
from bench.row import at_most

ABOUT = About(counted=True, own_network=True)
LINE = "waiting: ours, p test_1.py: 2 expected, 1 found"
DIFFERS = Kept(
    "python -m bench", "2 cores", (at_most("a", 1, 2),), ("waiting: ours, p test_1.py: 2 expected, 1 found",)
)


def test_a_difference_is_in_the_report() -> None:
    text = page({"waiting": DIFFERS}, ABOUT, "")
    assert "**1 results differ:**" in text
    assert "- waiting: ours, p test_1.py" in text
    assert "equal to plain pytest's" not in text


def test_without_differences_it_says_that_all_is_equal() -> None:
    assert "equal to plain pytest's" in page({}, ABOUT, "")


def test_the_picture_is_shown_where_there_is_one() -> None:
    assert "](performance.svg)" in page({}, ABOUT, "performance.svg")
    assert "![" not in page({}, ABOUT, "")


def test_it_says_which_command_measured_what() -> None:
    one = Kept("bench --repeat 5", "2 cores", ())
    assert "Made by `bench --repeat 5` from a checkout, on 2 cores." in page({"a": one, "b": one}, ABOUT, "")
    both = page({"a": one, "b": Kept("bench --only b", "2 cores", ()), "c": one}, ABOUT, "")
    assert "on 2 cores, by" in both
    assert "- a, c: `bench --repeat 5`\n- b: `bench --only b`" in both


@pytest.mark.parametrize("counted", [True, False])
def test_it_says_how_processor_time_was_counted(counted: bool) -> None:
    text = page({}, About(counted, own_network=False), "")
    assert ("misses no process" in text) is counted
    assert "the machine's own network" in text


def test_the_description_does_not_name_the_machine() -> None:
    found = machine.described()
    assert platform.python_version() in found
    assert platform.node() not in found.split()
    assert "/" not in found
