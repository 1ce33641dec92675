"""Batches keep order, lose nothing and stay within their bounds."""

from hypothesis import given
from hypothesis import strategies as st

from testmesh.model import TestResult
from testmesh.node.messaging.batching import MAX_RECORDS, MAX_TEXT, batches, text_of


@given(st.lists(st.integers(0, 2 * MAX_TEXT), max_size=500))
def test_nothing_is_lost_and_no_batch_is_over_by_more_than_its_last_item(weights: list[int]) -> None:
    found = list(batches(weights, lambda weight: weight))
    assert [weight for batch in found for weight in batch] == weights
    assert all(0 < len(batch) <= MAX_RECORDS and sum(batch[:-1]) < MAX_TEXT for batch in found)


def test_the_weight_of_tests_is_their_text() -> None:
    assert (
        text_of((TestResult("ab", "failed", longrepr="cde", stdout="f", stderr="gh"), TestResult("i", "passed"))) == 9
    )
