"""Whoever merges, everybody who cares hears what changed, and nothing else."""

from dataclasses import replace

import pytest

from testmesh.errors import DiskFullError
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation


def test_every_listener_hears_what_changed_after_it_is_stored() -> None:
    ledger = Ledger(MemoryStore())
    heard: list[tuple[Changes, bool, bool]] = []
    for _ in range(2):
        ledger.subscribe(lambda changes, publish: heard.append((changes, publish, bool(ledger.store.evaluation("e1")))))

    changed = ledger.merge(Changes((evaluation(),)), publish=True)

    assert changed == Changes((evaluation(),))
    assert heard == [(changed, True, True)] * 2


def test_what_was_known_already_is_told_to_nobody() -> None:
    ledger = Ledger(MemoryStore())
    ledger.merge(Changes((evaluation("e1"),)), publish=False)
    heard: list[Changes] = []
    ledger.subscribe(lambda changes, _: heard.append(changes))

    assert ledger.merge(Changes((evaluation("e1"),)), publish=True) == Changes()
    assert ledger.merge(Changes(), publish=True) == Changes()
    ledger.merge(Changes((evaluation("e1"), evaluation("e2"))), publish=True)

    assert heard == [Changes((evaluation("e2"),))]


class FullStore(MemoryStore):
    is_full = False

    def merge(self, changes: Changes) -> Changes:
        if self.is_full:
            raise DiskFullError("The node's disk is full.")
        return super().merge(changes)


def test_what_a_full_node_is_asked_to_drive_it_does_not_drive() -> None:
    store = FullStore()
    ledger = Ledger(store, "me:1")
    theirs = evaluation("e1", owner="a:1")
    ledger.merge(Changes((theirs,)), publish=False)
    store.is_full = True
    with pytest.raises(DiskFullError):
        ledger.merge(Changes((replace(theirs, owner="me:1", epoch=1),)), publish=False)
    assert ledger.owner_of(theirs) == "a:1"


def test_who_was_said_to_drive_it_and_does_not_is_not_asked_again() -> None:
    ledger = Ledger(MemoryStore())
    theirs = evaluation("e1", owner="a:1")
    ledger.note_owners([replace(theirs, owner="b:1", epoch=1)])
    assert ledger.owner_of(theirs) == "b:1"
    ledger.doubt_owner("e1")
    assert ledger.owner_of(theirs) == "a:1"


def test_who_drives_an_evaluation_is_known_though_there_is_no_room_to_store_it() -> None:
    store = FullStore()
    ledger = Ledger(store)
    mine = evaluation("e1", owner="a:1")
    ledger.merge(Changes((mine,)), publish=True)
    store.is_full = True
    for change, is_news in ((replace(mine, owner="b:1", epoch=1), True), (replace(mine, owner="a:1", epoch=2), False)):
        with pytest.raises(DiskFullError):
            ledger.merge(Changes((change,)), publish=not is_news)
    assert ledger.owner_of(mine) == "b:1"

    store.is_full = False
    ledger.merge(Changes((replace(mine, owner="c:1", epoch=3),)), publish=False)
    stored = store.evaluation("e1")
    assert stored is not None
    assert ledger.owner_of(stored) == "c:1"
