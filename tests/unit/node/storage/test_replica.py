"""Merging is a join of a semilattice, and a final result stands."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.model import (
    Counts,
    Evaluation,
    ModuleState,
    Options,
    Project,
    Pruned,
    PrunedShare,
    Source,
    SourceKind,
    TestResult,
    Verdict,
)
from testmesh.node.storage.replica import (
    Changes,
    ModuleRecord,
    digest_of,
    fingerprint,
    may_be_pruned,
    merge_evaluations,
    merge_modules,
    module_fingerprint,
    prune,
)
from tests.support import records as some
from tests.support.records import evaluation

STATE = ModuleState("e1", "p", "test_1.py")


def one_id(found: list[Evaluation]) -> list[Evaluation]:
    return [replace(e, id="e1") for e in found]


def one_place(found: list[ModuleRecord]) -> list[ModuleRecord]:
    return [replace(r, state=replace(r.state, evaluation="e1", project="p", module="test_1.py")) for r in found]


three_evaluations = st.lists(some.evaluations, min_size=3, max_size=3).map(one_id)
three_records = st.lists(some.records, min_size=3, max_size=3).map(one_place)

# Of one submission, as nodes know it: what never changes is the same.
SENT = evaluation(sources=(Source(SourceKind.REPOSITORY, "r"), Source(SourceKind.REPOSITORY, "s")), sealed_token="t")
copies = st.builds(
    lambda e, s1, s2: replace(
        e,
        id="e1",
        body_digest="",
        pruned=None,
        options=Options(),
        tests_archive=None,
        sources=tuple(
            replace(s, kind=k.kind, name=k.name, url=k.url) for s, k in zip((s1, s2), SENT.sources, strict=True)
        ),
    ),
    some.evaluations,
    some.sources,
    some.sources,
)
three_copies = st.lists(copies, min_size=3, max_size=3)


class TestEvaluations:
    @settings(deadline=None)
    @given(three_evaluations | three_copies)
    def test_the_order_of_merging_does_not_matter(self, three: list[Evaluation]) -> None:
        a, b, c = three
        assert merge_evaluations(a, b) == merge_evaluations(b, a)
        assert merge_evaluations(merge_evaluations(a, b), c) == merge_evaluations(a, merge_evaluations(b, c))

    @settings(deadline=None)
    @given(three_evaluations | three_copies)
    def test_merging_again_changes_nothing(self, three: list[Evaluation]) -> None:
        merged = reduce(merge_evaluations, three)
        for seen in (*three, merged):
            assert merge_evaluations(merged, seen) == merged
        stored = merge_evaluations(three[0], three[0])  # as a store keeps what it has never seen
        assert merge_evaluations(stored, stored) == stored

    @settings(deadline=None)
    @given(three_copies)
    def test_nothing_known_is_lost(self, three: list[Evaluation]) -> None:
        merged = reduce(merge_evaluations, three)
        assert merged.epoch == max(e.epoch for e in three)
        assert set(merged.holders) == {holder for e in three for holder in e.holders}
        assert merged.cancelled == any(e.cancelled for e in three)
        assert (merged.finished_at is None) == all(e.finished_at is None for e in three)
        for index, source in enumerate(merged.sources):
            believed = [e for e in three if e.finished_at is not None] or three
            assert source.is_resolved == any(e.sources[index].is_resolved for e in believed)

    @settings(deadline=None)
    @given(st.lists(some.evaluations, min_size=2, max_size=2).map(one_id))
    def test_of_two_submissions_under_one_id_one_is_kept_whole(self, two: list[Evaluation]) -> None:
        a, b = two[0], replace(two[1], body_digest="another")
        assert merge_evaluations(a, b) in (merge_evaluations(a, a), merge_evaluations(b, b))

    @settings(deadline=None)
    @given(three_evaluations)
    def test_what_was_pruned_wins_and_nothing_else_of_it_stays(self, three: list[Evaluation]) -> None:
        merged = reduce(merge_evaluations, three)
        assert (merged.pruned is not None) == any(e.pruned is not None for e in three)
        if merged.pruned is not None:
            assert merged.pruned in [e.pruned for e in three]
            assert merged.finished_at is not None
            bare = Evaluation("e1", merged.submitted_at, "", (), body_digest=merged.body_digest)
            assert merged == replace(bare, finished_at=merged.finished_at, number=merged.number, pruned=merged.pruned)

    def test_of_two_pruned_ones_that_which_counts_more_modules_stands(self) -> None:
        few, many = (evaluation(pruned=Pruned((PrunedShare("a:1", ("p",), Counts(1), n),))) for n in (1, 2))
        assert merge_evaluations(few, many) == merge_evaluations(many, few) == merge_evaluations(many, many)

    def test_the_lowest_number_stands(self) -> None:
        assert merge_evaluations(evaluation(number=3), evaluation(number=2)).number == 2

    def test_the_higher_epoch_drives(self) -> None:
        a, b = evaluation(owner="z:1", epoch=1), evaluation(owner="a:1", epoch=2)
        assert merge_evaluations(a, b).owner == "a:1"

    def test_what_one_owner_could_not_have_another_had(self) -> None:
        url = Source(SourceKind.REPOSITORY, "r", url="https://github.com/o/r")
        error, archive = replace(url, error="no room", epoch=0), replace(url, archive="a" * 64, epoch=1)
        for order in ((error, archive), (archive, error)):
            merged = reduce(merge_evaluations, [evaluation(sources=(source,)) for source in order])
            assert merged.sources == (archive,)

    @pytest.mark.parametrize("known", [{"error": "no room"}, {}])
    def test_what_is_fetched_for_one_that_has_ended_without_comes_too_late(self, known: dict[str, str]) -> None:
        """Its modules were not run, and nobody runs them any more."""
        url = Source(SourceKind.REPOSITORY, "r", url="https://github.com/o/r")
        ended = evaluation(sources=(replace(url, **known),), finished_at=9.0)  # type: ignore[arg-type]
        late = evaluation(sources=(replace(url, archive="a" * 64, epoch=1),), epoch=1)
        for order in ((ended, late), (late, ended)):
            merged = reduce(merge_evaluations, order)
            assert (merged.sources, merged.finished_at, merged.epoch) == (ended.sources, 9.0, 1)

    def test_a_token_is_erased_at_the_end_in_whatever_order_that_is_heard(self) -> None:
        url = Source(SourceKind.REPOSITORY, "r", url="https://github.com/o/r")
        fetched = evaluation(sources=(replace(url, archive="a" * 64),))
        waiting, ended = evaluation(sources=(url,), sealed_token="t"), evaluation(sources=(url,), finished_at=9.0)
        for order in permutations((fetched, waiting, ended)):
            assert reduce(merge_evaluations, order).sealed_token is None

    def test_of_two_ends_that_which_had_the_archive_tells_the_sources(self) -> None:
        url = Source(SourceKind.REPOSITORY, "r", url="https://github.com/o/r")
        failed = evaluation(sources=(replace(url, error="no room"),), finished_at=9.0)
        ran = evaluation(sources=(replace(url, archive="a" * 64, epoch=1),), epoch=1, finished_at=11.0)
        for order in ((failed, ran), (ran, failed)):
            merged = reduce(merge_evaluations, order)
            assert (merged.sources, merged.finished_at) == (ran.sources, 9.0)

    def test_a_resolved_source_stays_and_of_two_the_lower_epoch(self) -> None:
        url = Source(SourceKind.REPOSITORY, "r", url="https://github.com/o/r")
        open_, early, late = url, replace(url, archive="a" * 64, epoch=1), replace(url, error="gone", epoch=2)
        for order in ((open_, early, late), (late, early, open_), (early, open_, late)):
            merged = reduce(merge_evaluations, [evaluation(sources=(source,)) for source in order])
            assert merged.sources == (early,)

    @pytest.mark.parametrize("first", [True, False])
    def test_the_token_is_erased_once_every_source_is_resolved(self, first: bool) -> None:
        done = tuple(replace(source, error="not found") for source in SENT.sources)
        resolved = replace(SENT, sources=done)

        assert merge_evaluations(*((SENT, resolved) if first else (resolved, SENT))).sealed_token is None
        assert merge_evaluations(SENT, SENT).sealed_token == "t"
        assert merge_evaluations(resolved, resolved).sealed_token is None

    def test_the_earliest_end_stands_with_its_own_duration(self) -> None:
        early, late = evaluation(finished_at=10.0, eval_time=9.0), evaluation(finished_at=11.0, eval_time=1.0)
        merged = merge_evaluations(late, early)
        assert (merged.finished_at, merged.eval_time) == (10.0, 9.0)


class TestModules:
    @settings(deadline=None)
    @given(three_records)
    def test_the_order_of_merging_does_not_matter(self, three: list[ModuleRecord]) -> None:
        a, b, c = three
        assert merge_modules(a, b) == merge_modules(b, a)
        assert merge_modules(merge_modules(a, b), c) == merge_modules(a, merge_modules(b, c))

    @settings(deadline=None)
    @given(three_records)
    def test_merging_again_changes_nothing(self, three: list[ModuleRecord]) -> None:
        merged = reduce(merge_modules, three)
        for seen in (*three, merged):
            assert merge_modules(merged, seen) == merged

    @settings(deadline=None)
    @given(st.lists(some.records, min_size=1, max_size=8).map(one_place), st.randoms())
    def test_once_the_lowest_final_attempt_is_in_the_result_never_changes(self, seen: list[ModuleRecord], rng) -> None:  # type: ignore[no-untyped-def]
        finals = [record for record in seen if record.state.verdict.is_final]
        lowest = (0, 0)
        stands = ModuleRecord(replace(STATE, verdict=Verdict.PASSED, epoch=lowest[0], attempt=lowest[1]))
        later = [r for r in finals if (r.state.epoch, r.state.attempt) > lowest]
        others = [r for r in seen if not r.state.verdict.is_final] + later
        rng.shuffle(others)
        known = reduce(merge_modules, [stands, *others])
        assert known == stands

    @pytest.mark.parametrize(
        ("one", "other", "wins"),
        [
            ((Verdict.PENDING, 0, 0), (Verdict.PENDING, 0, 1), 1),
            ((Verdict.RUNNING, 0, 1), (Verdict.PENDING, 0, 1), 0),
            ((Verdict.RUNNING, 0, 9), (Verdict.PENDING, 1, 1), 1),
            ((Verdict.PASSED, 5, 5), (Verdict.RUNNING, 9, 9), 0),
            ((Verdict.PASSED, 0, 2), (Verdict.FAILED, 0, 1), 1),
            ((Verdict.PASSED, 0, 9), (Verdict.FAILED, 1, 1), 0),
        ],
    )
    def test_who_wins(self, one: tuple[Verdict, int, int], other: tuple[Verdict, int, int], wins: int) -> None:
        both = [ModuleRecord(replace(STATE, verdict=v, epoch=e, attempt=a)) for v, e, a in (one, other)]
        assert merge_modules(*both) == merge_modules(*reversed(both)) == both[wins]

    def test_the_tests_come_with_the_result_that_wins(self) -> None:
        first = ModuleRecord(replace(STATE, verdict=Verdict.FAILED, attempt=1), (TestResult("t", "failed"),))
        second = ModuleRecord(replace(STATE, verdict=Verdict.PASSED, attempt=2), (TestResult("t", "passed"),))
        assert merge_modules(second, first).tests == first.tests


class TestPruning:
    def test_what_stays_are_the_names_of_projects_and_what_each_node_ran(self) -> None:
        plans = {"p": ["test_1.py", "test_2.py"], "q": ["test_1.py"], "r": ["test_1.py"]}
        ended = evaluation("e1", plans, finished_at=9.0, body_digest="d", number=4, holders=("a:1",), epoch=2)
        found = [
            replace(STATE, verdict=Verdict.PASSED, node="b:1", counts=Counts(3)),
            replace(STATE, module="test_2.py", verdict=Verdict.FAILED, node="a:1", counts=Counts(1, 2)),
            replace(STATE, project="q", verdict=Verdict.CRASHED, node="b:1", counts=Counts(0, 1)),
            replace(STATE, project="r", verdict=Verdict.CANCELLED, node="c:1"),
        ]
        assert may_be_pruned(ended, found)
        assert prune(ended, found) == Evaluation(
            "e1",
            100.0,
            "",
            (),
            body_digest="d",
            finished_at=9.0,
            number=4,
            pruned=Pruned(
                (
                    PrunedShare("", ("p", "q", "r"), Counts(), 0),
                    PrunedShare("a:1", ("p",), Counts(1, 2), 1),
                    PrunedShare("b:1", ("p", "q"), Counts(3, 1), 2),
                ),
                (some.ARCHIVE,),
            ),
        )

    def test_one_that_runs_or_lacks_a_result_or_is_pruned_is_left_alone(self) -> None:
        done = replace(STATE, verdict=Verdict.PASSED)
        ended = evaluation(finished_at=1.0)
        assert may_be_pruned(ended, [done])
        assert not may_be_pruned(evaluation(), [done])
        assert not may_be_pruned(ended, [])
        assert not may_be_pruned(ended, [replace(STATE, verdict=Verdict.RUNNING)])
        assert not may_be_pruned(prune(ended, [done]), [done])


class TestDigests:
    @settings(deadline=None)
    @given(st.lists(some.records, max_size=5, unique_by=lambda r: r.state.key), some.evaluations, st.randoms())
    def test_the_order_does_not_matter(self, states: list[ModuleRecord], of: Evaluation, rng) -> None:  # type: ignore[no-untyped-def]
        shuffled = list(states)
        rng.shuffle(shuffled)
        assert digest_of(of, states) == digest_of(of, shuffled)

    @settings(deadline=None)
    @given(
        st.lists(some.records, max_size=4, unique_by=lambda r: r.state.key),
        st.lists(some.records, max_size=4, unique_by=lambda r: r.state.key),
        st.none() | some.evaluations,
        st.none() | some.evaluations,
    )
    def test_equal_means_equal_records_but_for_the_words_of_tests(
        self, a: list[ModuleRecord], b: list[ModuleRecord], e: Evaluation | None, f: Evaluation | None
    ) -> None:
        known = [{(record.state, len(record.tests)) for record in found} for found in (a, b)]
        assert (digest_of(e, a) == digest_of(f, b)) == (e == f and known[0] == known[1])

    @settings(deadline=None)
    @given(some.evaluations, st.lists(some.records, max_size=4))
    def test_they_fit_into_a_signed_64_bit_integer(self, of: Evaluation, records: list[ModuleRecord]) -> None:
        assert 0 <= digest_of(of, records) < 2**63

    def test_a_result_that_lost_its_tests_has_another_one_and_gets_them_again(self) -> None:
        whole = ModuleRecord(replace(STATE, verdict=Verdict.FAILED, attempt=1), (TestResult("t", "failed"),))
        bare = ModuleRecord(whole.state)
        assert digest_of(None, [whole]) != digest_of(None, [bare])
        assert merge_modules(bare, whole) == merge_modules(whole, bare) == whole

    def test_every_field_of_a_state_counts(self) -> None:
        changed = [
            replace(STATE, **field)
            for field in (
                {"verdict": Verdict.RUNNING},
                {"epoch": 1},
                {"attempt": 1},
                {"node": "a:1"},
                {"counts": Counts(1)},
                {"time": 1.0},
                {"python": "3"},
                {"detail": "x"},
                {"losses": 1},
            )
        ]
        assert len({digest_of(None, [ModuleRecord(state)]) for state in (STATE, *changed)}) == len(changed) + 1


def test_changes_know_their_evaluations_and_whether_there_is_anything() -> None:
    assert not Changes()
    changes = Changes((evaluation("e2"),), (ModuleRecord(STATE), ModuleRecord(replace(STATE, evaluation="e2"))))
    assert changes
    assert changes.evaluation_ids() == ("e2", "e1")


@given(some.records)
def test_a_modules_fingerprint_is_that_of_its_ascii(found: ModuleRecord) -> None:
    """Such are on the disks, and nodes compare them: of a field that is left out they would not see that it differs."""
    text = f"{found.state!a} {len(found.tests)}".encode()
    expected = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
    assert module_fingerprint(found.state, len(found.tests)) == expected


# Of these, interpreters print the first as it is, and the second only since Python 3.12.
LETTERS = "\u00e9\U0001fae8"


def test_fingerprints_are_the_same_on_all_interpreters() -> None:
    source = Source(SourceKind.ZIP, LETTERS, archive="a", projects=(Project(LETTERS, "", ()),))
    options = Options(callback_url=f"http://x.org/{LETTERS}")
    found = Evaluation("e1", 1.0, "n:1", (source,), options)
    assert fingerprint(found) == 3549962941645956814
    assert module_fingerprint(replace(STATE, project=LETTERS, detail=LETTERS), 1) == 2145806006197182735


@pytest.mark.parametrize("choose", [merge_modules, lambda a, b: merge_modules(b, a)])
def test_of_two_results_all_interpreters_choose_the_same(
    choose: Callable[[ModuleRecord, ModuleRecord], ModuleRecord],
) -> None:
    """In the order of what is the same everywhere, where letters beyond ASCII begin with a backslash."""
    first, second = (ModuleRecord(replace(STATE, verdict=Verdict.PASSED, detail=text)) for text in ("\u00e9", "~"))
    assert choose(first, second) == first
    first, second = (replace(first, tests=(TestResult("t", "passed", 0.0, text),)) for text in ("\u00e9", "~"))
    assert choose(first, second) == first


def test_of_two_evaluations_all_interpreters_choose_the_same() -> None:
    def both_ways(mine: Evaluation, theirs: Evaluation) -> Evaluation:
        merged = merge_evaluations(mine, theirs)
        assert merge_evaluations(theirs, mine) == merged
        return merged

    first, second = (evaluation(body_digest=text) for text in ("\u00e9", "~"))
    assert both_ways(first, second) == first
    first, second = (evaluation(sources=(Source(SourceKind.REPOSITORY, "r", error=text),)) for text in ("\u00e9", "~"))
    assert both_ways(first, second).sources == first.sources
    shares = [(PrunedShare("", (text,), Counts(), 0),) for text in ("\u00e9", "~")]
    first, second = (evaluation(finished_at=1.0, pruned=Pruned(each, ())) for each in shares)
    assert both_ways(first, second).pruned == second.pruned
