"""One at a time on a host: modules that may bind ports, where all of them share one loopback."""

from contextlib import AbstractContextManager
from pathlib import Path

from testmesh.testing.cancellation import Cancellation
from testmesh.testing.host_lock import host_lock


def loopback_lock(cancellation: Cancellation, folder: Path | None = None) -> AbstractContextManager[int | None]:
    """Wait for the host's loopback and hold it, as `host_lock` does."""
    return host_lock("loopback", cancellation, folder)
