"""The file system of a run at level full: what it may read, at its own path and read-only, and a place of its own.

    /usr, /bin, /lib ..., the environment, its interpreter    as outside, read-only
    /etc                                                       a few files made here
    /dev, /proc                                                of its own
    /box                                                       one tmpfs of limited size: code, home, /tmp, /dev/shm

Nothing else of the machine is there, so nothing else can be read or written, whatever its modes are.
"""

# ruff: noqa: PTH101, PTH102, PTH103, PTH106, PTH110, PTH112, PTH120, PTH211, S108 - pathlib is slow to import
from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from testmesh.testing.namespaces import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    bind,
    change_root,
    make_private,
    mount,
    remount,
    unmount,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BOX = "/box"
HOME = f"{BOX}/home"
CODE = f"{BOX}/code"
USER = 1000  # uid and gid that the tests see
_NEW = "/tmp"
_SOURCE = f"{_NEW}{BOX}/source"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL = 64 * 1024  # bytes up to which it is quicker to read and write a file than to have it sent
_COPIED = 256 * 1024  # bytes at a time
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "fd/0"),
    ("stdout", "fd/1"),
    ("stderr", "fd/2"),
    ("ptmx", "pts/ptmx"),
)
# Of these the machine has one store for all that a user runs, which one run must not empty.
_SYSTEM = {"user/max_inotify_instances": 64, "user/max_inotify_watches": 16_384, "user/max_mnt_namespaces": 0}
_FILES = {
    "passwd": f"root:x:0:0:root:/:/bin/sh\nbox:x:{USER}:{USER}:box:{HOME}:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    "group": f"root:x:0:\nbox:x:{USER}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost box\n::1 localhost ip6-localhost ip6-loopback\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "hostname": "box\n",
}


class CodeTooLargeError(Exception):
    """The project does not fit into what a run may write."""


class Sources:
    """Everything that will be shown, opened while this process still may reach it."""

    def __init__(self, root: dict[str, Any]) -> None:
        """`root`: {read: [path], write: [path], code: [folder, name] or null, ...}."""
        self.binds = []
        for kind in ("read", "write"):
            self.binds += [(_open(path, kind == "write"), path, kind == "write") for path in root[kind]]
        self.devices = [(_open(f"/dev/{name}"), name) for name in _DEVICES if os.path.exists(f"/dev/{name}")]
        self.proc = _open("/proc")
        self.code = None if root["code"] is None else (_open(root["code"][0]), root["code"][1])


