"""Commands as an installer gives them, written down and then run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testmesh.errors import TestmeshError
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.run_command import Completed, RunCommand


@dataclass(frozen=True)
class Command:
    argv: tuple[str, ...]
    env: Mapping[str, str]
    writable: tuple[Path, ...]
    readable: tuple[Path, ...]
    foreign: bool


class RecordedCommands:
    """A RunCommand that keeps what it was given, and leaves the running to another, or raises `error`."""

    def __init__(self, run: RunCommand) -> None:
        self._run = run
        self.commands: list[Command] = []
        self.error: TestmeshError | None = None

    def __call__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        *,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        foreign: bool = False,
        cancellation: Cancellation | None = None,
    ) -> Completed:
        self.commands.append(Command(tuple(argv), dict(env), tuple(writable), tuple(readable), foreign))
        if self.error is not None:
            raise self.error
        return self._run(
            argv,
            env,
            cwd,
            timeout,
            writable=writable,
            readable=readable,
            foreign=foreign,
            cancellation=cancellation,
        )
