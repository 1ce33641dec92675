"""One engine and one compose stack for all these tests; each leaves the stack as it found it."""

from collections.abc import Iterator

import pytest

from testmesh.local.engine import Engine
from tests.support.docker import Stack, stack, unique_name, usable_engine


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: needs a Docker engine")


@pytest.fixture(scope="session", autouse=True)
def found() -> Engine:
    engine, reason = usable_engine()
    if engine is None:
        pytest.skip(reason)
    return engine


@pytest.fixture(scope="session")
def _stack(found: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """As a plain `docker compose up -d --build` starts it: without boot.sh, an address or a secret."""
    folder = tmp_path_factory.mktemp("docker") / unique_name("stack")
    with stack(folder, found, MESH_GITHUB_API="http://127.0.0.1:9") as started:  # nobody is asked
        started.compose("up", "-d", "--build")
        started.wait_whole()
        yield started


@pytest.fixture
def whole(_stack: Stack) -> Stack:
    """The stack with all its nodes up, whatever an earlier test did to it."""
    if not _stack.is_whole():
        _stack.compose("up", "-d")
        _stack.wait_whole()
    return _stack
