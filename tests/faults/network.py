"""The network between the nodes of a cluster: a namespace each, and one switch that spoils what passes between them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import asdict
from functools import partial

from tests.faults.namespaces import Namespace
from tests.faults.switch import Rule
from tests.support.mesh import ROOT


class Network:
    """Nodes are counted from 0. Rules are in force when a method returns, and replace what there was for the pair."""

    def __init__(self, namespaces: list[Namespace], control: socket.socket) -> None:
        self.namespaces = namespaces
        self._control = control

    def set_rule(self, rule: Rule, sources: Collection[int], targets: Collection[int]) -> None:
        """In this direction only."""
        rules = [(s, t, asdict(rule)) for s in sources for t in targets if s != t]
        self._tell({"rules": rules})

    def counts(self) -> dict[str, int]:
        """Frames so far: sent, lost, duplicated."""
        return self._tell({})

    def _tell(self, command: dict[str, object]) -> dict[str, int]:
        self._control.send(json.dumps(command).encode())
        answer: dict[str, int] = json.loads(self._control.recv(4096))
        return answer


def address_of(number: int) -> str:
    return f"10.77.0.{number + 1}"


@contextlib.contextmanager
def network(nodes: int, seed: int) -> Iterator[Network]:
    """Nothing leaves it. Raises OSError where reason_for_none() has one."""
    hardware = {address_of(number): f"02:74:6d:00:00:{number + 1:02x}" for number in range(nodes)}
    with contextlib.ExitStack() as stack:
        namespaces, taps = [], []
        for address, mac in hardware.items():
            namespace = stack.enter_context(contextlib.closing(Namespace()))
            others = {other: theirs for other, theirs in hardware.items() if other != address}
            tap = namespace.tap(mac, address, others)
            stack.callback(os.close, tap)
            namespaces.append(namespace)
            taps.append(tap)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        with theirs:
            switch = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.switch", str(seed), *map(str, taps)],
                stdin=theirs.fileno(),
                pass_fds=taps,
                cwd=ROOT,
                start_new_session=True,  # an interrupt of the terminal is ours
            )
        stack.callback(partial(_end, switch))
        ours.settimeout(30)
        found = Network(namespaces, ours)
        found.counts()  # it is there
        yield found


def _end(switch: "subprocess.Popen[bytes]") -> None:
    switch.send_signal(signal.SIGKILL)
    switch.wait(timeout=30)
