"""The workers of the mesh, as the coordinator sees them: this node's own and its peers'."""

from dataclasses import replace
from typing import Any

from testmesh.node.condition import Condition
from testmesh.node.messaging.messages import Held, Load, Replicate, WorkOrder
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.replica import Changes
from testmesh.node.working.worker import Worker

_HAND_OVER_TIMEOUT_S = 5.0


class MeshWorkers:
    """Safe from any thread."""

    def __init__(self, address: str, worker: Worker[Any], peers: PeerClient, condition: Condition) -> None:
        self._address = address
        self._worker = worker
        self._peers = peers
        self._condition = condition

    def run(self, address: str, order: WorkOrder) -> None:
        if address == self._address:
            self._worker.accept(order)
        else:
            self._peers.run(address, order)

    def held(self, address: str) -> Held:
        return self.own_held() if address == self._address else self._peers.held(address)

    def hand_over(self, address: str, changes: Changes) -> None:
        self._peers.replicate(address, Replicate(changes), _HAND_OVER_TIMEOUT_S)

    def own_held(self) -> Held:
        return replace(self._worker.held(), load=self.own_load())

    def own_load(self) -> Load:
        """A node whose disk is full takes nothing."""
        load = self._worker.load()
        return replace(load, slots=0) if self._condition.disk_is_full() else load
