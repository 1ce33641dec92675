"""What a node answers from its records: one evaluation, the list, the totals, the network."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

from testmesh.errors import NotFoundError
from testmesh.model import Evaluation, ModuleState
from testmesh.node.membership.ownership import waits_for
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.service import EvaluationSummary, EvaluationView, ModuleTests, NodeTotals, Totals
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.summaries import summarize

_ASK_TIMEOUT_S = 1.0
_REMEMBERED = 2000  # lines of the list


class Reads:
    """Safe from any thread.

    `find` looks an evaluation up on the whole mesh; `live` gives the other live nodes; `seconds_left` is `Outlook`'s.
    """

    def __init__(
        self,
        address: str,
        ledger: Ledger,
        peers: PeerClient,
        live: Callable[[], tuple[str, ...]],
        find: Callable[[str], Evaluation | None],
        seconds_left: Callable[[Evaluation, Sequence[ModuleState]], float | None],
    ) -> None:
        self._address = address
        self._store = ledger.store
        self._peers = peers
        self._live = live
        self._find = find
        self._seconds_left = seconds_left
        self._lines: OrderedDict[str, tuple[int, EvaluationSummary]] = OrderedDict()  # with the records' fingerprint
        self._lock = threading.Lock()
        self._askers = ThreadPoolExecutor(16, thread_name_prefix="network")

    def known(self, evaluation_id: str) -> Evaluation:
        evaluation = self._find(evaluation_id)
        if evaluation is None:
            raise NotFoundError(f"No live node knows an evaluation {evaluation_id}; GET /evaluation lists them.")
        if evaluation.pruned is not None:
            raise NotFoundError(
                f"Evaluation {evaluation_id} was pruned, its part of the totals stays; a larger MESH_KEEP_EVALUATIONS"
                " (or MESH_KEEP_DAYS, where it is set) on every node keeps more."
            )
        return evaluation

    def view(self, evaluation_id: str) -> EvaluationView:
        return self.view_of(self.known(evaluation_id), self._store.states(evaluation_id))

    def view_of(self, evaluation: Evaluation, states: Sequence[ModuleState]) -> EvaluationView:
        """The same of records that are at hand."""
        waiting_for = waits_for(evaluation, (self._address, *self._live()))
        left = None if waiting_for else self._seconds_left(evaluation, states)
        return EvaluationView(evaluation, tuple(states), waiting_for, left)

    def newest_views(self, limit: int) -> list[EvaluationView]:
        return [EvaluationView(e, self._store.states(e.id)) for e in self._store.newest(limit)]

    def summaries(self, limit: int, after: str | None) -> list[EvaluationSummary]:
        try:
            listed = self._store.newest_digests(limit, after)
        except KeyError:
            raise NotFoundError(f"There is no evaluation {after} to list from; leave out 'after'.") from None
        lines = [self._line(evaluation_id, digest) for evaluation_id, digest in listed]
        return [line for line in lines if line is not None]

    def _line(self, evaluation_id: str, digest: int) -> EvaluationSummary | None:
        """Made again only when a record changed. None where it was pruned in this moment."""
        with self._lock:
            made_of, line = self._lines.get(evaluation_id, (None, None))
        if made_of == digest:
            return line
        evaluation = self._store.evaluation(evaluation_id)
        if evaluation is None or evaluation.pruned is not None:
            return None
        tallies = self._store.tallies([evaluation_id])[evaluation_id]
        line = summarize(evaluation, tallies)
        if evaluation.finished_at is None:
            executed = sum(tally.ended for tally in tallies.values())
            modules = sum(len(project.modules) for project in evaluation.projects)
            line = replace(line, executed=min(executed, modules), modules=modules)
        with self._lock:
            self._lines[evaluation_id] = (digest, line)
            self._lines.move_to_end(evaluation_id)
            while len(self._lines) > _REMEMBERED:
                self._lines.popitem(last=False)
        return line

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> Iterable[ModuleTests]:
        evaluation = self.known(evaluation_id)
        plans = {(p.name, m.path) for p in evaluation.projects for m in p.modules}
        if project is not None and project not in {name for name, _ in plans}:
            raise NotFoundError(f"Evaluation {evaluation_id} has no project {project!r}.")
        if module is not None and not any(path == module and project in (None, name) for name, path in plans):
            raise NotFoundError(f"Evaluation {evaluation_id} has no module {module!r} there.")
        return self._store.tests(evaluation_id, project, module)

    def tests_by_module(self, evaluation_id: str) -> Iterable[ModuleTests]:
        """By path and then by project, one module at a time in memory."""
        evaluation = self.known(evaluation_id)
        places = sorted((module.path, project.name) for project in evaluation.projects for module in project.modules)
        records = (self._store.record(evaluation_id, project, path) for path, project in places)
        return (ModuleTests(r.state.project, r.state.module, r.tests) for r in records if r is not None and r.tests)

    def totals(self) -> tuple[Totals, tuple[NodeTotals, ...]]:
        counts, projects, evaluations = self._store.totals()
        overall = Totals(counts.passed, counts.failed + counts.errors, projects, evaluations)
        return overall, tuple(self._node_totals(node) for node in sorted((self._address, *self._live())))

    def _node_totals(self, node: str) -> NodeTotals:
        counts, projects, modules, evaluations = self._store.totals_of(node)
        return NodeTotals(node, counts.passed, counts.failed + counts.errors, projects, modules, evaluations)

    def network(self) -> dict[str, list[str]]:
        """Every live node and its peers, as each says itself; of one that is slow, as seen from here."""
        live = self._live()
        futures = {node: self._askers.submit(self._peers.peers_of, node, _ASK_TIMEOUT_S) for node in live}
        wait(futures.values(), timeout=_ASK_TIMEOUT_S)
        found = {self._address: list(live)}
        for node, future in futures.items():
            said = future.result() if future.done() and future.exception() is None else None
            everyone = {self._address, *live} - {node}
            found[node] = sorted(said if said is not None else everyone)
        return dict(sorted(found.items()))

    def stop(self) -> None:
        self._askers.shutdown(wait=False, cancel_futures=True)
