"""Calling back: real threads, a ledger, and a courier that says what a test wants."""

import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import pytest

from testmesh.clock import FakeClock, SystemClock
from testmesh.errors import DiskFullError
from testmesh.model import Counts, Evaluation, ModuleState, Options, Verdict
from testmesh.node.callbacks.callbacks import Callbacks, Courier
from testmesh.node.callbacks.http_courier import CallbackError, HttpCourier, KeylessCourier, trusted_certificates
from testmesh.node.callbacks.message import body_of
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from tests.support.receiver import receiving
from tests.support.records import evaluation
from tests.support.waiting import until

ME, OTHER = "a:1", "b:1"
KEY = "the-key-of-the-tests"
URL = "http://hooks.example.org/path-secret?token=query-secret"


@dataclass
class FakeCourier:
    """Answers in turn, the last again and again; an exception is raised. With a gate, not before that opens."""

    answers: list[int | Exception] = field(default_factory=lambda: [204])
    gate: threading.Event | None = None
    told: list[tuple[str, str, bytes]] = field(default_factory=list)

    def deliver(self, url: str, evaluation_id: str, body: bytes) -> int:
        self.told.append((url, evaluation_id, body))
        answer = self.answers[min(len(self.told), len(self.answers)) - 1]
        if self.gate is not None:
            assert self.gate.wait(20)
        if isinstance(answer, Exception):
            raise answer
        return answer


