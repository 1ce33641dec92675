"""The user of a run is one that is mapped, in the range where nobody else is, and not that of another run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.testing.run_uid import pick

HOST = "         0          0 4294967295\n"
CONTAINER = "0 100000 65536\n"
SMALL = "0 1000 1\n1 100000 60000\n"

TABLE = {
    "a host": (HOST, HOST, 5, 0x70000005),
    "a host, the last one": (HOST, HOST, (1 << 28) - 1, 0x7FFFFFFF),
    "a host, more bits": (HOST, HOST, (1 << 28) + 7, 0x70000007),
    "a container": (CONTAINER, CONTAINER, 5, 60005),
    "a container, the last one": (CONTAINER, CONTAINER, 4999, 64999),
    "groups of a container": (HOST, CONTAINER, 5, 60005),
    "users of a container": (CONTAINER, HOST, 5, 60005),
    "several lines": ("0 1000 1\n1 100000 65535\n", CONTAINER, 5, 60005),
    "part of the high range": ("0 0 1880000000\n", HOST, 5, 60005),
    "few are mapped": (SMALL, SMALL, 5, None),
    "no groups": (HOST, "", 5, None),
    "nothing": ("", "", 5, None),
}


@pytest.mark.parametrize(("uid_map", "gid_map", "number", "expected"), TABLE.values(), ids=TABLE)
def test_what_is_picked(uid_map: str, gid_map: str, number: int, expected: int | None) -> None:
    assert pick(uid_map, gid_map, number) == expected


@given(st.sampled_from([HOST, CONTAINER]), st.lists(st.integers(0, (1 << 28) - 1), max_size=20))
def test_no_two_runs_have_the_same(ids: str, numbers: list[int]) -> None:
    taken: set[int] = set()
    for number in numbers:
        picked = pick(ids, ids, number, taken)
        assert picked is not None
        assert picked not in taken
        taken.add(picked)


def test_where_all_are_taken_there_is_none() -> None:
    assert pick(CONTAINER, CONTAINER, 1, range(65536)) is None
