"""What all tests have in common: a folder, and how they are spread over the processes of `pytest -n` (pytest-xdist)."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from testmesh.testing.folders import remove_tree
from tests.support.once import SHARED_FOLDER

PROCESSES_A_CORE, MAX_PROCESSES = 2.5, 8
# Run by one process, one after the other: the tests of a file share what takes long to start, those of tests/docker an
# engine, those of an attack's level a node, tricks and their like a table of runs. xdist has a mark for that, but with
# pytest 9.2 it does nothing (pytest-xdist issue 1386).
TOGETHER = re.compile(
    r"tests/contract/test_api_document\.py"
    r"|tests/docker/"
    r"|tests/browser/"
    r"|tests/mesh/test_(bad_input|evaluation|repositories|staff_tests)\.py"
    r"|tests/attacks/(?=.*\[(?P<level>[a-z]+)-)"
    r"|tests/unit/testing/test_(dishonest|plugin)\.py(?=.*\[(?P<start>cold|warm)\b)"
)
# Begun in this order, before all else, which is short: so nothing long is left to run alone at the end. The levels of
# the attacks are apart, since all of them at once leave no processor to anything beside them.
LONG_FIRST = tuple(
    map(
        re.compile,
        (
            r"tests/docker/",
            r"tests/attacks/.*\[full",
            r"tests/mesh/test_bench",
            r"tests/unit/testing/test_dishonest",
            r"tests/mesh/.*nemesis",
            r"tests/mesh/test_started_by_hand",
            r"tests/attacks/.*\[portable",
            r"tests/mesh/test_faults",
            r"tests/browser/",
            r"tests/mesh/test_(evaluation|staff_tests|bad_input|repositories)",
            r"tests/attacks/",
            r"tests/mesh/",
            r"tests/contract/test_installers",
            r"tests/unit/testing/test_plugin",
        ),
    )
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder, unless this is one of the processes of `-n`, which find the name in their environment."""
    if not hasattr(config, "workerinput"):
        folder = Path(tempfile.mkdtemp(prefix="testmesh-tests-"))
        folder.chmod(0o755)  # runs as another user read what is in it
        os.environ[SHARED_FOLDER] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        remove_tree(Path(os.environ.pop(SHARED_FOLDER)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Beside others what takes long comes first; alone tests run in the order in which they are written."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(item.nodeid))


def _turn(nodeid: str) -> int:
    return next((turn for turn, form in enumerate(LONG_FIRST) if form.match(nodeid)), len(LONG_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Of `-n auto`: tests of real nodes mostly wait."""
    return min(round(PROCESSES_A_CORE * (os.cpu_count() or 1)), MAX_PROCESSES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What is together is one piece of work, all else one a test; a process that is free gets the next."""
    if config.getoption("dist") != "load":  # something else than -n alone was asked for
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            found = TOGETHER.match(nodeid)
            return " ".join([found[0], *filter(None, found.groupdict().values())]) if found else nodeid

    config.option.loadscopereorder = False  # LONG_FIRST is the order
    return TogetherScheduling(config, log)
