"""Records come back from JSON as they were; what is no record is refused with a sentence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.errors import MalformedError
from testmesh.model import Evaluation, TestResult
from testmesh.node.codec import EVALUATION, decode, encode, pack_tests, unpack_tests
from testmesh.node.messages import Replicate
from testmesh.node.replica import Changes
from testmesh.node.wire import REPLICATE
from tests.support import records as some


@settings(deadline=None)
@given(some.evaluations)
def test_an_evaluation_comes_back_as_it_was(found: Evaluation) -> None:
    assert decode(EVALUATION, encode(EVALUATION, found)) == found


@settings(deadline=None)
@given(some.changes)
def test_changes_come_back_as_they_were(found: Changes) -> None:
    assert decode(REPLICATE, encode(REPLICATE, Replicate(found))) == Replicate(found)


@settings(deadline=None)
@given(st.lists(some.test_results).map(tuple))
def test_tests_come_back_as_they_were(found: tuple[TestResult, ...]) -> None:
    assert unpack_tests(pack_tests(found)) == found


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"id": 1}', b'{"id": "x", "submitted_at": "soon"}', "[" * 100_000],
)
def test_what_is_no_record_is_malformed(data: bytes | str) -> None:
    with pytest.raises(MalformedError, match="not what this node understands"):
        decode(EVALUATION, data)
