"""PURE: splitting what waits into messages that a peer takes and reads in a moment, whatever students' tests print."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from testmesh.model import TestResult

T = TypeVar("T")
MAX_RECORDS = 200
MAX_TEXT = 2 * 1024 * 1024  # characters of a message, but for its last record's


def text_of(tests: Sequence[TestResult]) -> int:
    """How many characters of text the outcomes carry: nearly all of their size."""
    return sum(len(test.name) + len(test.longrepr) + len(test.stdout) + len(test.stderr) for test in tests)


def batches(items: Sequence[T], weight: Callable[[T], int]) -> Iterator[tuple[T, ...]]:
    """In order, none empty, each of at most MAX_RECORDS; closed by the item that brings it to MAX_TEXT."""
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += weight(item)
        if len(batch) == MAX_RECORDS or total >= MAX_TEXT:
            yield tuple(batch)
            batch, total = [], 0
    if batch:
        yield tuple(batch)
