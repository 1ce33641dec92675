import pytest

from election import Process


@pytest.fixture
def group():
    members = []
    for number in (3, 1, 4, 2):
        Process(number, members)
    return members


def test_the_highest_wins(group):
    assert {process.elect() for process in group} == {4}


def test_without_the_highest_the_next_wins(group):
    group[2].alive = False
    assert group[1].elect() == 3


def test_alone():
    assert Process(7, []).elect() == 7
