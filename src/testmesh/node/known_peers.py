"""The peers of earlier runs, in a file: a mesh that was stopped whole finds itself again without a bootstrap."""

import json
import logging
import threading
from pathlib import Path

from testmesh.settings import parse_address

log = logging.getLogger(__name__)


class KnownPeers:
    """Safe from any thread."""

    def __init__(self, file: Path, own_address: str) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._addresses = self._load() - {own_address}

    def addresses(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._addresses)

    def add(self, address: str) -> None:
        with self._lock:
            if address in self._addresses:
                return
            self._addresses.add(address)
            part = self._file.with_suffix(".part")
            try:
                part.write_text(json.dumps(sorted(self._addresses)), encoding="utf-8")
                part.replace(self._file)
            except OSError as error:
                log.warning("could not write %s: %s", self._file.name, error)

    def _load(self) -> set[str]:
        """Nothing where the file is not there or not whole: it is a help, no more."""
        try:
            return {parse_address(address) for address in json.loads(self._file.read_text(encoding="utf-8"))}
        except (OSError, ValueError, TypeError):
            return set()
