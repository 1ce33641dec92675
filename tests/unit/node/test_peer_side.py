"""What a node does with an order that another sends it."""

from typing import Any, cast

import pytest

from testmesh.errors import ConflictError
from testmesh.node.messaging.messages import Task, WorkOrder
from testmesh.node.peer_side import PeerSide
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation

WHOLE = evaluation("e1", {"p": ["t1", "t2"]})
PART = evaluation("e1", {"p": ["t1"]})
TASKS = (Task("p", "t1", 0, 1),)


class Worker:
    def __init__(self) -> None:
        self.orders: list[WorkOrder] = []

    def accept(self, order: WorkOrder) -> None:
        self.orders.append(order)


def peer_side() -> tuple[PeerSide, MemoryStore, Worker]:
    store, worker, nothing = MemoryStore(), Worker(), cast(Any, None)
    side = PeerSide(
        Ledger(store), nothing, nothing, cast(Any, worker), nothing, nothing, nothing, nothing, "none", clock=nothing
    )
    return side, store, worker


def test_a_whole_record_is_stored_before_the_work_is_taken_up() -> None:
    side, store, worker = peer_side()
    side.take_order(WorkOrder(WHOLE, TASKS))
    assert store.evaluation("e1") == WHOLE
    assert worker.orders


def test_a_part_of_one_changes_nothing_in_the_store() -> None:
    side, store, worker = peer_side()
    store.merge(Changes((WHOLE,)))
    side.take_order(WorkOrder(PART, TASKS, whole=False))
    assert store.evaluation("e1") == WHOLE
    assert worker.orders


def test_a_part_of_one_that_is_not_known_is_refused() -> None:
    side, store, worker = peer_side()
    with pytest.raises(ConflictError):
        side.take_order(WorkOrder(PART, TASKS, whole=False))
    assert store.evaluation("e1") is None
    assert not worker.orders
