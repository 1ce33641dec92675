"""PURE: merging what two nodes know of an evaluation.

Both merges are joins of a semilattice: commutative, associative, idempotent. So records may arrive twice, late and in
any order, and nodes that have seen the same records agree (convergent replicated data types, Shapiro et al. 2011).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from testmesh.model import Counts, Evaluation, ModuleState, Options, Pruned, PrunedShare, Source, TestResult, Verdict


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
    if _attempt_order(mine) != _attempt_order(theirs):  # nearly always: the rest of the order takes long to make
        return choose((mine, theirs), key=_attempt_order)
    return mine if mine == theirs else choose((mine, theirs), key=_module_order)


def merge_evaluations(mine: Evaluation, theirs: Evaluation) -> Evaluation:
    """Field by field; both must have the same id.

    What is stored first is merged with itself, which erases a token that is not needed any more.
    Two submissions under one id (one Idempotency-Key met two nodes at once): one of them, whole, the same everywhere.
    One that was pruned wins over all others; of two pruned ones that which counts more modules.
    """
    both = (mine, theirs)
    pruned = [_what_stays(e, e.pruned) for e in both if e.pruned is not None]
    if pruned:
        return max(pruned, key=_pruned_order)
    if _what_was_submitted(mine) != _what_was_submitted(theirs):
        chosen = min(both, key=_what_was_submitted)
        return merge_evaluations(chosen, chosen)
    driver = max(both, key=lambda e: (e.epoch, e.owner))
    sources = _merge_sources(mine, theirs)
    end = min(both, key=_end_order)
    is_over = mine.cancelled or theirs.cancelled or end.finished_at is not None
    tokens = [e.sealed_token for e in both if e.sealed_token]
    return replace(
        mine,
        submitted_at=min(e.submitted_at for e in both),
        owner=driver.owner,
        epoch=driver.epoch,
        sources=sources,
        holders=tuple(sorted({*mine.holders, *theirs.holders})),
        cancelled=mine.cancelled or theirs.cancelled,
        finished_at=end.finished_at,
        eval_time=end.eval_time,
        sealed_token=max(tokens) if tokens and not is_over and not all(s.is_resolved for s in sources) else None,
        number=min(e.number for e in both),
        called_back=mine.called_back or theirs.called_back,
    )


def may_be_pruned(evaluation: Evaluation, states: Iterable[ModuleState]) -> bool:
    """Whether it has ended and all of it is known here: a result that came later would be missing in the totals."""
    final = {(state.project, state.module) for state in states if state.verdict.is_final}
    planned = {(project.name, plan.path) for project in evaluation.projects for plan in project.modules}
    return evaluation.pruned is None and evaluation.finished_at is not None and planned <= final


def prune(evaluation: Evaluation, states: Iterable[ModuleState]) -> Evaluation:
    """What stays of an evaluation when its results are dropped: the totals are the same with it."""
    ran: dict[str, list[ModuleState]] = {}
    for state in states:
        if state.counts_in_totals:
            ran.setdefault(state.node, []).append(state)
    names = tuple(sorted({project.name for project in evaluation.projects}))
    shares = [PrunedShare("", names, Counts(), 0)] if names else []
    for node, found in sorted(ran.items()):
        projects = tuple(sorted({state.project for state in found}))
        shares.append(PrunedShare(node, projects, sum((state.counts for state in found), Counts()), len(found)))
    return _what_stays(evaluation, Pruned(tuple(shares), tuple(sorted(evaluation.archives))))


def digest_of(evaluation: Evaluation | None, modules: Iterable[ModuleRecord]) -> int:
    """A 63-bit fingerprint of an evaluation's records, whatever their order: equal means in step."""
    total = fingerprint(evaluation) if evaluation is not None else 0
    for record in modules:
        total ^= module_fingerprint(record.state, len(record.tests))
    return total


