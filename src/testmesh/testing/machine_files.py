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
_ENVIRONMENT = "pyvenv.cfg"  # a virtual environment has it
_PARTS = ("bin", "lib", "lib64", "include", _ENVIRONMENT)


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


def interpreter_folders(python: Path, prefix: str = "") -> tuple[str, ...]:
    """What `python` needs besides the machine's own folders and, where it is an environment's, that environment.

    Its links lead to an interpreter; where that is kept elsewhere (uv's, pyenv's), its installation is needed, and so
    is that of every link on the way, and `prefix`, where the interpreter is known to have another one. Links that
    foreign code may have made must not be asked.
    """
    needed: list[Path] = []
    if prefix:
        needed += [*_parts(Path(prefix)), *_parts(Path(os.path.realpath(prefix)))]
    at = python
    for _ in range(_HOPS):
        if at is not python or not (python.parent.parent / _ENVIRONMENT).exists():
            for one in (at, Path(os.path.realpath(at.parent), at.name)):
                needed += _installation(one)
        if not os.path.islink(at):  # noqa: PTH114 - raises nothing
            break
        at = Path(os.path.normpath(at.parent / at.readlink()))
    own = [path for path in dict.fromkeys(needed) if not any(path.is_relative_to(folder) for folder in _FOLDERS)]
    return tuple(str(path) for path in own if not any(other in path.parents for other in own))


def _installation(python: Path) -> list[Path]:
    """What belongs to an interpreter; the program alone where it is in no place of such."""
    prefix = python.parent.parent
    if not any((prefix / "lib").glob("python3*")) and not (prefix / _ENVIRONMENT).exists():
        return [python]
    return _parts(prefix) if python.parent.name == "bin" else [*_parts(prefix), python]


def _parts(prefix: Path) -> list[Path]:
    """Never all of the folder, which may hold much else: a home, or the whole machine."""
    return [prefix / part for part in _PARTS if (prefix / part).exists()]


def _existing(folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path for name in names if os.path.exists(path := f"{folder}/{name}"))  # noqa: PTH110
