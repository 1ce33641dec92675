"""What of this machine's files a box shows: programs and libraries, and the few files of /etc that tell nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "alternatives", "mime.types"),
    *("services", "protocols", "os-release", "ssl/certs", "ssl/openssl.cnf"),
)
_ETC_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "gai.conf", "host.conf", "pki", "ca-certificates")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm")
_HOPS = 40


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """`folders` and `etc` are there to be read; `links` are folders that are links: (path, target)."""

    folders: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    etc: tuple[str, ...]
    etc_network: tuple[str, ...]  # what a program besides needs to reach other machines
    devices: tuple[str, ...]


def machine_files() -> MachineFiles:
    there = [folder for folder in _FOLDERS if os.path.isdir(folder)]  # noqa: PTH112
    return MachineFiles(
        folders=tuple(folder for folder in there if not Path(folder).is_symlink()),
        links=tuple((folder, str(Path(folder).readlink())) for folder in there if Path(folder).is_symlink()),
        etc=_existing("/etc", _ETC),
        etc_network=_existing("/etc", _ETC_NETWORK),
        devices=_existing("/dev", _DEVICES),
    )


def interpreter_folders(python: Path) -> tuple[str, ...]:
    """What an environment's `python` needs besides the environment and the machine's own folders.

    Its links lead to an interpreter; where that is kept elsewhere (uv's, pyenv's), its whole installation is needed,
    and so is that of every link on the way.
    """
    needed: list[str] = []
    at = python
    for _ in range(_HOPS):
        if not at.is_symlink():
            break
        at = Path(os.path.normpath(at.parent / at.readlink()))
        for one in (at, at.parent.resolve() / at.name):
            needed.append(_installation(one))
    own = [folder for folder in dict.fromkeys(needed) if not folder.startswith(_FOLDERS)]
    return tuple(folder for folder in own if not any(folder.startswith(f"{other}/") for other in own))


def _installation(python: Path) -> str:
    """The folder that holds an interpreter's `bin` and `lib`; the program alone where it is no such place."""
    prefix = python.parent.parent
    has_library = any((prefix / "lib").glob("python3*")) or (prefix / "pyvenv.cfg").exists()
    return str(prefix if has_library else python)


def _existing(folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path for name in names if os.path.exists(path := f"{folder}/{name}"))  # noqa: PTH110