def build(root: dict[str, Any], sources: Sources, fresh_proc: bool) -> None:
    """Make the new root and enter it. For process 1 of new mount and process namespaces, which may mount there.

    `root` besides: size (bytes of what is writable), links ([[path, target]]).

    Raises:
        OSError: what could not be mounted.
    """
    make_private()
    mount("tmpfs", _NEW, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=4m")
    _make_writable(root["size"])
    for path, target in root["links"]:
        os.symlink(target, _NEW + path)
    _make_devices(sources)
    _make_proc(sources, fresh_proc)
    for descriptor, target, is_writable in sources.binds:
        _show(descriptor, _NEW + target, is_writable)
    for name, text in _FILES.items():
        if not os.path.lexists(f"{_NEW}/etc/{name}"):
            _write(f"{_NEW}/etc/{name}", text)
    if sources.code is not None:
        try:
            _copy_code(*sources.code)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise CodeTooLargeError from error
    remount(_NEW, MS_RDONLY | MS_NOSUID | MS_NODEV)
    change_root(_NEW)


def _make_writable(size: int) -> None:
    os.mkdir(_NEW + BOX)
    inodes = max(4096, size // 4096)
    mount("tmpfs", _NEW + BOX, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=755,size={size},nr_inodes={inodes}")
    for path, mode in (("code", 0o755), ("home", 0o755), ("tmp", 0o1777), ("shm", 0o1777)):
        os.mkdir(f"{_NEW}{BOX}/{path}")
        os.chmod(f"{_NEW}{BOX}/{path}", mode)
    os.mkdir(f"{_NEW}/var")
    os.symlink("/tmp", f"{_NEW}/var/tmp")
    os.mkdir(f"{_NEW}/tmp")
    mount(f"{_NEW}{BOX}/tmp", f"{_NEW}/tmp", None, MS_BIND)
    for name in ("etc", "run", "proc", "dev"):
        os.mkdir(f"{_NEW}/{name}")


def _make_devices(sources: Sources) -> None:
    for descriptor, name in sources.devices:
        _touch(f"{_NEW}/dev/{name}")
        mount(f"/proc/self/fd/{descriptor}", f"{_NEW}/dev/{name}", None, MS_BIND)
    for name, target in _DEVICE_LINKS:
        os.symlink(target, f"{_NEW}/dev/{name}")
    os.mkdir(f"{_NEW}/dev/pts")
    mount("devpts", f"{_NEW}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=600,max=64")
    os.mkdir(f"{_NEW}/dev/shm")
    mount(f"{_NEW}{BOX}/shm", f"{_NEW}/dev/shm", None, MS_BIND)


def _make_proc(sources: Sources, fresh_proc: bool) -> None:
    if fresh_proc:
        mount("proc", f"{_NEW}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        for name, value in _SYSTEM.items():
            with suppress(OSError):
                _write(f"{_NEW}/proc/sys/{name}", str(value))
        bind(f"{_NEW}/proc/sys", f"{_NEW}/proc/sys", is_writable=False)
    else:  # that of outside, with what is masked there: other processes are seen, but not looked into nor changed
        bind(f"/proc/self/fd/{sources.proc}", f"{_NEW}/proc", is_writable=False)


def _show(descriptor: int, target: str, is_writable: bool) -> None:
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _touch(target)
    bind(f"/proc/self/fd/{descriptor}", target, is_writable)


def _copy_code(source: int, name: str) -> None:
    """The code is copied through a mount of it, since its path may lead through folders that are not to be entered."""
    os.mkdir(_SOURCE)
    mount(f"/proc/self/fd/{source}", _SOURCE, None, MS_BIND)
    copy_tree(_SOURCE, f"{_NEW}{CODE}/{name}")
    unmount(_SOURCE)
    os.rmdir(_SOURCE)


def copy_tree(source: str, target: str) -> None:
    """Files, folders and links (as links); executable or not is all that is kept of the modes."""
    pending = [(source, target)]
    while pending:
        origin, copy = pending.pop()
        os.mkdir(copy, 0o755)
        reading, writing = os.open(origin, _FOLDER), os.open(copy, _FOLDER)
        try:
            pending += [(f"{origin}/{name}", f"{copy}/{name}") for name in _copy_entries(reading, writing)]
        finally:
            os.close(reading)
            os.close(writing)


def _copy_entries(origin: int, copy: int) -> list[str]:
    """What is in one folder, but not what is below; the names of its folders. By descriptors: paths take time."""
    folders = []
    with os.scandir(origin) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                _copy_file(entry.name, origin, copy)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.is_symlink():
                os.symlink(os.readlink(entry.name, dir_fd=origin), entry.name, dir_fd=copy)
    return folders


def _copy_file(name: str, origin: int, copy: int) -> None:
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=origin)
    try:
        status = os.fstat(reading)
        mode = 0o755 if status.st_mode & 0o100 else 0o644
        writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=copy)
        try:
            copied = os.write(writing, os.read(reading, min(status.st_size, _SMALL))) if status.st_size else 0
            while copied < status.st_size and (more := os.sendfile(writing, reading, copied, _COPIED)):
                copied += more
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _open(path: str, is_writable: bool = False) -> int:
    """What may be written is never behind a link: somebody may have put it there."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | (os.O_NOFOLLOW if is_writable else 0))
    if is_writable and stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, f"{path} is a link")
    return descriptor


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
