"""All nodes with how they are: each by its own word, the silent by their last ping, the dead for a day."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from testmesh.clock import FakeClock
from testmesh.errors import PeerError
from testmesh.node.condition import Condition
from testmesh.node.membership.membership_events import Health, Member
from testmesh.node.messaging.messages import Load, Moment, PingReply, Vitals
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.observing.roll_call import RollCall
from testmesh.node.observing.vital_signs import VitalSigns
from testmesh.node.working.pressure import FakeSensor

ME, PEER, OTHER = "a:1", "b:1", "c:1"
ISOLATION = {"sandbox": "full", "loopback": "private", "cause": ""}


class Peers:
    """`answers` by address; who has none is silent."""

    def __init__(self) -> None:
        self.answers: dict[str, Vitals] = {}
        self.asked: list[tuple[str, bool]] = []

    def vitals(self, address: str, history: bool, timeout: float) -> Vitals:
        self.asked.append((address, history))
        if address not in self.answers:
            raise PeerError("It is silent.")
        return self.answers[address]


class Mesh:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.peers = Peers()
        self.members = {ME: Member(ME, "1")}
        signs = VitalSigns(ME, Condition(folder), lambda: Load(8, 1, 2, 4.0), FakeSensor(), ISOLATION, self.clock)
        self.call = RollCall(signs, cast(PeerClient, self.peers), self.clock, lambda: tuple(self.members.values()))

    def member(self, address: str, health: Health = Health.ALIVE) -> None:
        self.members[address] = Member(address, "1", 0, health)
        self.call.changed(self.members[address])

    def shown(self, **arguments: Any) -> dict[str, Any]:
        self.clock.advance(1.0)  # past what is kept of the answer before
        return {node.address: node for node in self.call.nodes(history=arguments.get("history", True))}


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    made = Mesh(tmp_path)
    yield made
    made.call.stop()


def vitals(address: str, *history: Moment) -> Vitals:
    return Vitals(address, "ok", "portable", "shared", "9", Load(4, 3, 2, 1.5), 0.5, 0.25, 60.0, history)


def ping(load: Load) -> PingReply:
    return PingReply((), load, 0, "full")


def test_a_node_that_answers_is_shown_as_it_says(mesh: Mesh) -> None:
    mesh.member(PEER)
    mesh.peers.answers[PEER] = vitals(PEER, Moment(20.0, 1, 0, None), Moment(10.4, 2, 1, 0.5))
    shown = mesh.shown()[PEER]
    assert (shown.alive, shown.status, shown.sandbox, shown.loopback, shown.version) == (
        True,
        "ok",
        "portable",
        "shared",
        "9",
    )
    assert (shown.cores, shown.slots, shown.running, shown.waiting) == (1.5, 4, 3, 2)
    assert (shown.cpu, shown.memory, shown.uptime) == (0.5, 0.25, 60.0)
    now = mesh.clock.wall()
    assert shown.history == ((now - 20, 1, 0, None), (round(now - 10.4), 2, 1, 0.5))


def test_this_node_is_in_it_with_its_own_load(mesh: Mesh) -> None:
    me = mesh.shown()[ME]
    assert (me.alive, me.status, me.sandbox, me.slots, me.running, me.waiting, me.cores) == (
        True,
        "ok",
        "full",
        8,
        1,
        2,
        4.0,
    )
    assert mesh.peers.asked == []


def test_a_live_node_that_is_silent_is_shown_by_its_last_ping(mesh: Mesh) -> None:
    mesh.member(PEER)
    assert (mesh.shown()[PEER].status, mesh.shown()[PEER].slots) == ("no answer", None)
    mesh.call.pinged(PEER, ping(Load(16, 5, 6, 2.0)))
    shown = mesh.shown()[PEER]
    assert (shown.alive, shown.sandbox, shown.slots, shown.running, shown.waiting) == (True, "full", 16, 5, 6)
    assert (shown.cpu, shown.history) == (None, ())
    mesh.member(PEER, Health.SUSPECT)
    assert mesh.shown()[PEER].status == "suspect"


def test_the_dead_come_last_for_a_day_and_are_not_asked(mesh: Mesh) -> None:
    mesh.member(PEER)
    mesh.call.pinged(PEER, ping(Load(16, 5, 6)))
    mesh.member("0:1", Health.DEAD)
    mesh.member(PEER, Health.LEFT)
    found = mesh.call.nodes(history=True)
    assert [(n.address, n.alive, n.status, n.slots) for n in found[1:]] == [
        ("0:1", False, "dead", None),
        (PEER, False, "left", None),
    ]
    assert mesh.peers.asked == []
    assert sorted(mesh.call.states()) == [Health.ALIVE, Health.DEAD, Health.LEFT]
    mesh.clock.advance(24 * 3600)
    assert list(mesh.shown()) == [ME]
    mesh.member(PEER)
    assert mesh.shown()[PEER].alive


def test_many_who_ask_within_a_second_are_one_question_to_each_node(mesh: Mesh) -> None:
    mesh.member(PEER)
    mesh.member(OTHER)
    mesh.peers.answers[PEER] = vitals(PEER)
    readers = [threading.Thread(target=mesh.call.nodes, kwargs={"history": True}) for _ in range(10)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(mesh.peers.asked) == [(PEER, True), (OTHER, True)]
    mesh.call.nodes(history=False)
    assert sorted(mesh.peers.asked) == [(PEER, False), (PEER, True), (OTHER, False), (OTHER, True)]
