"""The membership's thread goes on, whatever the messages do."""

import threading
from typing import Any, cast

from testmesh.clock import SystemClock
from testmesh.errors import MalformedError, PeerRefusedError
from testmesh.node.membership import Member, Membership, MembershipConfig
from testmesh.node.mesh_node import MeshNode
from testmesh.node.messages import PingReply
from testmesh.node.peers import PeerClient
from tests.support.mesh import wait_for

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