def fingerprint(record: Evaluation) -> int:
    """Fingerprints combine by exclusive or, so that one changed record updates the whole in one step.

    The same on every interpreter: `ascii`, since `repr` writes what its version of Unicode knows as it is.
    Callbacks are in it where there is one: records that were stored before there were any keep their fingerprints.
    """
    callback = (record.options.callback_url, record.called_back)
    return _hash(ascii(record) + (ascii(callback) if any(callback) else ""))


def module_fingerprint(state: ModuleState, tests: int) -> int:
    """`tests` is how many outcomes belong to it, so that a node that lost them differs and gets them again."""
    return _hash(f"{_text_of(state)} {tests}")


def _text_of(state: ModuleState) -> str:
    """What `ascii` gives, in half the time: this is made several times for every result of the whole mesh."""
    s, c = state, state.counts
    return (
        f"ModuleState(evaluation={s.evaluation!a}, project={s.project!a}, module={s.module!a}, verdict={s.verdict!r},"
        f" epoch={s.epoch!r}, attempt={s.attempt!r}, node={s.node!a}, counts=Counts(passed={c.passed!r},"
        f" failed={c.failed!r}, errors={c.errors!r}, skipped={c.skipped!r}), time={s.time!r}, python={s.python!a},"
        f" detail={s.detail!a}, losses={s.losses!r}, cpu_time={s.cpu_time!r}, began_at={s.began_at!r},"
        f" starved={s.starved!r})"
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def _what_stays(evaluation: Evaluation, pruned: Pruned) -> Evaluation:
    """In one form only, whatever else was known, so that all nodes come to the same."""
    ended = evaluation.submitted_at if evaluation.finished_at is None else evaluation.finished_at
    return Evaluation(
        evaluation.id,
        evaluation.submitted_at,
        "",
        (),
        Options(),
        body_digest=evaluation.body_digest,
        finished_at=ended,
        number=evaluation.number,
        pruned=pruned,
    )


def _pruned_order(evaluation: Evaluation) -> tuple[int, str]:
    shares = evaluation.pruned.shares if evaluation.pruned else ()
    return (sum(share.modules for share in shares), ascii(evaluation))


def _what_was_submitted(evaluation: Evaluation) -> str:
    """What never changes. The time is not in it: one submission may come to two nodes, under one Idempotency-Key."""
    sources = [(source.kind, source.name, source.url) for source in evaluation.sources]
    callback = evaluation.options.callback_url  # which is not in the options' repr
    return ascii((evaluation.body_digest, evaluation.options, callback, evaluation.tests_archive, sources))


def _end_order(evaluation: Evaluation) -> tuple[bool, float, bool, float]:
    """The earliest end first; what has none is last."""
    at, took = evaluation.finished_at, evaluation.eval_time
    return (at is None, at or 0.0, took is None, took or 0.0)


def _attempt_order(record: ModuleRecord) -> tuple[int, int, bool]:
    state = record.state
    return (state.epoch, state.attempt, state.verdict is Verdict.RUNNING)


def _module_order(record: ModuleRecord) -> tuple[tuple[int, int, bool], str, int, str]:
    """Total: two records that tie are equal in all that is shown. Of one result, what has the tests comes first."""
    return (_attempt_order(record), ascii(record.state), -len(record.tests), ascii(record.tests))


def _merge_sources(mine: Evaluation, theirs: Evaluation) -> tuple[Source, ...]:
    """As those knew them that saw its end: what another fetched besides has modules that were not run, and never are.

    Where all have seen an end, or none, source by source: the modules of each archive in it were run then.
    """
    if (mine.finished_at is None) != (theirs.finished_at is None):
        return theirs.sources if mine.finished_at is None else mine.sources
    return tuple(_merge_source(a, b) for a, b in zip(mine.sources, theirs.sources, strict=True))


def _merge_source(mine: Source, theirs: Source) -> Source:
    """What one node could not have another had: an archive wins over an error, the lower epoch over others."""
    if mine == theirs:
        return mine
    if mine.is_resolved != theirs.is_resolved:
        return mine if mine.is_resolved else theirs
    return min((mine, theirs), key=lambda source: (source.archive is None, source.epoch, ascii(source)))
