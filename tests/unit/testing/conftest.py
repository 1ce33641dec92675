"""Boxes of this machine's levels, and folders that a run as another user can reach."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testmesh.testing.boxes import Boxes
from tests.support.boxes import LEVELS, BoxesOf, open_level, reachable_folder


@pytest.fixture
def place() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def boxes_of() -> Iterator[BoxesOf]:
    opened: dict[str, Boxes] = {}
    with reachable_folder() as folder:

        def get(name: str) -> Boxes:
            if name not in opened:
                opened[name] = open_level(name, folder)
            return opened[name]

        yield get
        for boxes in opened.values():
            boxes.close()


@pytest.fixture
def boxes(boxes_of: BoxesOf) -> Boxes:
    """The best that this machine has."""
    for name in LEVELS:
        try:
            return boxes_of(name)
        except pytest.skip.Exception:
            continue
    raise AssertionError("not even level none")


@pytest.fixture(params=LEVELS)
def level_boxes(request: pytest.FixtureRequest, boxes_of: BoxesOf) -> Boxes:
    """Each level that this machine has, one after another."""
    return boxes_of(request.param)
