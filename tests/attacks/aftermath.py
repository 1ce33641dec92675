"""The world around a node before an attack, and how it differs afterwards."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from testmesh.testing.folders import remove_tree
from tests.attacks import guard
from tests.attacks.target import Range
from tests.support.mesh import ROOT, RunningNode


@dataclass
class Before:
    """What the world looked like, and how it differs now."""

    mounts: set[str]
    processes: int
    environments: dict[str, tuple[int, str]]
    caught: int
    key: bytes

    @staticmethod
    def of(at: Range) -> "Before":
        if at.node is None:
            return Before(set(), 0, {}, len(at.trap.caught), b"")
        data = at.node.data
        return Before(
            guard.mounts(data, at.mark),
            len(at.node_pids()),
            guard.fingerprint_of_environments(data / "environments"),
            len(at.trap.caught),
            (data / "node.key").read_bytes() if (data / "node.key").exists() else b"",
        )

    def differs(self, at: Range) -> list[str]:
        wrong = [f"the trap: {text}" for text in at.trap.caught[self.caught :]]
        wrong += [text for canary in at.canaries if (text := canary.changed())]
        if requests.get(f"{at.url}/health", timeout=60).json().get("status") != "ok":
            wrong.append("the node is not well")
        return wrong + (self._differs_here(at, at.node) if at.node else [])

    def _differs_here(self, at: Range, node: RunningNode) -> list[str]:
        data = node.data
        wrong = [f"left in the work folder: {name}" for name in guard.runs_left(data)]
        wrong += while_there(lambda: guard.marked_processes(at.mark, data))
        wrong += while_there(lambda: [f"mount: {m}" for m in guard.mounts(data, at.mark) - self.mounts])
        own = (data, *(path for path in data.iterdir() if path.is_dir()), ROOT / "src")
        keep = {canary.path for canary in at.canaries}
        for path in guard.marked_files(at.mark, keep, own):
            wrong.append(f"file: {path}")
            remove_tree(Path(path)) if Path(path).is_dir() else Path(path).unlink(missing_ok=True)
        if guard.listens(at.left_port):
            wrong.append(f"something listens on port {at.left_port}")
        after = guard.fingerprint_of_environments(data / "environments")
        wrong += [
            f"environment changed: {path}" for path, value in self.environments.items() if after.get(path) != value
        ]
        if not guard.database_is_whole(data / "mesh.db"):
            wrong.append("the database is damaged")
        if ((data / "node.key").read_bytes() if (data / "node.key").exists() else b"") != self.key:
            wrong.append("node.key was changed")
        wrong += while_there(lambda: self._more_processes(at))
        log = node.log.read_text(errors="replace")
        wrong += ["a traceback in the node's log"] if "Traceback" in log else []
        return wrong + ["a secret in the node's log" for secret in at.secrets if secret in log]

    def _more_processes(self, at: Range) -> list[str]:
        now = len(at.node_pids())
        return [f"the node has {now} processes, before it had {self.processes}"] if now > self.processes else []


def while_there(look: Callable[[], list[str]], patience: float = 10.0) -> list[str]:
    """What is still so after a while."""
    end = time.monotonic() + patience
    found = look()
    while found and time.monotonic() < end:
        time.sleep(0.1)
        found = look()
    return found
