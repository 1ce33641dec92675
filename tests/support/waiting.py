"""Waiting for what another thread does."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], at_most: float = 90.0) -> None:
    """Return as soon as the condition holds. AssertionError where it does not in time."""
    end = time.monotonic() + at_most
    while not condition():
        assert time.monotonic() < end, f"not so within {at_most} s"
        time.sleep(0.005)
