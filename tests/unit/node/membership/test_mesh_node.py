"""The membership's thread goes on, whatever the messages do."""

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from testmesh.clock import SystemClock
from testmesh.errors import MalformedError, PeerError, PeerRefusedError
from testmesh.node.membership import mesh_node as module
from testmesh.node.membership.membership import Health, Member, Membership, MembershipConfig
from testmesh.node.membership.mesh_node import MeshNode
from testmesh.node.messaging.messages import PingReply
from testmesh.node.messaging.peers import PeerClient
from tests.support.mesh import wait_for


def mesh_node(peers: object, changed: Callable[[Member | None, Member], None]) -> MeshNode:
    membership = Membership(Member("a:1", "boot-a"))
    return MeshNode(membership, cast(PeerClient, peers), SystemClock(), changed, lambda address, reply: None)


QUICK = MembershipConfig(ping_interval=0.02, ping_timeout=0.1, suspicion_timeout=0.1)


class Peers:
    """Answers pings by raising what it is told to."""

    def __init__(self, *raised: Exception) -> None:
        self.raised = list(raised)
        self.pings = 0
        self.lock = threading.Lock()

    def ping(self, address: str, updates: tuple[Member, ...], timeout: float) -> PingReply:
        with self.lock:
            self.pings += 1
            raise self.raised.pop(0) if len(self.raised) > 1 else self.raised[0]


def test_an_answer_that_cannot_be_read_is_a_failed_ping_and_the_peer_is_pinged_again_until_it_is_dead() -> None:
    peers = Peers(MalformedError("another version"), RuntimeError("can't start new thread"), PeerRefusedError("gone"))
    changed: list[Any] = []
    membership = Membership(Member("a:1", "boot-a"), config=QUICK)
    node = MeshNode(
        membership,
        cast(PeerClient, peers),
        SystemClock(),
        lambda before, after: changed.append(after),
        lambda address, reply: None,
    )
    node.heard((Member("b:2", "boot-b"),))
    node.start()
    try:
        wait_for(lambda: not node.live(), patience=30, what="the peer to be declared dead")
        assert peers.pings >= 3
    finally:
        node.stop()


def test_leaving_ends_though_many_peers_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GOOD_BYE_S", 0.05)
    hung = threading.Event()
    told: list[str] = []

    class Unreachable:
        def introduce(self, address: str, updates: tuple[Member, ...]) -> None:
            told.append(address)
            hung.wait(30)
            raise PeerError("no answer")

    node = mesh_node(Unreachable(), lambda before, after: None)
    node.heard(tuple(Member(f"h{number}:1", "boot") for number in range(60)))
    try:
        node.leave()
        assert told
        assert not hung.is_set()
    finally:
        hung.set()
        node.stop()


def test_a_listener_that_fails_takes_nothing_away_from_the_membership() -> None:
    introduced: list[Member] = []

    class Reached:
        def introduce(self, address: str, updates: tuple[Member, ...]) -> None:
            introduced.extend(updates)

    def fails(before: Member | None, after: Member) -> None:
        raise RuntimeError("unforeseen")

    node = mesh_node(Reached(), fails)
    dead = Member("b:2", "boot-b", 0, Health.DEAD)
    try:
        node.heard((Member("b:2", "boot-b"), Member("c:3", "boot-c")))
        node.heard((dead,))
        wait_for(lambda: dead in introduced, patience=30, what="the death to be told on")
    finally:
        node.stop()
