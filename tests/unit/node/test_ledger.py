"""Whoever merges, everybody who cares hears what changed, and nothing else."""

from testmesh.node.ledger import Ledger
from testmesh.node.replica import Changes
from testmesh.node.store import MemoryStore
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
