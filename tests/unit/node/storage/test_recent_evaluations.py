"""An evaluation is read from its document once, and anew as soon as the record is another."""

from dataclasses import replace
from pathlib import Path

import pytest

from testmesh.model import Evaluation, ModulePlan, Project
from testmesh.node.storage import sqlite_store
from testmesh.node.storage.recent_evaluations import _MOST_MODULES, RecentEvaluations
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.sqlite_schema import stored_evaluation
from testmesh.node.storage.sqlite_store import SqliteStore
from tests.support.records import evaluation


def large(evaluation_id: str, modules: int) -> Evaluation:
    plans = tuple(ModulePlan(f"test_{number}.py") for number in range(modules))
    found = evaluation(evaluation_id)
    source = replace(found.sources[0], projects=(Project("p", "p", plans),))
    return replace(found, sources=(source,))


def test_the_store_reads_a_document_once_until_the_record_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def reading(document: bytes) -> Evaluation:
        read.append(document)
        return stored_evaluation(document)

    monkeypatch.setattr(sqlite_store, "stored_evaluation", reading)
    store = SqliteStore(tmp_path / "mesh.db")
    try:
        first = evaluation("e1")
        store.merge(Changes((first,)))
        assert [store.evaluation("e1") for _ in range(3)] == [first] * 3
        assert len(read) == 1
        cancelled = replace(first, cancelled=True)
        store.merge(Changes((cancelled,)))
        assert [store.evaluation("e1"), *store.records("e1").evaluations] == [cancelled] * 2
        assert len(read) == 2
        assert store.evaluation("e2") is None
    finally:
        store.close()


def test_what_is_remembered_is_bounded_by_its_modules() -> None:
    recent = RecentEvaluations()
    for number in range(5):
        recent.put(large(f"e{number}", _MOST_MODULES // 3), number)
    assert [recent.get(f"e{number}", number) is not None for number in range(5)] == [False, False, False, True, True]
    recent.put(large("huge", 2 * _MOST_MODULES), 9)
    assert recent.get("huge", 9) is not None
    assert recent.get("e4", 4) is None


def test_another_fingerprint_is_another_record() -> None:
    recent = RecentEvaluations()
    recent.put(evaluation("e1"), 1)
    assert recent.get("e1", 2) is None
    recent.clear()
    assert recent.get("e1", 1) is None
