"""PURE: merging what two nodes know of an evaluation.

Both merges are joins of a semilattice: commutative, associative, idempotent. So records may arrive twice, late and in
any order, and nodes that have seen the same records agree (convergent replicated data types, Shapiro et al. 2011).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from testmesh.model import Evaluation, ModuleState, Source, TestResult, Verdict


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """A module's state with its tests' outcomes, as it is stored and sent. `tests` is empty until it is final."""

    state: ModuleState
    tests: tuple[TestResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What one node tells another, or merges into its own store."""

    evaluations: tuple[Evaluation, ...] = ()
    modules: tuple[ModuleRecord, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.evaluations or self.modules)

    def evaluation_ids(self) -> tuple[str, ...]:
        found = [e.id for e in self.evaluations] + [m.state.evaluation for m in self.modules]
        return tuple(dict.fromkeys(found))


def merge_modules(mine: ModuleRecord, theirs: ModuleRecord) -> ModuleRecord:
    """A final one wins over others; of two final ones the lowest (epoch, attempt), of two others the highest."""
    if mine.state.verdict.is_final != theirs.state.verdict.is_final:
        return mine if mine.state.verdict.is_final else theirs
    choose = min if mine.state.verdict.is_final else max
    return choose((mine, theirs), key=_module_order)


def merge_evaluations(mine: Evaluation, theirs: Evaluation) -> Evaluation:
    """Field by field; both must have the same id.

    What is stored first is merged with itself, which erases a token that is not needed any more.
    Two submissions under one id (one Idempotency-Key met two nodes at once): one of them, whole, the same everywhere.
    """
    both = (mine, theirs)
    if _what_was_submitted(mine) != _what_was_submitted(theirs):
        chosen = min(both, key=_what_was_submitted)
        return merge_evaluations(chosen, chosen)
    driver = max(both, key=lambda e: (e.epoch, e.owner))
    sources = tuple(_merge_source(a, b) for a, b in zip(mine.sources, theirs.sources, strict=True))
    end = min(both, key=_end_order)
    cancelled = mine.cancelled or theirs.cancelled
    tokens = [e.sealed_token for e in both if e.sealed_token]
    return replace(
        mine,
        submitted_at=min(e.submitted_at for e in both),
        owner=driver.owner,
        epoch=driver.epoch,
        sources=sources,
        holders=tuple(sorted({*mine.holders, *theirs.holders})),
        cancelled=cancelled,
        finished_at=end.finished_at,
        eval_time=end.eval_time,
        sealed_token=max(tokens) if tokens and not cancelled and not all(s.is_resolved for s in sources) else None,
    )


def digest_of(evaluation: Evaluation | None, states: Iterable[ModuleState]) -> int:
    """A 63-bit fingerprint of an evaluation's records, whatever their order: equal means in step."""
    total = fingerprint(evaluation) if evaluation is not None else 0
    for state in states:
        total ^= fingerprint(state)
    return total


def fingerprint(record: Evaluation | ModuleState) -> int:
    """Fingerprints combine by exclusive or, so that one changed record updates the whole in one step."""
    return int.from_bytes(hashlib.sha256(repr(record).encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def _what_was_submitted(evaluation: Evaluation) -> str:
    """What never changes. The time is not in it: one submission may come to two nodes, under one Idempotency-Key."""
    sources = [(source.kind, source.name, source.url) for source in evaluation.sources]
    return repr((evaluation.body_digest, evaluation.options, evaluation.tests_archive, sources))


def _end_order(evaluation: Evaluation) -> tuple[bool, float, bool, float]:
    """The earliest end first; what has none is last."""
    at, took = evaluation.finished_at, evaluation.eval_time
    return (at is None, at or 0.0, took is None, took or 0.0)


def _module_order(record: ModuleRecord) -> tuple[int, int, bool, str]:
    """Total: two records that tie are equal in all that is shown."""
    state = record.state
    return (state.epoch, state.attempt, state.verdict is Verdict.RUNNING, repr((state, record.tests)))


def _merge_source(mine: Source, theirs: Source) -> Source:
    if mine.is_resolved != theirs.is_resolved:
        return mine if mine.is_resolved else theirs
    return min((mine, theirs), key=lambda source: (source.epoch, repr(source)))
