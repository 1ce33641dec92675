"""What foreign code left in an environment is looked at once, before anything trusts it, and given its final modes."""

import filecmp
import os
import stat
from pathlib import Path

from testmesh.errors import EnvironmentFailedError, InfrastructureError

_MAX_DEPTH = 100
_MAX_ENTRIES = 500_000
_FOLDER, _FILE, _PROGRAM = 0o755, 0o644, 0o755


def seal(environment: Path, python: Path, interpreter: Path) -> int:
    """Make everything the node's own, readable by all and writable by none but it. Gives its size in bytes on disk.

    `python` is the environment's, which has to be a link to `interpreter`, or a copy of it.

    Raises:
        EnvironmentFailedError: there is something in it that no installation makes: another Python, hard links (to
            files of others, perhaps), devices and the like, folders without end.
        InfrastructureError: it belongs to another user and this one cannot change that.
        OSError: as the system reports it.
    """
    _check_python(python, interpreter)
    size = entries = 0
    pending = [(str(environment), 0)]
    while pending:
        folder, depth = pending.pop()
        _own(folder, os.lstat(folder), _FOLDER)
        with os.scandir(folder) as listed:
            for entry in listed:
                entries += 1
                status = entry.stat(follow_symlinks=False)
                size += status.st_blocks * 512
                if stat.S_ISDIR(status.st_mode):
                    pending.append((entry.path, depth + 1))
                else:
                    _seal_file(entry.path, status)
        if depth > _MAX_DEPTH or entries > _MAX_ENTRIES:
            raise EnvironmentFailedError(
                f"the requirements install more than {_MAX_ENTRIES} files or folders deeper than {_MAX_DEPTH}; "
                "require less"
            )
    return size


def _check_python(python: Path, interpreter: Path) -> None:
    if python.resolve() == interpreter.resolve():
        return
    if python.is_symlink() or not python.is_file() or not filecmp.cmp(python, interpreter, shallow=False):
        raise EnvironmentFailedError("a requirement replaces the environment's Python, which is not taken; remove it")


def _seal_file(path: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        _own(path, status, None)
    elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        _own(path, status, _PROGRAM if status.st_mode & stat.S_IXUSR else _FILE)
    else:
        raise EnvironmentFailedError(
            "a requirement installs hard links, sockets, pipes or devices, which are not taken; install plain files"
        )


def _own(path: str, status: os.stat_result, mode: int | None) -> None:
    """Owner first: a set-user bit must not for a moment be that of the node's own user."""
    if status.st_uid != os.geteuid():
        try:
            os.lchown(path, os.geteuid(), os.getegid())
        except PermissionError as error:
            raise InfrastructureError("an installed file belongs to another user than this node") from error
    if mode is not None and stat.S_IMODE(status.st_mode) != mode:
        os.chmod(path, mode)  # noqa: PTH101
