"""A node that starts hears what happened meanwhile, and does not wait for ever with what was unfinished."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testmesh.node import node as module
from testmesh.node.node import Node
from tests.support.waiting import until


class Starting:
    """What settling in needs of a node, with one peer that is compared with as long as `history` lasts."""

    def __init__(self) -> None:
        self.claims: list[bool] = []
        self.history = threading.Event()
        self.compared = threading.Event()
        self._settings = SimpleNamespace(bootstrap=())
        self._known_peers = SimpleNamespace(addresses=lambda: ())
        self._mesh = SimpleNamespace(join_through=lambda _: None, live=lambda: ("a:1",))
        self._replicator = SimpleNamespace(compare=self._compare)
        self._coordinator = SimpleNamespace(claim_open=lambda: self.claims.append(self.compared.is_set()))

    def _compare(self, _: str) -> None:
        self.history.wait(20)
        self.compared.set()


def test_what_is_unfinished_goes_on_before_a_long_history_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLAIM_WITHIN_S", 0.01)
    starting = Starting()
    thread = threading.Thread(target=Node._catch_up, args=(cast(Node[Any], starting),))
    thread.start()
    until(lambda: starting.claims == [False])
    starting.history.set()
    thread.join(20)
    assert starting.compared.is_set()


def test_a_short_one_is_heard_first() -> None:
    starting = Starting()
    starting.history.set()
    Node._catch_up(cast(Node[Any], starting))
    claim = starting._coordinator.claim_open
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert [timer for timer in timers if timer.function is claim and not timer.finished.is_set()] == []
    assert starting.claims == []