class LockedStore(MemoryStore):
    """As safe from any thread as the durable one, and with a disk that may be full."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self.is_full = False

    def merge(self, changes: Changes) -> Changes:
        if self.is_full:
            raise DiskFullError("The disk is full; make room.")
        with self._lock:
            return super().merge(changes)


@dataclass
class Room:
    ledger: Ledger
    callbacks: Callbacks
    live: list[str]

    def stored(self, evaluation_id: str = "e1") -> Evaluation:
        found = self.ledger.store.evaluation(evaluation_id)
        assert found is not None
        return found

    def is_called_back(self) -> bool:
        return self.stored().called_back


Make = Callable[..., Room]


@pytest.fixture
def make() -> Iterator[Make]:
    with ExitStack() as stack:

        def made(courier: Courier, live: tuple[str, ...] = (), ledger: Ledger | None = None) -> Room:
            ledger, alive = ledger or Ledger(LockedStore(), ME), list(live)
            callbacks = Callbacks(ME, ledger, lambda: tuple(alive), SystemClock(), courier)
            stack.callback(callbacks.stop)
            return Room(ledger, callbacks, alive)

        yield made


def ended(owner: str = ME, url: str = URL) -> Changes:
    """An evaluation of two tests, of which one passed."""
    options = Options(callback_url=url)
    state = ModuleState("e1", "p", "test_1.py", Verdict.FAILED, 0, 1, owner, Counts(passed=1, failed=1))
    return Changes(
        (evaluation(owner=owner, options=options, finished_at=104.0, eval_time=4.0),), (ModuleRecord(state),)
    )


def test_the_end_is_told_once_and_that_is_written_down_and_published(make: Make) -> None:
    courier, published = FakeCourier(), []
    room = make(courier)
    room.ledger.subscribe(lambda changes, publish: published.append((changes, publish)))
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    until(room.is_called_back)
    room.ledger.merge(ended(), publish=False)
    room.callbacks.members_changed()
    room.callbacks.stop()
    ((url, evaluation_id, body),) = courier.told
    assert (url, evaluation_id) == (URL, "e1")
    told = json.loads(body)
    assert list(told) == ["id", "status", "submitted_at", "finished_at", "_run_info", "projects"]
    assert (told["id"], told["status"], told["finished_at"]) == ("e1", "done", "1970-01-01T00:01:44Z")
    assert (told["_run_info"]["nota"], told["projects"]["p"]["%passed"]) == (10.0, 50.0)
    (changes, publish) = published[-1]
    assert changes.evaluations[0].called_back
    assert publish


def test_nothing_is_told_before_the_end_nor_of_what_has_no_url(make: Make) -> None:
    courier = FakeCourier()
    room = make(courier)
    room.callbacks.start()
    changes = ended()
    room.ledger.merge(Changes((evaluation("e0", finished_at=1.0),)), publish=True)
    room.ledger.merge(Changes((replace(changes.evaluations[0], finished_at=None),), changes.modules), publish=True)
    assert courier.told == []
    room.ledger.merge(changes, publish=True)
    until(room.is_called_back)
    assert [evaluation_id for _, evaluation_id, _ in courier.told] == ["e1"]


def test_what_ended_before_the_node_was_started_is_told(make: Make) -> None:
    ledger = Ledger(LockedStore(), ME)
    ledger.merge(ended(), publish=True)
    courier = FakeCourier()
    room = make(courier, ledger=ledger)
    room.callbacks.start()
    until(room.is_called_back)
    assert len(courier.told) == 1


def test_the_successor_tells_when_the_owner_is_gone(make: Make) -> None:
    courier = FakeCourier()
    room = make(courier, live=(OTHER,))
    room.callbacks.start()
    room.ledger.merge(ended(owner=OTHER), publish=False)
    room.callbacks.members_changed()
    assert courier.told == []
    room.live.clear()
    room.callbacks.members_changed()
    until(room.is_called_back)
    assert len(courier.told) == 1


def test_what_the_owner_told_its_successor_does_not_repeat(make: Make) -> None:
    courier = FakeCourier()
    room = make(courier, live=(OTHER,))
    room.callbacks.start()
    changes = ended(owner=OTHER)
    room.ledger.merge(changes, publish=False)
    room.ledger.merge(Changes((replace(changes.evaluations[0], called_back=True),)), publish=False)
    room.live.clear()
    room.callbacks.members_changed()
    room.callbacks.stop()
    assert courier.told == []


def test_an_error_and_then_an_answer(make: Make) -> None:
    courier = FakeCourier([500, 204])
    room = make(courier)
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    until(room.is_called_back)
    assert len(courier.told) == 2


def test_a_failure_of_ours_is_no_end_of_it(make: Make) -> None:
    courier = FakeCourier([RuntimeError("unforeseen"), 204])
    room = make(courier)
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    until(room.is_called_back)
    assert len(courier.told) == 2


def test_a_thread_that_cannot_start_delays_one_callback_and_silences_none(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testmesh.node.callbacks.plan._BEGIN_AGAIN_S", 0.02, raising=False)
    failures, start = iter([RuntimeError("can't start new thread")]), threading.Thread.start

    def start_but_once(thread: threading.Thread) -> None:
        if thread.name == "callback" and (failure := next(failures, None)):
            raise failure
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_but_once)
    courier = FakeCourier()
    room = make(courier)
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    until(room.is_called_back)
    changes = ended()
    result = ModuleRecord(replace(changes.modules[0].state, evaluation="e2"))
    room.ledger.merge(Changes((replace(changes.evaluations[0], id="e2"),), (result,)), publish=True)
    until(lambda: [evaluation_id for _, evaluation_id, _ in courier.told] == ["e1", "e2"])
    room.callbacks.stop()


def test_an_unforeseen_error_does_not_end_the_thread(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testmesh.node.callbacks.callbacks._LOOK_AGAIN_S", 0.02, raising=False)
    courier = FakeCourier()
    ledger = Ledger(LockedStore(), ME)
    answers: Iterator[object] = iter([RuntimeError("unforeseen")])

    def live() -> tuple[str, ...]:
        if failure := next(answers, None):
            raise failure  # type: ignore[misc]
        return ()

    callbacks = Callbacks(ME, ledger, live, SystemClock(), courier)
    try:
        callbacks.start()
        ledger.merge(ended(), publish=True)
        until(lambda: courier.told)
    finally:
        callbacks.stop()


def test_a_node_without_a_key_leaves_it_to_another(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("testmesh.node.callbacks.plan.PAUSES_S", (0.01,))
    ledger = Ledger(LockedStore(), ME)
    without_key = make(KeylessCourier(), ledger=ledger)
    without_key.callbacks.start()
    ledger.merge(ended(), publish=True)
    until(lambda: "MESH_CALLBACK_SECRET" in caplog.text)
    without_key.callbacks.stop()
    assert caplog.text.count("MESH_CALLBACK_SECRET") == 1
    assert not without_key.is_called_back()
    courier = FakeCourier()
    successor = make(courier, ledger=ledger)
    successor.callbacks.start()
    until(successor.is_called_back)
    assert len(courier.told) == 1


def test_410_ends_it(make: Make) -> None:
    courier = FakeCourier([410, 204])
    room = make(courier)
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    until(room.is_called_back)
    assert len(courier.told) == 1


def test_the_last_try_in_vain_is_written_down(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testmesh.node.callbacks.plan.PAUSES_S", (0.01, 0.01))
    courier = FakeCourier([CallbackError("nobody is there")])
    room = make(courier)
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    until(room.is_called_back)
    assert len(courier.told) == 3


def test_what_cannot_be_written_down_is_not_told_again_by_this_node(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testmesh.node.callbacks.plan._STORE_AGAIN_S", 0.02)
    store, gate = LockedStore(), threading.Event()
    courier = FakeCourier(gate=gate)
    room = make(courier, ledger=Ledger(store, ME))
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    until(lambda: courier.told)
    store.is_full = True
    gate.set()
    until(lambda: room.callbacks._plan.is_told("e1"))
    store.is_full = False
    until(room.is_called_back)
    assert len(courier.told) == 1


def test_stopping_waits_for_what_is_under_way_and_begins_nothing_more(make: Make) -> None:
    gate = threading.Event()
    courier = FakeCourier(gate=gate)
    room = make(courier)
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    until(lambda: courier.told)
    threading.Timer(0.1, gate.set).start()
    room.callbacks.stop()
    assert room.is_called_back()
    other = replace(ended().evaluations[0], id="e2")
    room.ledger.merge(Changes((other,)), publish=True)
    assert len(courier.told) == 1


def test_a_node_that_is_stopped_before_it_was_started(make: Make) -> None:
    room = make(FakeCourier())
    room.callbacks.stop()
    room.callbacks.start()
    room.ledger.merge(ended(), publish=True)
    assert not room.is_called_back()


def test_the_log_never_has_path_or_query(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    courier = FakeCourier([500, CallbackError("hooks.example.org gave no answer"), 204])
    monkey = pytest.MonkeyPatch()
    monkey.setattr("testmesh.node.callbacks.plan.PAUSES_S", (0.01, 0.01, 0.01))
    try:
        room = make(courier)
        room.callbacks.start()
        room.ledger.merge(ended(), publish=True)
        until(room.is_called_back)
    finally:
        monkey.undo()
    assert "It answered with 500" in caplog.text
    assert "secret" not in caplog.text + repr(room.stored())


def test_over_http_every_try_has_the_same_delivery_and_body(make: Make) -> None:
    with receiving(500, 204) as receiver:
        courier = HttpCourier(KEY, SystemClock(), trusted_certificates(), private=True)
        room = make(courier)
        room.callbacks.start()
        room.ledger.merge(ended(url=receiver.url()), publish=True)
        until(room.is_called_back)
    first, second = receiver.deliveries
    assert first.headers["Testmesh-Delivery"] == second.headers["Testmesh-Delivery"] == "e1"
    assert first.body == second.body
    moment, signature = (part.split("=")[1] for part in second.headers["Testmesh-Signature"].split(","))
    assert signature == hmac.new(KEY.encode(), f"{moment}.".encode() + second.body, hashlib.sha256).hexdigest()


def test_the_body_does_not_depend_on_when_it_is_made() -> None:
    changes, clock = ended(), FakeClock()
    states = [record.state for record in changes.modules]
    first = body_of(changes.evaluations[0], states, clock.wall())
    clock.advance(3600)
    assert body_of(changes.evaluations[0], states, clock.wall()) == first
