"""The Docker of this machine: whether there is one, and running its commands."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testmesh.local.errors import LocalError

_ASK_S = 30.0


@dataclass(frozen=True, slots=True)
class Engine:
    """`compose` is the command line's beginning; `fresh_proc` whether it can give containers an unmasked /proc."""

    docker: str
    compose: tuple[str, ...] = ()
    fresh_proc: bool = False


def find_engine(environ: Mapping[str, str], *, compose: bool = True) -> Engine:
    """The engine that answers.

    Raises:
        LocalError: there is none, or no compose where one is asked for; why.
    """
    docker = shutil.which("docker", path=environ.get("PATH"))
    if docker is None:
        raise LocalError("Docker is not installed")
    asked = ask([docker, "info", "--format", "{{.ServerVersion}}"], environ)
    if asked.returncode != 0 or not asked.stdout.strip():
        reason = (asked.stderr.strip().splitlines() or ["it does not answer"])[-1]
        raise LocalError(f"the Docker engine cannot be used ({reason})")
    if not compose:
        return Engine(docker)
    if ask([docker, "compose", "version"], environ).returncode == 0:
        return Engine(docker, (docker, "compose"), fresh_proc=True)
    old = shutil.which("docker-compose", path=environ.get("PATH"))
    if old is None:
        raise LocalError("Docker has no compose; install docker-compose, or the plugin of that name")
    return Engine(docker, (old,))


def ask(
    command: Sequence[str], environ: Mapping[str, str], folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run it without showing anything; what it says is in the result. One that hangs has failed."""
    try:
        return subprocess.run(
            command,
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_ASK_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def run(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
    """Run it; the terminal shows what it says.

    Raises:
        LocalError: it failed; above is why.
    """
    try:
        ended = subprocess.run(command, env=dict(environ), cwd=folder, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise LocalError(f"{command[0]} cannot be run: {error}") from error
    if ended.returncode != 0:
        raise LocalError(f"{' '.join(command)} failed; above is why")
