"""Installing that runs foreign code, in a box: with network, without secrets, changing nothing but its own folders."""

import errno
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.settings import GIB
from testmesh.testing.box_process import BoxEnd, BoxError
from testmesh.testing.box_request import BoxCommand, BoxLimits
from testmesh.testing.boxes import Boxes
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.folders import give_to
from testmesh.testing.namespaces import NEWPID
from testmesh.testing.run_command import Completed

_LIMITS = BoxLimits(memory=4 * GIB, processes=1024, disk=10 * GIB)  # a compiler needs more than tests do
_NOT_STARTED = 127  # as shells say it
# Why a program or a folder that foreign code may have changed cannot be started or entered.
_SPOILED = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
        *(errno.EACCES, errno.ENOEXEC, errno.EINVAL, getattr(errno, "ELIBBAD", errno.ENOEXEC)),
    }
)
_OF_THE_NODE = frozenset({errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


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
        self._raise_if_over(cancellation)
        folders = [str(folder) for folder in writable]
        with self._boxes.user() as uid:
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
                _give(writable, uid)
            either = Cancellation()
            try:
                with cancellation.telling(either.cancel), self._stop.telling(either.cancel):
                    self._raise_if_over(cancellation)
                    end = self._boxes.start(command, uid=uid, limits=_LIMITS).follow(either)
            except BoxError as error:  # else something in it may still live, and the folders stay that user's
                if not _is_spoiled(error, command):
                    raise
                end = None
                refused = Completed(_NOT_STARTED, error.reason)
            if uid is not None:
                _take_back(writable)
        return refused if end is None else self._completed(end, cancellation)

    def _completed(self, end: BoxEnd, cancellation: Cancellation) -> Completed:
        if end.cancelled:
            self._raise_if_over(cancellation)
        said = f"{end.stdout}{end.stderr}"
        if end.over_limit:
            return Completed(1, f"{said}\nit used more {end.over_limit} than an installation may have")
        if end.exit_code is None and not end.timed_out and self._boxes.level.namespaces & NEWPID:
            raise InfrastructureError("an installation was ended from outside; try again")  # for it cannot do so
        return Completed(-9 if end.exit_code is None else end.exit_code, said, end.timed_out)

    def _raise_if_over(self, cancellation: Cancellation) -> None:
        if cancellation.is_set:
            raise CancelledError
        if self._stop.is_set:
            raise InfrastructureError("this node is stopping; the work goes to another one")


def _is_spoiled(error: BoxError, command: BoxCommand) -> bool:
    """Whether the command could not be started for what an earlier one did to the folders it may write."""
    places = [Path(command.argv[0]), Path(command.cwd)]
    is_theirs = any(place.is_relative_to(folder) for place in places for folder in command.write)
    return is_theirs and error.errno in _SPOILED and error.reason.startswith("cannot start")


def _give(folders: Sequence[Path], uid: int) -> None:
    try:
        for folder in folders:
            give_to(folder, uid)
    except OSError as error:
        raise InfrastructureError(f"an installation's folder cannot change its owner: {error.strerror}") from error


def _take_back(folders: Sequence[Path]) -> None:
    """Of a box that has ended: no process of it is left to change them meanwhile."""
    try:
        for folder in folders:
            give_to(folder, os.geteuid())
    except OSError as error:
        text = f"what the requirements install cannot be taken over: {error.strerror}"
        if error.errno in _OF_THE_NODE:
            raise InfrastructureError(text) from error
        raise EnvironmentFailedError(text) from error
