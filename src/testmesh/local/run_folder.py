"""The run folder of a checkout (.run/): what was started, the mesh's secret, logs and data."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from testmesh.local.errors import LocalError
from testmesh.local.processes import ProcessId


@dataclass(frozen=True, slots=True)
class RunFolder:
    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def nginx(self) -> Path:
        return self.path / "nginx"

    @property
    def secret_file(self) -> Path:
        return self.path / "secret"

    def node_data(self, port: int) -> Path:
        return self.path / "data" / str(port)

    def ad_hoc_data(self, port: int) -> Path:
        """Of nodes that local_node.py starts: `--fresh` of boot.sh leaves it alone."""
        return self.path / "ad-hoc" / str(port)

    def prepare(self) -> None:
        """Make the folder; only its owner may look inside, since submissions are kept there."""
        for folder in (self.path, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def drop_data(self) -> None:
        shutil.rmtree(self.path / "data", ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One boot.sh of a checkout at a time.

        Raises:
            LocalError: another is at work.
        """
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalError("another boot.sh of this folder is at work; wait until it has ended") from None
            yield

    def started(self) -> list[ProcessId]:
        """What an earlier start recorded; some may have ended since."""
        try:
            records = json.loads((self.path / "processes.json").read_text())
            return [ProcessId(int(record["pid"]), str(record["started"])) for record in records]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []

    def record(self, processes: list[ProcessId]) -> None:
        self._write("processes.json", json.dumps([asdict(process) for process in processes]))

    def secret(self) -> str | None:
        try:
            return self.secret_file.read_text().strip() or None
        except FileNotFoundError:
            return None

    def make_secret(self) -> str:
        """The kept secret, made on first use; readable by its owner alone."""
        kept = self.secret()
        if kept is None:
            kept = secrets.token_hex(32)
            self.keep_secret(kept)
        return kept

    def keep_secret(self, secret: str) -> None:
        self._write("secret", secret + "\n")

    def _write(self, name: str, text: str) -> None:
        """Whole or not at all, mode 600."""
        unfinished = self.path / f"{name}.{os.getpid()}"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        unfinished.replace(self.path / name)
