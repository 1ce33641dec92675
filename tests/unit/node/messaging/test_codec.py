"""Records come back from JSON as they were; what is no record is refused with a sentence."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from testmesh.errors import MalformedError
from testmesh.model import Counts, Evaluation, ModuleResult, ModuleState, TestResult, Verdict
from testmesh.node.membership.membership import Member
from testmesh.node.messaging.codec import EVALUATION, decode, encode, pack_tests, unpack_tests
from testmesh.node.messaging.messages import (
    AttemptReport,
    AttemptReports,
    Digests,
    Held,
    Load,
    Members,
    Page,
    PingReply,
    Replicate,
    Task,
    WorkOrder,
)
from testmesh.node.messaging.wire import DIGESTS, HELD, MEMBERS, PAGE, PING_REPLY, REPLICATE, REPORTS, WORK_ORDER
from testmesh.node.storage.replica import Changes, ModuleRecord
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


RESULT = ModuleResult(Verdict.PASSED, Counts(1), 0.5, tests=(TestResult("test_a", "passed", 0.5),))
RECORD = ModuleRecord(ModuleState("e1", "p", "test_1.py", Verdict.PASSED, 0, 1, time=0.5), RESULT.tests)
REPORT = AttemptReport("e1", Task("p", "test_1.py", 0, 1), "b:1", RESULT)


def reports(result: ModuleResult = RESULT, **changed: Any) -> AttemptReports:
    return AttemptReports("b:1", (replace(REPORT, result=result, **changed),), Load(1, 0, 0))


def replicate(evaluation: Evaluation | None = None, **changed: Any) -> Replicate:
    record = replace(RECORD, **{name: changed.pop(name) for name in ("tests",) if name in changed})
    record = replace(record, state=replace(record.state, **changed))
    return Replicate(Changes((evaluation or some.evaluation(),), (record,)))


UNHEARD_OF: list[tuple[TypeAdapter[Any], object]] = [
    (REPORTS, reports(replace(RESULT, verdict=Verdict.RUNNING))),
    (REPORTS, reports(replace(RESULT, verdict=Verdict.PENDING))),
    (REPORTS, reports(replace(RESULT, counts=Counts(passed=2**63)))),
    (REPORTS, reports(replace(RESULT, counts=Counts(passed=2**53)))),  # a thousand of them are beyond any sum
    (REPORTS, reports(replace(RESULT, counts=Counts(failed=-1)))),
    (REPORTS, reports(replace(RESULT, time=-1.0))),
    (REPORTS, reports(replace(RESULT, tests=(TestResult("a", "passed", -0.5),)))),
    (REPORTS, reports(task=Task("p", "test_1.py", 2**53 + 1, 1))),
    (REPORTS, replace(reports(), load=Load(1, 0, -5))),
    (REPLICATE, replicate(epoch=2**63)),
    (REPLICATE, replicate(attempt=-1)),
    (REPLICATE, replicate(losses=2**100)),
    (REPLICATE, replicate(time=-0.1)),
    (REPLICATE, replicate(some.evaluation(number=2**53 + 1))),
    (REPLICATE, replicate(some.evaluation(epoch=-1))),
    (PAGE, Page(replicate(counts=Counts(errors=2**60)).changes)),
    (WORK_ORDER, WorkOrder(some.evaluation(), (Task("p", "t", -1, 0),))),
    (HELD, Held((("e1", Task("p", "t", 0, 2**60)),), Load(1, 0, 0))),
    (PING_REPLY, PingReply((), Load(1, 0, 0), 0, wall=-1.0)),
    (PING_REPLY, PingReply((), Load(1, 0, 0), 2**63)),
    (MEMBERS, Members((Member("a:1", "boot", 2**53 + 1),))),
]


@pytest.mark.parametrize(("adapter", "record"), UNHEARD_OF)
def test_values_that_no_node_sends_are_refused(adapter: TypeAdapter[Any], record: object) -> None:
    with pytest.raises(MalformedError, match="not what this node understands"):
        decode(adapter, adapter.dump_json(record))


@pytest.mark.parametrize(
    ("adapter", "record"),
    [
        (REPORTS, reports(replace(RESULT, verdict=Verdict.RUNNING))),
        (REPORTS, reports(replace(RESULT, counts=Counts(passed=2**63)))),
        (REPORTS, reports(replace(RESULT, time=math.nan))),
        (REPLICATE, replicate(time=math.inf)),
        (EVALUATION, some.evaluation(epoch=2**63)),
    ],
)
def test_nor_are_they_sent_or_written(adapter: TypeAdapter[Any], record: object) -> None:
    with pytest.raises(MalformedError, match="not what this node understands"):
        encode(adapter, record)


def test_from_the_most_that_is_received_a_store_counts_on() -> None:
    most = decode(REPLICATE, encode(REPLICATE, replicate(some.evaluation(epoch=2**53)))).changes.evaluations[0]
    assert b'"epoch":9007199254740993' in encode(EVALUATION, replace(most, epoch=most.epoch + 1))


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("adapter", [REPORTS, REPLICATE])
def test_numbers_that_are_none_are_refused(adapter: TypeAdapter[Any], literal: str) -> None:
    sent = encode(adapter, reports() if adapter is REPORTS else replicate()).decode()
    assert sent.count('"time":0.5') == 2
    for place in (1, 2):  # the module's, the test's
        parts = sent.split('"time":0.5')
        changed = '"time":0.5'.join(parts[:place]) + f'"time":{literal}' + '"time":0.5'.join(parts[place:])
        with pytest.raises(MalformedError):
            decode(adapter, changed)


@pytest.mark.parametrize("time", [math.nan, math.inf])
def test_what_could_not_be_read_again_is_not_packed(time: float) -> None:
    with pytest.raises(MalformedError):
        pack_tests((TestResult("a", "passed", time),))


def test_texts_that_are_no_utf_8_are_refused_both_ways() -> None:
    with pytest.raises(MalformedError):
        encode(REPORTS, reports(replace(RESULT, detail="\udc80")))
    with pytest.raises(MalformedError):
        decode(REPORTS, encode(REPORTS, reports(replace(RESULT, detail="x@x"))).replace(b"x@x", rb"\udc80"))


def test_digests_may_be_as_large_as_they_are_made() -> None:
    digests, reply = Digests({"e1": 2**63 - 1}), PingReply((), Load(1, 0, 0), 2**63 - 1)
    assert decode(DIGESTS, encode(DIGESTS, digests)) == digests
    assert decode(PING_REPLY, encode(PING_REPLY, reply)) == reply
