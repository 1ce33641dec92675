"""Which level is tried, which one is taken, and what is said of those that cannot be had."""

from pathlib import Path

import pytest

from testmesh.testing import namespaces
from testmesh.testing.boxes import open_boxes
from testmesh.testing.isolation import FULL, IsolationLevel, levels, probe
from tests.support.boxes import reachable_python


def refuse(*sandboxes: str) -> object:
    return lambda level: f"no {level.sandbox} here" if level.sandbox in sandboxes else ""


@pytest.mark.parametrize(
    ("refused", "wanted", "sandbox", "cause"),
    [
        ((), "auto", "full", ""),
        (("full",), "auto", "portable", "no full here"),
        (("full", "portable"), "auto", "none", "no full here"),
        (("full", "portable", "none"), "auto", "none", "no full here"),
        ((), "portable", "portable", ""),
        ((), "none", "none", ""),
        (("full",), "full", "none", "no full here"),
        (("portable",), "portable", "none", "no portable here"),
    ],
)
def test_the_best_that_works_is_taken_and_the_first_refusal_told(
    refused: tuple[str, ...], wanted: str, sandbox: str, cause: str
) -> None:
    found = probe(refuse(*refused), wanted)  # type: ignore[arg-type]
    assert (found.sandbox, found.cause) == (sandbox, cause)


def test_a_full_box_without_a_proc_of_its_own_is_better_than_a_portable_one() -> None:
    found = probe(lambda level: "masked" if level.fresh_proc else "")
    assert (found.sandbox, found.fresh_proc, found.cause) == ("full", False, "masked")


@pytest.mark.parametrize("is_root", [True, False])
@pytest.mark.parametrize("abi", [0, 7])
def test_levels_are_tried_from_the_strongest_on(is_root: bool, abi: int) -> None:
    tried = list(levels(is_root, abi))
    order = {"full": 0, "portable": 1, "none": 2}
    assert [order[level.sandbox] for level in tried] == sorted(order[level.sandbox] for level in tried)
    assert tried[0] == IsolationLevel("full", FULL, fresh_proc=True, own_uid=is_root)
    assert tried[-1] == IsolationLevel("none")
    assert {level.sandbox for level in tried} == ({"full", "portable", "none"} if abi else {"full", "none"})
    assert all(level.own_uid == is_root for level in tried if level.sandbox != "none")
    assert all(level.landlock == abi for level in tried if level.sandbox == "portable")


def test_the_loopback_is_private_where_the_network_is() -> None:
    assert IsolationLevel("portable", namespaces.NEWNET).loopback == "private"
    assert IsolationLevel("full", FULL).loopback == "private"
    assert IsolationLevel("portable", namespaces.NEWPID).loopback == "shared"


def test_what_works_here_is_found_again(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        boxes = open_boxes(tmp_path, python=reachable_python())
        boxes.close()
        found.append(boxes.level)
    assert found[0] == found[1]
    assert found[0].sandbox == "full" or found[0].cause
