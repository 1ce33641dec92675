"""Finds the projects of an archive that lies on disk."""

import contextlib
from pathlib import Path

from testmesh.model import Project
from testmesh.testing.archive import ZipTree
from testmesh.testing.detection import detect
from testmesh.testing.known_modules import KnownModules


class Detector:
    """Safe from any thread. A class sends the same test files again and again: they are parsed once."""

    def __init__(self) -> None:
        self._parsed = KnownModules()

    def projects(self, archive: Path, name: str, tests: Path | None, *, prefix: bool) -> tuple[Project, ...]:
        """Of a checked zip, as `detect` finds them; `tests` are the staff's. Raises NothingToTestError."""
        with contextlib.ExitStack() as opened:
            tree = opened.enter_context(ZipTree(archive))
            overlay = opened.enter_context(ZipTree(tests)) if tests is not None else None
            return detect(tree, name, overlay, prefix=prefix, parsed=self._parsed)
