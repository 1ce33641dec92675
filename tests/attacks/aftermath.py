"""The world around a node before an attack, and how it differs afterwards."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from testmesh.testing.folders import remove_tree
from tests.attacks import guard
from tests.attacks.target import Range
from tests.support.mesh import ROOT, RunningNode, children

_PATIENCE_S = 60.0  # what is written in the background, such as bytecode, gives way to all else on the machine
_WARM = "testmesh.testing.warm_process"
_LAUNCHERS = ("testmesh.testing.launcher", _WARM)  # in their command lines, and in those of a warm one's forks


def launchers_of(node: RunningNode) -> list[int]:
    """The processes that stay between runs, and start them: children of the worker, as a warm one's forks are not."""
    assert node.process is not None
    below = [pid for worker in children(node.process.pid) for pid in children(worker)]
    return [pid for pid in below if any(name in guard.command_line(pid) for name in _LAUNCHERS)]


@dataclass
class Before:
    """What the world looked like, and how it differs now. `launchers`: how many may be there, a warm one to come."""

    mounts: set[str]
    launchers: int
    environments: dict[str, tuple[int, str]]
    caught: int
    key: bytes

    @staticmethod
    def of(at: Range) -> "Before":
        if at.node is None:
            return Before(set(), 0, {}, len(at.trap.caught), b"")
        data = at.node.data
        launchers = [guard.command_line(pid) for pid in launchers_of(at.node)]
        return Before(
            guard.mounts(data, at.mark),
            len(launchers) + (not any(_WARM in line for line in launchers)),
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
        wrong += while_there(lambda: self._more_processes(at, node), _PATIENCE_S)
        log = node.log.read_text(errors="replace")
        wrong += ["a traceback in the node's log"] if "Traceback" in log else []
        return wrong + ["a secret in the node's log" for secret in at.secrets if secret in log]

    def _more_processes(self, at: Range, node: RunningNode) -> list[str]:
        """Besides the node, its worker and its launchers there is none, whatever there was before."""
        assert node.process is not None
        launchers = launchers_of(node)
        own = {node.process.pid, *children(node.process.pid), *launchers}
        found = [f"process {pid} is left: {guard.command_line(pid)!r}" for pid in set(at.node_pids()) - own]
        return found + ([f"the node has {len(launchers)} launchers"] if len(launchers) > self.launchers else [])


def while_there(look: Callable[[], list[str]], patience: float = 10.0) -> list[str]:
    """What is still so after a while."""
    end = time.monotonic() + patience
    found = look()
    while found and time.monotonic() < end:
        time.sleep(0.1)
        found = look()
    return found
