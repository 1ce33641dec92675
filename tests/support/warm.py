"""Runs by a warm parent, where a test must hold for them as it does for a new interpreter."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from testmesh.testing.boxes import Boxes
from testmesh.testing.events import RunReport
from testmesh.testing.runner import ModuleRunner, RunRequest
from testmesh.testing.warm_parents import WarmParent, warm_launcher

STARTS = ("cold", "warm")


@contextlib.contextmanager
def warm_parent(python: Path) -> Iterator[WarmParent]:
    """Of the environment itself, which only a test may trust so far."""
    launcher = warm_launcher(python)
    try:
        assert launcher.wait_ready(60)
        yield WarmParent(launcher, (str(python.parent.parent),))
    finally:
        launcher.close()


class WarmRunner(ModuleRunner):
    """Has every module run by a warm parent, and fails where a new interpreter ran it in the end."""

    def __init__(self, work: Path, boxes: Boxes, warm: WarmParent, lock_folder: Path | None = None) -> None:
        super().__init__(work, boxes, lock_folder)
        self._warm = warm

    def run(self, request: RunRequest, *arguments: Any, **options: Any) -> RunReport:
        fallen_back: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: fallen_back.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("testmesh.testing.runner")
        logger.addHandler(handler)
        try:
            return super().run(replace(request, warm=self._warm), *arguments, **options)
        finally:
            logger.removeHandler(handler)
            assert fallen_back == []
