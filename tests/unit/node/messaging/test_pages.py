"""Pages bring every record once, each page within its bounds."""

import pytest

from testmesh.errors import NotFoundError, PeerFailedError
from testmesh.model import ModuleState, TestResult, Verdict
from testmesh.node.messaging.batching import MAX_RECORDS, MAX_TEXT
from testmesh.node.messaging.codec import encode
from testmesh.node.messaging.http_peers import HttpPeers
from testmesh.node.messaging.messages import Page
from testmesh.node.messaging.pages import page_of
from testmesh.node.messaging.wire import PAGE
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation


def test_all_pages_together_are_what_the_store_has() -> None:
    store, copy = MemoryStore(), MemoryStore()
    large = (TestResult("test_a", "failed", longrepr="x" * (MAX_TEXT // 2 + 1)),)
    final = [ModuleRecord(ModuleState("e1", "p", f"t{number}", Verdict.FAILED), large) for number in range(5)]
    waiting = [ModuleRecord(ModuleState("e1", "q", f"t{number:03}")) for number in range(450)]
    store.merge(Changes((evaluation("e1"),), (*final, *waiting)))

    sizes, start = [], 0
    while True:
        page = page_of(store, "e1", start)
        copy.merge(page.changes)
        sizes.append(len(page.changes.modules))
        if page.following is None:
            break
        start = page.following

    assert copy.records("e1") == store.records("e1")
    assert sizes == [2, 2, 200, 200, 51]


def test_an_evaluation_without_modules_is_one_page() -> None:
    store = MemoryStore()
    store.merge(Changes((evaluation("e1"),)))
    page = page_of(store, "e1", 0)
    assert (page.changes.evaluations[0].id, page.changes.modules, page.following) == ("e1", (), None)


def test_an_unknown_evaluation_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        page_of(MemoryStore(), "e1", 0)


def test_the_record_comes_after_all_results_so_that_nobody_takes_over_what_has_ended() -> None:
    store = MemoryStore()
    modules = tuple(ModuleRecord(ModuleState("e1", "p", f"t{i:03}", Verdict.PASSED)) for i in range(MAX_RECORDS + 1))
    ended = evaluation("e1", finished_at=9.0)
    store.merge(Changes((ended,), modules))
    first = page_of(store, "e1", 0)
    assert first.following is not None
    last = page_of(store, "e1", first.following)
    assert [page.changes.evaluations for page in (first, last)] == [(), (ended,)]


def test_modules_are_told_though_their_record_is_not_there() -> None:
    store = MemoryStore()
    record = ModuleRecord(ModuleState("e1", "p", "t"))
    store.merge(Changes((), (record,)))
    assert page_of(store, "e1", 0) == Page(Changes((), (record,)))


def test_pages_that_do_not_go_on_are_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [Page(Changes(), following=200), Page(Changes(), following=200)]
    peers = HttpPeers("secret")
    monkeypatch.setattr(peers, "_call", lambda *_, **__: encode(PAGE, answers.pop(0)))
    with pytest.raises(PeerFailedError):
        list(peers.records("a:1", "e1", 1.0))
    assert answers == []
