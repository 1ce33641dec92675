import pytest

from testmesh.testing.environment_eviction import Stored, shares, to_evict

OLD, MIDDLE, NEW = Stored("old", 40, 1.0), Stored("middle", 30, 2.0), Stored("new", 20, 3.0)
ALL = (MIDDLE, NEW, OLD)


@pytest.mark.parametrize(
    ("limit", "missing", "gone"),
    [
        (90, 0, ()),
        (90, -100, ()),
        (89, 0, ("old",)),
        (50, 0, ("old",)),
        (49, 0, ("old", "middle")),
        (0, 0, ("old", "middle", "new")),
        (90, 1, ("old",)),
        (90, 41, ("old", "middle")),
        (50, 41, ("old", "middle")),
        (90, 1000, ("old", "middle", "new")),
    ],
)
def test_the_least_recently_used_go_until_it_suffices(limit: int, missing: int, gone: tuple[str, ...]) -> None:
    assert to_evict(ALL, limit, missing) == gone


def test_what_is_held_stays_and_others_go_in_its_place() -> None:
    held = Stored("held", 40, 0.0, is_held=True)
    assert to_evict((held, *ALL), 90) == ("old",)
    assert to_evict((held, *ALL), 0) == ("old", "middle", "new")


def test_the_shares_make_the_whole() -> None:
    for size in (1, 3, 4, 10 * 1024**3):
        assert sum(shares(size)) == size
        assert shares(size)[0] > shares(size)[1]
