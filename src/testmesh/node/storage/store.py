"""What a node knows of every evaluation, behind a protocol; a durable and a plain implementation pass one contract."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from testmesh.model import Counts, Evaluation, ModuleState, PrunedShare, Verdict
from testmesh.node.service import ModuleTests
from testmesh.node.storage.replica import (
    Changes,
    ModuleRecord,
    digest_of,
    merge_evaluations,
    merge_modules,
)
from testmesh.node.storage.timings import Contents, Timing, Timings, contents_of, tells_time


@dataclass(frozen=True, slots=True)
class Tally:
    """The sum of a project's modules. `spoilt`: a module failed by the system's fault, so there is no grade.

    `ended`: how many of them have.
    """

    counts: Counts
    spoilt: bool
    started: bool
    ended: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Ended:
    """An evaluation that has ended, in the order of age that needs no clock."""

    number: int
    id: str
    finished_at: float


class ResultStore(Protocol):
    """Safe from any thread. Of an evaluation that was pruned there is its record, and its part of the totals."""

    def merge(self, changes: Changes) -> Changes:
        """Merge, durable when it returns, and give the records that changed, as they are now.

        Modules of an evaluation that was pruned are not taken.
        """
        ...

    def evaluation(self, evaluation_id: str) -> Evaluation | None:
        """Also one that was pruned, which no list has."""
        ...

    def states(self, evaluation_id: str) -> tuple[ModuleState, ...]:
        """Its modules, by project and path."""
        ...

    def records(self, evaluation_id: str) -> Changes:
        """Everything of one evaluation, tests included, at one moment."""
        ...

    def record(self, evaluation_id: str, project: str, module: str) -> ModuleRecord | None:
        """One module's state with the tests that belong to it, at one moment."""
        ...

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> Iterable[ModuleTests]: ...

    def newest(self, limit: int, after: str | None = None) -> list[Evaluation]:
        """Newest first, `after` this one; KeyError where `after` is unknown."""
        ...

    def newest_digests(self, limit: int, after: str | None = None) -> list[tuple[str, int]]:
        """The same as ids with the fingerprint of their records: whether what was made of them still holds."""
        ...

    def ended(self) -> list[Ended]:
        """In their order."""
        ...

    def highest_number(self) -> int:
        """The highest `number` of all evaluations, 0 where there is none."""
        ...

    def unfinished(self) -> list[Evaluation]: ...

    def unfinished_count(self) -> int: ...

    def unfinished_by_progress(self) -> tuple[int, int]:
        """How many have no module that began, and how many have one."""
        ...

    def awaiting_callback(self) -> list[Evaluation]:
        """Those that have ended, and whose callback_url was not told, in no order."""
        ...

    def timing(self, content: str) -> Timing | None:
        """How long modules with this content took, wherever they ran, at no cost.

        It outlives the evaluations it comes from, and is a hint: nodes need not agree on it.
        """
        ...

    def naming_archive(self, digest: str) -> list[Evaluation]:
        """Every evaluation with this archive, in no order."""
        ...

    def released_archives(self) -> set[str]:
        """Archives that were named by evaluations that were pruned, and are by no other."""
        ...

    def tallies(self, evaluation_ids: Sequence[str]) -> dict[str, dict[str, "Tally"]]:
        """For each id its projects that have modules: what a line of the list is computed from."""
        ...

    def totals(self) -> tuple[Counts, int, int]:
        """Tests of every module that was run; distinct names of the evaluations' projects; evaluations."""
        ...

    def totals_of(self, node: str) -> tuple[Counts, int, int, tuple[str, ...]]:
        """The same for what one node ran: tests, distinct projects, modules, ids of those that are there, in order."""
        ...

    def digest(self) -> int:
        """Fingerprint of all records, at no cost: it goes with every ping."""
        ...

    def digests(self) -> dict[str, int]:
        """Fingerprint by evaluation."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """For tests and simulations: as the durable one, but for the disk. Not thread-safe."""

    def __init__(self) -> None:
        self._evaluations: dict[str, Evaluation] = {}
        self._modules: dict[str, dict[tuple[str, str], ModuleRecord]] = {}
        self._timings = Timings()
        self._contents: dict[str, tuple[Evaluation, Contents]] = {}  # with what they were made of

    def merge(self, changes: Changes) -> Changes:
        evaluations: dict[str, Evaluation] = {}
        modules: dict[tuple[str, str, str], ModuleRecord] = {}
        for theirs in changes.evaluations:
            mine = self._evaluations.get(theirs.id)
            merged = merge_evaluations(mine or theirs, theirs)
            if merged != mine:
                self._evaluations[theirs.id] = evaluations[theirs.id] = merged
            if merged.pruned:
                self._modules.pop(theirs.id, None)
        for record in changes.modules:
            of = self._evaluations.get(record.state.evaluation)
            if of is not None and of.pruned:
                continue
            of_evaluation = self._modules.setdefault(record.state.evaluation, {})
            place = (record.state.project, record.state.module)
            known = of_evaluation.get(place)
            merged_record = merge_modules(known, record) if known else record
            if merged_record != known:
                of_evaluation[place] = modules[record.state.key] = merged_record
        self._learn([record.state for record in modules.values() if tells_time(record.state)])
        return Changes(tuple(evaluations.values()), tuple(modules.values()))

    def _learn(self, states: Iterable[ModuleState]) -> None:
        learned = self._timings.learned((content, state) for state in states if (content := self._content_of(state)))
        self._timings.take(learned, self._timings.forgotten(learned))

    def _content_of(self, state: ModuleState) -> str:
        evaluation = self._evaluations.get(state.evaluation)
        if evaluation is None:
            return ""
        made_of, contents = self._contents.get(evaluation.id, (None, {}))
        if made_of is not evaluation:
            contents = contents_of(evaluation)
            self._contents[evaluation.id] = evaluation, contents
        return contents.get((state.project, state.module), "")

    def evaluation(self, evaluation_id: str) -> Evaluation | None:
        return self._evaluations.get(evaluation_id)

    def states(self, evaluation_id: str) -> tuple[ModuleState, ...]:
        return tuple(record.state for _, record in sorted(self._modules.get(evaluation_id, {}).items()))

    def records(self, evaluation_id: str) -> Changes:
        evaluation = self._evaluations.get(evaluation_id)
        modules = tuple(record for _, record in sorted(self._modules.get(evaluation_id, {}).items()))
        return Changes((evaluation,) if evaluation else (), modules)

    def record(self, evaluation_id: str, project: str, module: str) -> ModuleRecord | None:
        return self._modules.get(evaluation_id, {}).get((project, module))

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> Iterable[ModuleTests]:
        for (of_project, path), record in sorted(self._modules.get(evaluation_id, {}).items()):
            if project in (None, of_project) and module in (None, path) and record.tests:
                yield ModuleTests(of_project, path, record.tests)

    def newest(self, limit: int, after: str | None = None) -> list[Evaluation]:
        if after is not None and after not in self._evaluations:
            raise KeyError(after)
        bound = None if after is None else _age(self._evaluations[after])
        ordered = sorted(self._listed(), key=_age, reverse=True)
        return [e for e in ordered if bound is None or _age(e) < bound][:limit]

    def newest_digests(self, limit: int, after: str | None = None) -> list[tuple[str, int]]:
        digests = self.digests()
        return [(e.id, digests[e.id]) for e in self.newest(limit, after)]

    def ended(self) -> list[Ended]:
        return sorted(Ended(e.number, e.id, e.finished_at) for e in self._listed() if e.finished_at is not None)

    def highest_number(self) -> int:
        return max((e.number for e in self._evaluations.values()), default=0)

    def unfinished(self) -> list[Evaluation]:
        return sorted((e for e in self._listed() if e.finished_at is None), key=_age)

    def unfinished_count(self) -> int:
        return len(self.unfinished())

    def awaiting_callback(self) -> list[Evaluation]:
        asked = (e for e in self._listed() if e.options.callback_url is not None and not e.called_back)
        return [e for e in asked if e.finished_at is not None]

    def unfinished_by_progress(self) -> tuple[int, int]:
        begun = [any(s.verdict is not Verdict.PENDING for s in self.states(e.id)) for e in self.unfinished()]
        return begun.count(False), begun.count(True)

    def timing(self, content: str) -> Timing | None:
        return self._timings.get(content)

    def naming_archive(self, digest: str) -> list[Evaluation]:
        return [e for e in self._listed() if digest in e.archives]

    def released_archives(self) -> set[str]:
        released = {digest for e in self._evaluations.values() if e.pruned for digest in e.pruned.archives}
        return released - {digest for e in self._listed() for digest in e.archives}

    def _listed(self) -> list[Evaluation]:
        return [e for e in self._evaluations.values() if not e.pruned]

    def tallies(self, evaluation_ids: Sequence[str]) -> dict[str, dict[str, "Tally"]]:
        found: dict[str, dict[str, Tally]] = {name: {} for name in evaluation_ids}
        for evaluation_id, by_project in found.items():
            for state in self.states(evaluation_id):
                tally = by_project.get(state.project, Tally(Counts(), False, False))
                by_project[state.project] = Tally(
                    tally.counts + (state.counts if state.verdict.is_final else Counts()),
                    tally.spoilt or state.verdict in (Verdict.INFRA_FAILED, Verdict.SOURCE_FAILED),
                    tally.started or state.verdict is not Verdict.PENDING,
                    tally.ended + state.verdict.is_final,
                )
        return found

    def totals(self) -> tuple[Counts, int, int]:
        counts = sum((share.counts for share in self._shares() if share.modules), Counts())
        counts = sum((state.counts for state in self._counted()), counts)
        names = {project.name for e in self._evaluations.values() for project in e.projects}
        names |= {name for share in self._shares() if not share.modules for name in share.projects}
        return counts, len(names), len(self._evaluations)

    def totals_of(self, node: str) -> tuple[Counts, int, int, tuple[str, ...]]:
        mine = [state for state in self._counted() if state.node == node]
        left = [share for share in self._shares() if share.node == node and share.modules]
        counts = sum((state.counts for state in mine), sum((share.counts for share in left), Counts()))
        projects = {state.project for state in mine} | {name for share in left for name in share.projects}
        ids = {state.evaluation for state in mine}
        in_order = tuple(e.id for e in sorted(self._listed(), key=_age) if e.id in ids)
        return counts, len(projects), len(mine) + sum(share.modules for share in left), in_order

    def _counted(self) -> Iterator[ModuleState]:
        states = (record.state for modules in self._modules.values() for record in modules.values())
        return (state for state in states if state.counts_in_totals)

    def _shares(self) -> Iterator[PrunedShare]:
        return (share for e in self._evaluations.values() if e.pruned for share in e.pruned.shares)

    def digest(self) -> int:
        total = 0
        for value in self.digests().values():
            total ^= value
        return total

    def digests(self) -> dict[str, int]:
        return {
            evaluation_id: digest_of(
                self._evaluations.get(evaluation_id), self._modules.get(evaluation_id, {}).values()
            )
            for evaluation_id in {*self._evaluations, *self._modules}
        }

    def close(self) -> None:
        pass


def _age(evaluation: Evaluation) -> tuple[float, str]:
    return (evaluation.submitted_at, evaluation.id)
