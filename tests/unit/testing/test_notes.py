"""Notes are short whatever an archive holds."""

from testmesh.testing.notes import MAX_DETAIL, joined, listed


def test_names_are_listed_behind_their_label() -> None:
    assert listed("left out", ["a", "b"]) == "left out: a, b"
    assert listed("left out", []) == ""
    assert joined(["", "one: a", "", "two: b"]) == "one: a; two: b"


def test_many_names_and_long_ones_are_cut() -> None:
    assert listed("x", [str(number) for number in range(30)]).endswith("18, 19 and 10 more")
    long = listed("x", ["a" * 1000] * 20)
    assert len(long) < 20 * 210
    assert len(joined([long] * 5)) == MAX_DETAIL
    assert joined([long] * 5).endswith("…")
