"""Whether a node takes work."""

import shutil
from pathlib import Path

from testmesh.settings import MIB

_MIN_FREE_DISK = 64 * MIB


class Condition:
    """Safe from any thread."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.is_draining = False

    def disk_is_full(self) -> bool:
        return shutil.disk_usage(self._data).free < _MIN_FREE_DISK

    @property
    def status(self) -> str:
        """As /health says it."""
        return "draining" if self.is_draining else "disk full" if self.disk_is_full() else "ok"
