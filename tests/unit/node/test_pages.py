"""Pages bring every record once, each page within its bounds."""

import pytest

from testmesh.errors import NotFoundError
from testmesh.model import ModuleState, TestResult, Verdict
from testmesh.node.batching import MAX_RECORDS, MAX_TEXT
from testmesh.node.pages import page_of
from testmesh.node.replica import Changes, ModuleRecord
from testmesh.node.store import MemoryStore
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


def test_an_end_is_told_on_the_last_page_only() -> None:
    store = MemoryStore()
    modules = tuple(ModuleRecord(ModuleState("e1", "p", f"t{i:03}", Verdict.PASSED)) for i in range(MAX_RECORDS + 1))
    store.merge(Changes((evaluation("e1", finished_at=9.0),), modules))
    first = page_of(store, "e1", 0)
    assert first.following is not None
    last = page_of(store, "e1", first.following)
    assert [page.changes.evaluations[0].finished_at for page in (first, last)] == [None, 9.0]
