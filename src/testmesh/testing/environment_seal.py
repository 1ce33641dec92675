"""What foreign code left in an environment is looked at once, before anything trusts it, and given its final modes."""

import errno
import os
import re
import secrets
import stat
from pathlib import Path

from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.testing.environment_key import Interpreter

_MAX_DEPTH = 100
_MAX_ENTRIES = 500_000
_FOLDER, _FILE, _PROGRAM = 0o755, 0o644, 0o755
_REPLACED = "a requirement replaces the environment's Python or its folder, which is not taken; remove it"
_PYTHON = re.compile(r"python[0-9.]*t?")


def restore_python(environment: Path, interpreter: Interpreter) -> None:
    """Make the environment's Pythons links to its interpreter again, whatever foreign code has put in their place.

    Its pyvenv.cfg too leads there, and its folders of packages are folders, not links to somebody else's. Nothing that
    foreign code started may be left.

    Raises:
        EnvironmentFailedError: there is another Python besides, or no folder for them.
        OSError: as the system reports it.
    """
    programs = environment / "bin"
    library = environment / "lib" / f"python{'.'.join(interpreter.version.split('.')[:2])}"
    for folder in (environment / "lib", library, library / "site-packages"):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise EnvironmentFailedError(_REPLACED)
    ours = ("python", "python3", f"python{'.'.join(interpreter.version.split('.')[:2])}", interpreter.path.name)
    names = [name for name in dict.fromkeys(ours) if _PYTHON.fullmatch(name)]
    if programs.is_symlink():
        raise EnvironmentFailedError(_REPLACED)
    try:
        for name in os.listdir(programs):  # noqa: PTH208
            if _PYTHON.fullmatch(name) and name not in names:
                raise EnvironmentFailedError(f"a requirement installs another Python ({name}); remove it")
        for name in names:
            program = programs / name
            if program.is_symlink() and program.readlink() == interpreter.path:
                continue  # runs may be starting by it
            program.unlink(missing_ok=True)
            program.symlink_to(interpreter.path)
        _restore_config(environment / "pyvenv.cfg", interpreter)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise EnvironmentFailedError(_REPLACED) from error


def _restore_config(config: Path, interpreter: Interpreter) -> None:
    """Never through a link, and whole at any moment: runs may be starting by it."""
    text = f"home = {interpreter.path.parent}\ninclude-system-site-packages = false\nversion = {interpreter.version}\n"
    is_plain = not config.is_symlink() and config.is_file() and config.stat().st_size == len(text.encode())
    if is_plain and config.read_text(encoding="utf-8", errors="replace") == text:
        return
    part = config.with_name(f".pyvenv.cfg-{secrets.token_hex(8)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE), "w") as stream:
        stream.write(text)
    part.rename(config)


def seal(environment: Path, interpreter: Interpreter) -> int:
    """Make everything the node's own, readable by all and writable by none but it. Gives its size in bytes on disk.

    Its Pythons are restored. Nothing that foreign code started may be left.

    Raises:
        EnvironmentFailedError: there is something in it that no installation makes: another Python, hard links (to
            files of others, perhaps), devices and the like, folders without end.
        InfrastructureError: it belongs to another user and this one cannot change that.
        OSError: as the system reports it.
    """
    restore_python(environment, interpreter)
    try:
        return _seal_all(environment)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _too_much() from error
        raise


def _seal_all(environment: Path) -> int:
    size = entries = 0
    pending = [(str(environment), 0)]
    while pending:
        folder, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise _too_much()
        _own(folder, os.lstat(folder), _FOLDER)
        with os.scandir(folder) as listed:
            for entry in listed:
                entries += 1
                if entries > _MAX_ENTRIES:
                    raise _too_much()
                status = entry.stat(follow_symlinks=False)
                size += status.st_blocks * 512
                if stat.S_ISDIR(status.st_mode):
                    pending.append((entry.path, depth + 1))
                else:
                    _seal_file(entry.path, status)
    return size


def _too_much() -> EnvironmentFailedError:
    return EnvironmentFailedError(
        f"the requirements install more than {_MAX_ENTRIES} files or folders deeper than {_MAX_DEPTH}; require less"
    )


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
