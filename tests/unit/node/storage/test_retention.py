"""Which evaluations go, and that each node prunes to what it was told to keep."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.clock import FakeClock
from testmesh.model import Counts, ModuleState, Options, Verdict
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.retention import Retention, to_prune
from testmesh.node.storage.sqlite_store import SqliteStore
from testmesh.node.storage.store import Ended
from tests.support.records import evaluation
from tests.support.waiting import until

DAY = 86_400.0
ended = st.lists(st.builds(Ended, st.integers(0, 5), st.text("ab", max_size=4), st.floats(0, 100)), max_size=12)


class TestDeciding:
    def test_the_lowest_numbers_go_first_whatever_the_clocks_said(self) -> None:
        found = [Ended(3, "c", 0.0), Ended(1, "b", 99.0), Ended(1, "a", 98.0), Ended(2, "d", 1e12)]
        assert to_prune(found, keep=2) == ["a", "b"]
        assert to_prune(found, keep=4) == []

    def test_those_that_ended_before_the_moment_go_too(self) -> None:
        found = [Ended(1, "a", 50.0), Ended(2, "b", 10.0), Ended(3, "c", 40.0)]
        assert to_prune(found, keep=9, ended_before=40.0) == ["b"]
        assert to_prune(found, keep=2, ended_before=40.0) == ["a", "b"]

    @given(ended, st.integers(1, 6), st.none() | st.floats(0, 100), st.randoms())
    def test_as_many_stay_as_are_kept_and_the_order_does_not_matter(
        self, found: list[Ended], keep: int, before: float | None, rng: Random
    ) -> None:
        gone = to_prune(found, keep, before)
        if before is None:
            assert len(found) - len(gone) == min(len(found), keep)
        shuffled = list(found)
        rng.shuffle(shuffled)
        assert to_prune(shuffled, keep, before) == gone


def complete(number: int, finished_at: float = 9.0) -> Changes:
    name = f"e{number}"
    module = ModuleState(name, "p", "test_1.py", Verdict.PASSED, 0, 1, "a:1", Counts(2))
    return Changes((evaluation(name, finished_at=finished_at, number=number),), (ModuleRecord(module),))


def calling_back(number: int, finished_at: float = 9.0) -> Changes:
    """One that has ended and whose callback was not told of it."""
    changes = complete(number, finished_at)
    asked = replace(changes.evaluations[0], options=Options(callback_url="https://hooks.example.org/"))
    return Changes((asked,), changes.modules)


class TestPruning:
    def test_at_the_start_and_whenever_one_ends(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "store.db")
        ledger = Ledger(store)
        for number in range(30):
            store.merge(complete(number))
        totals = store.totals()
        told: list[Changes] = []
        ledger.subscribe(lambda changes, publish: told.append(changes) if publish else None)

        retention = Retention(ledger, 3, None, lambda: None)
        try:
            until(lambda: len(store.ended()) == 3)
            assert [found.id for found in store.ended()] == ["e27", "e28", "e29"]
            assert store.totals() == totals
            until(lambda: sum(len(changes.evaluations) for changes in told) == 27)

            ledger.merge(complete(30), publish=False)
            until(lambda: [found.id for found in store.ended()] == ["e28", "e29", "e30"])
        finally:
            retention.stop()
            store.close()

    def test_one_that_runs_or_lacks_a_result_stays(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "store.db")
        ledger = Ledger(store)
        running, lacking = complete(1).evaluations[0], complete(2).evaluations[0]
        store.merge(Changes((replace(running, finished_at=None), lacking)))
        for number in range(3, 6):
            store.merge(complete(number))
        retention = Retention(ledger, 1, None, lambda: None)
        try:
            until(lambda: [found.id for found in store.ended()] == ["e2", "e5"])
            assert [found.id for found in store.unfinished()] == ["e1"]
            ledger.merge(complete(2), publish=False)  # its result arrives
            ledger.merge(complete(6), publish=False)
            until(lambda: [found.id for found in store.ended()] == ["e6"])
        finally:
            retention.stop()
            store.close()

    def test_one_whose_end_is_still_to_be_told_stays_until_it_was(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "store.db")
        ledger = Ledger(store)
        awaiting = calling_back(1)
        for changes in (awaiting, complete(2), complete(3), complete(4)):
            store.merge(changes)
        retention = Retention(ledger, 2, None, lambda: None)
        try:
            until(lambda: [found.id for found in store.ended()] == ["e1", "e3", "e4"])
            ledger.merge(Changes((replace(awaiting.evaluations[0], called_back=True),)), publish=False)
            until(lambda: [found.id for found in store.ended()] == ["e3", "e4"])
        finally:
            retention.stop()
            store.close()

    def test_so_many_stay_for_their_callbacks_and_no_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("testmesh.node.storage.retention._MOST_AWAITING", 2)
        store = SqliteStore(tmp_path / "store.db")
        for number in range(1, 7):
            store.merge(calling_back(number))
        retention = Retention(Ledger(store), 1, None, lambda: None)
        try:
            until(lambda: [found.id for found in store.ended()] == ["e4", "e5", "e6"])
        finally:
            retention.stop()
            store.close()

    def test_a_callback_keeps_nothing_for_much_longer_than_the_days(self, tmp_path: Path) -> None:
        clock = FakeClock()
        store = SqliteStore(tmp_path / "store.db")
        for number, days in enumerate((3.1, 2.9, 2.1, 1.9)):
            store.merge(calling_back(number, clock.wall() - days * DAY))
        retention = Retention(Ledger(store), 1000, 2, clock.wall)
        try:
            until(lambda: [found.id for found in store.ended()] == ["e1", "e2", "e3"])
        finally:
            retention.stop()
            store.close()

    def test_by_age_where_days_are_set(self, tmp_path: Path) -> None:
        clock = FakeClock()
        store = SqliteStore(tmp_path / "store.db")
        for number, days in enumerate((5.0, 1.9, 2.1)):
            store.merge(complete(number, clock.wall() - days * DAY))
        retention = Retention(Ledger(store), 1000, 2, clock.wall)
        try:
            until(lambda: [found.id for found in store.ended()] == ["e1"])
        finally:
            retention.stop()
            store.close()
