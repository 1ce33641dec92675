"""The feed over a real ledger: what its readers are told, who goes on where, and what it costs when nobody reads."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from testmesh.clock import SystemClock
from testmesh.errors import BusyError, NotFoundError
from testmesh.model import Counts, Evaluation, ModuleState, Pruned, TestResult, Verdict
from testmesh.node import feed as feed_module
from testmesh.node.document import document
from testmesh.node.feed import Feed, Watch
from testmesh.node.service import EvaluationView
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from tests.support.event_stream import Told, document_of, events_of
from tests.support.records import evaluation
from tests.support.waiting import until

PROJECTS = {f"p{number}": ["test_1.py", "test_2.py"] for number in range(4)}
Merge = Callable[..., None]


class World:
    def __init__(self) -> None:
        self.ledger = Ledger(MemoryStore())
        self.clock = SystemClock()
        self.reads = 0
        self.feed = Feed(self.ledger, self.read, EvaluationView_of, self.clock)

    def read(self, evaluation_id: str) -> EvaluationView:
        self.reads += 1
        found = self.ledger.store.evaluation(evaluation_id)
        if found is None or found.pruned is not None:
            raise NotFoundError("There is no such evaluation.")
        return EvaluationView(found, self.ledger.store.states(evaluation_id))

    def submit(self, **fields: Any) -> Evaluation:
        submitted = evaluation("e1", PROJECTS, submitted_at=self.clock.wall(), **fields)
        self.ledger.merge(Changes((submitted,)), publish=True)
        return submitted

    def module(self, project: str, module: str, verdict: Verdict, **fields: object) -> None:
        state = ModuleState("e1", project, module, verdict, attempt=1, **fields)  # type: ignore[arg-type]
        self.ledger.merge(Changes((), (ModuleRecord(state, (TestResult("t", "passed"),)),)), publish=True)

    def end(self, submitted: Evaluation) -> None:
        for project, modules in PROJECTS.items():
            for module in modules:
                self.module(project, module, Verdict.PASSED, counts=Counts(passed=3))
        self.ledger.merge(Changes((replace(submitted, finished_at=self.clock.wall(), eval_time=1.0),)), publish=True)


def EvaluationView_of(found: Evaluation, states: object) -> EvaluationView:  # noqa: N802
    return EvaluationView(found, tuple(states))  # type: ignore[arg-type]


class Reader:
    """Takes all there is whenever it is woken."""

    def __init__(self, watch: Watch | None) -> None:
        assert watch is not None
        self.watch = watch
        self.data = b""
        self._lock = threading.Lock()
        watch.listen(self.read)

    def read(self) -> None:
        with self._lock:
            self.data += b"".join(self.watch.take())

    @property
    def events(self) -> list[Told]:
        return list(events_of(self.data.split(b"\n")))

    @property
    def last_id(self) -> str:
        return next(event.id for event in reversed(self.events) if event.id)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.feed.stop()


def test_every_reader_has_the_document_at_the_end_whenever_it_came(world: World) -> None:
    submitted = world.submit()
    readers = [Reader(world.feed.watch("e1", None))]
    world.module("p0", "test_1.py", Verdict.RUNNING)
    until(lambda: b'"verdict":"running"' in readers[0].data)
    readers.append(Reader(world.feed.watch("e1", None)))
    world.end(submitted)
    until(lambda: all(reader.watch.has_ended for reader in readers))
    readers.append(Reader(world.feed.watch("e1", None)))
    final = document(world.read("e1"), world.clock.wall())
    for reader in readers:
        assert document_of(reader.events) == final
        assert [event.kind for event in reader.events].count("done") == 1
        assert reader.events[-1].kind == "done"
        assert reader.watch.has_ended


def test_a_reader_that_comes_back_goes_on_where_it_was(world: World) -> None:
    submitted = world.submit()
    first = Reader(world.feed.watch("e1", None))
    until(lambda: first.events)
    seen = first.events
    first.watch.close()
    world.end(submitted)
    second = Reader(world.feed.watch("e1", first.last_id))
    until(lambda: second.watch.has_ended)
    assert "id" not in document_of(second.events), "what it had already is not told again"
    assert document_of([*seen, *second.events]) == document(world.read("e1"), world.clock.wall())


@pytest.mark.parametrize("last", ["", "x", "0123456789ab.3", "0123456789ab.last", "..", ".-5", "x.9999999999999"])
def test_an_id_of_another_node_gives_all_of_it(world: World, last: str) -> None:
    world.submit()
    events = Reader(world.feed.watch("e1", last)).events
    assert document_of(events)["id"] == "e1"


def test_an_id_with_a_number_that_nobody_told_gives_all_of_it(world: World) -> None:
    world.submit()
    instance = Reader(world.feed.watch("e1", None)).last_id.partition(".")[0]
    events = Reader(world.feed.watch("e1", f"{instance}.{'9' * 5000}")).events
    assert document_of(events)["id"] == "e1"


def test_nothing_follows_the_last_event_on_any_node(world: World) -> None:
    world.end(world.submit())
    reader = Reader(world.feed.watch("e1", None))
    assert reader.watch.has_ended
    assert world.feed.watch("e1", reader.last_id) is None
    assert world.feed.watch("e1", "ffffffffffff.last") is None


def test_the_end_waits_for_results_that_come_after_it(world: World) -> None:
    submitted = world.submit()
    reader = Reader(world.feed.watch("e1", None))
    world.ledger.merge(Changes((replace(submitted, finished_at=world.clock.wall()),)), publish=True)
    until(lambda: any(event.part.get("status") == "done" for event in reader.events))
    assert not reader.watch.has_ended
    world.end(submitted)
    until(lambda: reader.watch.has_ended)
    assert document_of(reader.events)["_run_info"]["passed"] == 24


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_the_end_waits_for_results_whatever_the_owner_s_clock_says(world: World, ahead: float) -> None:
    submitted = world.submit()
    reader = Reader(world.feed.watch("e1", None))
    world.ledger.merge(Changes((replace(submitted, finished_at=world.clock.wall() - ahead),)), publish=False)
    until(lambda: any(event.part.get("status") == "done" for event in reader.events))
    assert "done" not in [event.kind for event in reader.events]
    assert not Reader(world.feed.watch("e1", None)).watch.has_ended
    world.end(submitted)
    until(lambda: reader.watch.has_ended)
    assert document_of(reader.events)["_run_info"]["passed"] == 24


def test_results_that_never_come_are_not_waited_for_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testmesh.node.feed_channel._LATE_RESULTS_S", 0.1)
    world.submit(finished_at=world.clock.wall())
    reader = Reader(world.feed.watch("e1", None))
    until(lambda: reader.watch.has_ended)
    assert reader.events[-1].kind == "done"


def test_a_reader_that_leaves_while_news_are_told_breaks_nothing(world: World) -> None:
    """The moment of its leaving is when the feed has seen that there are news, and has not taken them yet."""
    world.submit()
    reader = Reader(world.feed.watch("e1", None))
    until(lambda: world.reads == 2)
    leaving = threading.Thread(target=reader.watch.close)

    class News(deque[Changes]):
        def popleft(self) -> Changes:
            if leaving.ident is None:
                leaving.start()
                leaving.join(0.5)  # it may have to wait, for as long as they are being taken
            return super().popleft()

    opened = world.feed._opened["e1"]
    opened.news = News()
    world.module("p0", "test_1.py", Verdict.RUNNING)
    until(lambda: leaving.ident is not None and not leaving.is_alive())
    again = Reader(world.feed.watch("e1", reader.last_id))
    until(lambda: world.reads == 3)
    assert not opened.is_broken
    seen = document_of([*reader.events, *again.events])
    assert seen["module_results"]["p0"]["test_1.py"]["verdict"] == "running"


def test_evaluations_that_nobody_watches_slow_down_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "perf_counter", count(0.0, 0.05).__next__)  # each flush takes 50 ms
    world.submit()
    for number in range(2, 6):
        world.ledger.merge(Changes((evaluation(f"e{number}", PROJECTS),)), publish=True)
        Reader(world.feed.watch(f"e{number}", None)).watch.close()
    reader = Reader(world.feed.watch("e1", None))
    assert set(world.feed._opened) == {f"e{number}" for number in range(1, 6)}
    world.module("p0", "test_1.py", Verdict.RUNNING)
    until(lambda: b'"verdict":"running"' in reader.data)
    assert world.feed._opened["e1"].gap_s == pytest.approx(0.5)


def test_the_time_taken_stays_fresh_while_nothing_happens(world: World) -> None:
    world.submit()
    reader = Reader(world.feed.watch("e1", None))
    before = document_of(reader.events)["_run_info"]["eval_time"]
    until(lambda: document_of(reader.events)["_run_info"]["eval_time"] > before + 1)
    assert all(event.kind == "project" and set(event.part) == {"status", "_run_info"} for event in reader.events[9:])


def test_a_burst_is_told_together_and_the_store_is_not_read_for_it(world: World) -> None:
    world.submit()
    reader = Reader(world.feed.watch("e1", None))
    until(lambda: world.reads == 2)
    for number in range(300):
        world.module("p0", "test_1.py", Verdict.RUNNING, epoch=number)
    world.module("p1", "test_1.py", Verdict.FAILED, counts=Counts(failed=1))
    until(lambda: document_of(reader.events)["module_results"]["p1"]["test_1.py"]["verdict"] == "failed")
    assert len(reader.events) < 150
    assert world.reads == 2


def test_a_reader_that_falls_behind_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testmesh.node.feed_channel.KEPT_BYTES", 3000)
    world.submit()
    slow, quick = world.feed.watch("e1", None), Reader(world.feed.watch("e1", None))
    assert slow is not None
    assert slow.take()
    for number in range(20):
        world.module("p0", "test_1.py", Verdict.RUNNING, detail="x" * 200 + str(number), epoch=number)
        wanted = str(number)
        until(lambda wanted=wanted: wanted in str(document_of(quick.events)["module_results"]))  # type: ignore[misc]
    assert slow.take() == []
    assert slow.has_ended
    assert not quick.watch.has_ended


def test_readers_are_counted_and_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MAX_READERS", 3)
    world.submit()
    watches = [world.feed.watch("e1", None) for _ in range(3)]
    assert world.feed.readers == 3
    with pytest.raises(BusyError) as refused:
        world.feed.watch("e1", None)
    assert refused.value.retry_after_s > 0
    assert watches[0] is not None
    watches[0].close()
    watches[0].close()
    assert world.feed.readers == 2
    assert world.feed.watch("e1", None) is not None


def test_what_is_pruned_or_unknown_has_no_events(world: World) -> None:
    submitted = world.submit()
    reader = Reader(world.feed.watch("e1", None))
    with pytest.raises(NotFoundError):
        world.feed.watch("e2", None)
    world.ledger.merge(Changes((replace(submitted, pruned=Pruned()),)), publish=True)
    until(lambda: reader.watch.has_ended)
    assert "done" not in [event.kind for event in reader.events]
    with pytest.raises(NotFoundError):
        world.feed.watch("e1", None)


def test_a_stop_ends_every_stream(world: World) -> None:
    world.submit()
    reader = Reader(world.feed.watch("e1", None))
    world.feed.stop()
    assert reader.watch.has_ended
    with pytest.raises(BusyError):
        world.feed.watch("e1", None)


def test_an_error_ends_the_streams_of_one_evaluation_only(world: World) -> None:
    world.submit()
    world.ledger.merge(Changes((evaluation("e2", PROJECTS),)), publish=True)
    broken, whole = Reader(world.feed.watch("e1", None)), Reader(world.feed.watch("e2", None))
    world.module("p0", "test_1.py", Verdict.PASSED, time=float("nan"))
    until(lambda: broken.watch.has_ended)
    assert not whole.watch.has_ended
    until(lambda: len(whole.events) > 9)
