"""Copies, gives away and removes folders of untrusted content: any depth, any modes, links never followed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path  # the launcher loads this, and it is slow to import

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSES = 5  # against something that still writes while it is removed


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder to `target`, which must not exist: files, folders and links (as links), with their modes.

    The owner can always write the copy, however read-only the source is. Sockets, pipes and devices are left out.

    Raises:
        OSError: as the system reports it, e.g. no space.
    """
    pending = [(str(source), str(target))]
    while pending:
        origin, copy = pending.pop()
        os.mkdir(copy, stat.S_IMODE(os.stat(origin).st_mode) | stat.S_IRWXU)  # noqa: PTH102, PTH116
        with os.scandir(origin) as entries:
            for entry in entries:
                goal = f"{copy}/{entry.name}"
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), goal)  # noqa: PTH115, PTH211
                elif entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, goal))
                elif entry.is_file(follow_symlinks=False):
                    shutil.copyfile(entry.path, goal)
                    mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                    os.chmod(goal, mode | stat.S_IRUSR | stat.S_IWUSR)  # noqa: PTH101


def give_to(folder: Path, uid: int) -> None:
    """Make a user (and its group of the same number) the owner of a folder and all in it, links too.

    Nothing else may change it meanwhile. It walks with one descriptor, so that neither recursion, nor path length, nor
    the number of open descriptors limits the depth.

    Raises:
        OSError: this process is not root.
    """
    here = os.open(folder, _FOLDER)
    try:
        os.chown(here, uid, uid)
        way, pending = [_identity(here)], [_give_content(here, uid)]
        while pending:
            if pending[-1]:
                below = os.open(pending[-1].pop(), _FOLDER, dir_fd=here)
                os.close(here)
                here = below
                way.append(_identity(here))
                pending.append(_give_content(here, uid))
                continue
            pending.pop()
            way.pop()
            if pending:
                above = os.open("..", _FOLDER, dir_fd=here)
                os.close(here)
                here = above
                if _identity(here) != way[-1]:
                    raise OSError(errno.ESTALE, "a folder was moved while it was given to another user")
    finally:
        os.close(here)


def _give_content(folder: int, uid: int) -> list[str]:
    """Give away what is in it, but not what is below; the names of those that are folders."""
    folders = []
    for name in os.listdir(folder):
        os.chown(name, uid, uid, dir_fd=folder, follow_symlinks=False)
        if _is_folder(name, folder):
            folders.append(name)
    return folders


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def remove_tree(path: Path | str) -> None:
    """Remove a folder whatever it holds; none at all is fine.

    Deep trees are flattened first, folder by folder, so that neither recursion, nor path length, nor the number of open
    descriptors limits the depth.

    Raises:
        OSError: something in it cannot be removed.
    """
    try:
        root = _open_folder(str(path), None)
    except FileNotFoundError:
        return
    try:
        for attempt in range(1, _PASSES + 1):
            _empty(root)
            try:
                os.rmdir(path)  # noqa: PTH106
            except OSError:
                if attempt == _PASSES:
                    raise
            else:
                return
    finally:
        os.close(root)


def _empty(root: int) -> None:
    lifted = 0
    while names := os.listdir(root):
        progress = False
        for name in names:
            if not _is_folder(name, root):
                os.unlink(name, dir_fd=root)
                progress = True
                continue
            folder = _open_folder(name, root)
            try:
                for child in os.listdir(folder):  # noqa: PTH208 - a descriptor, not a path
                    if not _is_folder(child, folder):
                        os.unlink(child, dir_fd=folder)
                        continue
                    os.close(_open_folder(child, folder))  # makes it writable: moving it changes its `..`
                    lifted += 1
                    while _exists(f"{lifted:x}", root):
                        lifted += 1
                    os.rename(child, f"{lifted:x}", src_dir_fd=folder, dst_dir_fd=root)
            finally:
                os.close(folder)
            with contextlib.suppress(OSError):  # something still writes into it: the next pass sees it again
                os.rmdir(name, dir_fd=root)
                progress = True
        if not progress:
            return


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_folder(name: str, folder: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _open_folder(name: str, parent: int | None) -> int:
    """A descriptor of a folder that is first made readable, writable and searchable for its owner."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if hasattr(os, "O_PATH"):  # opens a folder of mode 000, and its mode is changed through it: no link can slip in
        handle = os.open(name, flags | os.O_PATH, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)  # noqa: PTH101
            return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            os.close(handle)
    os.chmod(name, stat.S_IRWXU, dir_fd=parent)
    return os.open(name, flags | os.O_RDONLY, dir_fd=parent)
