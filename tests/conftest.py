"""How the tests are spread over the processes of `pytest -n` (pytest-xdist)."""

import os
import re
from typing import Any

import pytest

MAX_PROCESSES = 8
# Run by one process, one after the other: the tests of a file share what takes long to start, those of tests/docker an
# engine, those of an attack's level a node. xdist has a mark for that, but with pytest 9.2 it does nothing
# (pytest-xdist issue 1386).
TOGETHER = re.compile(
    r"tests/contract/test_api_document\.py"
    r"|tests/docker/"
    r"|tests/mesh/test_(bad_input|evaluation|repositories|staff_tests)\.py"
    r"|tests/attacks/(?=.*\[(?P<level>[a-z]+)-)"
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Of `-n auto`: tests of real nodes mostly wait."""
    return min(2 * (os.cpu_count() or 1), MAX_PROCESSES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What is together comes first, since it takes longest; then each test goes to the process that is free."""
    if config.getoption("dist") != "load":  # something else than -n alone was asked for
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            found = TOGETHER.match(nodeid)
            return f"{found[0]} {found['level'] or ''}" if found else nodeid

    return TogetherScheduling(config, log)
