"""Installing that runs foreign code, in a box: with network, without secrets, changing nothing but its own folders."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

from testmesh.errors import InfrastructureError
from testmesh.settings import GIB
from testmesh.testing.box_request import BoxCommand, BoxLimits
from testmesh.testing.boxes import Boxes
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.folders import give_to
from testmesh.testing.run_command import Completed

_LIMITS = BoxLimits(memory=4 * GIB, processes=1024, disk=10 * GIB)  # a compiler needs more than tests do


class BoxedCommandRunner:
    """A `RunCommand` whose every command is foreign. Safe from any thread."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self._stop = Cancellation()

    def close(self) -> None:
        """End what runs, and start nothing more: the node stops."""
        self._stop.cancel()

    def __call__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        *,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        foreign: bool = True,  # noqa: ARG002 - here all are
        cancellation: Cancellation | None = None,
    ) -> Completed:
        cancellation = cancellation or Cancellation()
        if cancellation.is_set:
            raise CancelledError
        folders = [str(folder) for folder in writable]
        uid = self._boxes.new_uid()
        command = BoxCommand(
            name=self._boxes.new_name(),
            argv=tuple(argv),
            env=env,
            cwd=str(cwd),
            timeout_s=timeout,
            read=tuple(str(path) for path in readable),
            write=tuple(folders),
            watched_folder=os.path.commonpath(folders) if folders else None,
            network=True,
        )
        if uid is not None:
            self._give(writable, uid)
        either = Cancellation()
        try:
            with cancellation.telling(either.cancel), self._stop.telling(either.cancel):
                end = self._boxes.start(command, uid=uid, limits=_LIMITS).follow(either)
        finally:
            if uid is not None:
                self._give(writable, os.geteuid())
        if end.cancelled and cancellation.is_set:
            raise CancelledError
        if end.cancelled:
            raise InfrastructureError("this node is stopping; the work goes to another one")
        said = f"{end.stdout}{end.stderr}"
        if end.over_limit:
            return Completed(1, f"{said}\nit used more {end.over_limit} than an installation may have")
        if end.exit_code is None and not end.timed_out:
            raise InfrastructureError("an installation was ended from outside; try again")
        return Completed(-9 if end.exit_code is None else end.exit_code, said, end.timed_out)

    def _give(self, folders: Sequence[Path], uid: int) -> None:
        try:
            for folder in folders:
                give_to(folder, uid)
        except OSError as error:
            raise InfrastructureError(f"an installation's folder cannot change its owner: {error}") from error
