"""What a node knows of every evaluation, behind a protocol; a durable and a plain implementation pass one contract."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from testmesh.model import Counts, Evaluation, ModuleState, Verdict
from testmesh.node.replica import (
    Changes,
    ModuleRecord,
    digest_of,
    merge_evaluations,
    merge_modules,
)
from testmesh.node.service import ModuleTests


@dataclass(frozen=True, slots=True)
class Tally:
    """The sum of a project's modules. `spoilt`: a module failed by the system's fault, so there is no grade."""

    counts: Counts
    spoilt: bool
    started: bool


class ResultStore(Protocol):
    """Safe from any thread."""

    def merge(self, changes: Changes) -> Changes:
        """Merge, durable when it returns, and give the records that changed, as they are now."""
        ...

    def evaluation(self, evaluation_id: str) -> Evaluation | None: ...

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

    def unfinished(self) -> list[Evaluation]: ...

    def naming_archive(self, digest: str) -> list[Evaluation]:
        """Every evaluation with this archive, in no order."""
        ...

    def tallies(self, evaluation_ids: Sequence[str]) -> dict[str, dict[str, "Tally"]]:
        """For each id its projects that have modules: what a line of the list is computed from."""
        ...

    def totals(self) -> tuple[Counts, int, int]:
        """Tests of every module that has ended; distinct names of the evaluations' projects; evaluations."""
        ...

    def totals_of(self, node: str) -> tuple[Counts, int, int, tuple[str, ...]]:
        """The same for what one node ran: tests, distinct projects, modules, evaluation ids in order."""
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

    def merge(self, changes: Changes) -> Changes:
        evaluations: dict[str, Evaluation] = {}
        modules: dict[tuple[str, str, str], ModuleRecord] = {}
        for theirs in changes.evaluations:
            mine = self._evaluations.get(theirs.id)
            merged = merge_evaluations(mine or theirs, theirs)
            if merged != mine:
                self._evaluations[theirs.id] = evaluations[theirs.id] = merged
        for record in changes.modules:
            of_evaluation = self._modules.setdefault(record.state.evaluation, {})
            place = (record.state.project, record.state.module)
            known = of_evaluation.get(place)
            merged_record = merge_modules(known, record) if known else record
            if merged_record != known:
                of_evaluation[place] = modules[record.state.key] = merged_record
        return Changes(tuple(evaluations.values()), tuple(modules.values()))

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
        ordered = sorted(self._evaluations.values(), key=lambda e: (e.submitted_at, e.id), reverse=True)
        if after is not None and after not in self._evaluations:
            raise KeyError(after)
        start = 0 if after is None else [e.id for e in ordered].index(after) + 1
        return ordered[start : start + limit]

    def unfinished(self) -> list[Evaluation]:
        found = [e for e in self._evaluations.values() if e.finished_at is None]
        return sorted(found, key=lambda e: (e.submitted_at, e.id))

    def naming_archive(self, digest: str) -> list[Evaluation]:
        return [e for e in self._evaluations.values() if digest in e.archives]

    def tallies(self, evaluation_ids: Sequence[str]) -> dict[str, dict[str, "Tally"]]:
        found: dict[str, dict[str, Tally]] = {name: {} for name in evaluation_ids}
        for evaluation_id, by_project in found.items():
            for state in self.states(evaluation_id):
                tally = by_project.get(state.project, Tally(Counts(), False, False))
                by_project[state.project] = Tally(
                    tally.counts + (state.counts if state.verdict.is_final else Counts()),
                    tally.spoilt or state.verdict in (Verdict.INFRA_FAILED, Verdict.SOURCE_FAILED),
                    tally.started or state.verdict is not Verdict.PENDING,
                )
        return found

    def totals(self) -> tuple[Counts, int, int]:
        states = [r.state for modules in self._modules.values() for r in modules.values()]
        names = {p.name for e in self._evaluations.values() for p in e.projects}
        return sum_counts(states), len(names), len(self._evaluations)

    def totals_of(self, node: str) -> tuple[Counts, int, int, tuple[str, ...]]:
        mine = [
            r.state
            for modules in self._modules.values()
            for r in modules.values()
            if r.state.node == node and r.state.verdict.is_final and r.state.verdict is not Verdict.CANCELLED
        ]
        order = [e.id for e in self.newest(len(self._evaluations) or 1)][::-1]
        ids = {state.evaluation for state in mine}
        return sum_counts(mine), len({s.project for s in mine}), len(mine), tuple(i for i in order if i in ids)

    def digest(self) -> int:
        total = 0
        for value in self.digests().values():
            total ^= value
        return total

    def digests(self) -> dict[str, int]:
        return {
            evaluation_id: digest_of(self._evaluations.get(evaluation_id), self.states(evaluation_id))
            for evaluation_id in {*self._evaluations, *self._modules}
        }

    def close(self) -> None:
        pass


def sum_counts(states: Iterable[ModuleState]) -> Counts:
    return sum((state.counts for state in states if state.verdict.is_final), Counts())
