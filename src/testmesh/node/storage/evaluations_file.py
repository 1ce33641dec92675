"""`evaluations_<host>_<port>.json`: the newest evaluations as the API shows them, for people and their scripts."""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testmesh.errors import TestmeshError
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes

log = logging.getLogger(__name__)
_AT_MOST_EVERY_S = 5.0


class EvaluationsFile:
    """Written atomically when an evaluation ends, at most every 5 s. `documents` gives the newest evaluations."""

    def __init__(self, path: Path, ledger: Ledger, documents: Callable[[], list[dict[str, Any]]]) -> None:
        self._path = path
        self._documents = documents
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evaluations-file", daemon=True)
        ledger.subscribe(self._look)
        self._thread.start()

    def _look(self, changes: Changes, _publish: bool) -> None:
        if any(evaluation.finished_at is not None for evaluation in changes.evaluations):
            self._changed.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._changed.wait()
            if self._stop.is_set():
                return
            self._changed.clear()
            self.write()
            self._stop.wait(_AT_MOST_EVERY_S)

    def write(self) -> None:
        part = self._path.with_suffix(".part")
        try:
            text = json.dumps({"evaluations": self._documents()}, indent=1, ensure_ascii=False)
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except (OSError, TestmeshError, ValueError) as error:
            log.warning("could not write %s: %s", self._path.name, error)

    def stop(self) -> None:
        """Write what is not written yet, and end."""
        pending = self._changed.is_set()
        self._stop.set()
        self._changed.set()
        self._thread.join()
        if pending:
            self.write()
