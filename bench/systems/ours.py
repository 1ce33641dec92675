"""The mesh: nodes as processes, asked over the REST API as a client asks."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.corpora.corpus import Corpus
from bench.nodes import running_nodes
from bench.systems.graded import outcomes_of, spans_of
from bench.systems.groups import Group, NoGroupError, busy_seconds, group
from bench.systems.run import Run
from testmesh.client.api import MeshClient
from testmesh.client.multipart import Multipart

_POLL_S = 0.25  # seldom, since the node's answers are part of its cost
_CALM_S, _CALM = 0.5, 0.01  # it has settled when it used less than this in so long, both in seconds
_SETTLE_S = 10.0
_PATIENCE_S = 1800.0
_ENDED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Submitted:
    """`begun`, `answered`: when the upload began and when its answer came, on this process's monotonic clock.

    `at`: when it began, in Unix seconds.
    """

    id: str
    begun: float
    answered: float
    at: float


class Mesh:
    """`groups`: the control groups of its nodes, empty where there are none."""

    def __init__(self, urls: Sequence[str], timeout_s: float, groups: Sequence[Group] = ()) -> None:
        self._client = MeshClient(urls)
        self._options = {"module_timeout_s": timeout_s}
        self._groups = groups

    def grade(self, corpus: Corpus) -> Run:
        """One evaluation from the upload to its end, and what the nodes used until they were calm again."""
        self._settle()
        before = self._cpu_seconds()
        run = self.wait(self.submit(corpus))
        self._settle()
        return replace(run, cpu=self._cpu_seconds() - before)

    def submit(self, corpus: Corpus) -> Submitted:
        with tempfile.TemporaryDirectory() as folder:
            packed = corpus.packed(Path(folder) / "class.zip")
            body = Multipart([("file", packed.name, packed.path)], self._options)
            at, begun = time.time(), time.perf_counter()
            return Submitted(self._client.submit_archive(body), begun, time.perf_counter(), at)

    def wait(self, submitted: Submitted) -> Run:
        """Its wall time is the client's, from the upload on.

        The evaluation's own time starts before the answer to the upload, so what both are together is never too little,
        and does not depend on when this asks.
        """
        while time.perf_counter() < submitted.begun + _PATIENCE_S:
            time.sleep(_POLL_S)
            listed = {found["id"]: found["status"] for found in self._client.evaluations(limit=20)}
            if listed.get(submitted.id) in _ENDED:
                seen = time.perf_counter() - submitted.begun
                document = self._client.evaluation(submitted.id)
                wall = min(seen, submitted.answered - submitted.begun + float(document["_run_info"]["eval_time"]))
                return Run(wall, outcomes_of(document), began=submitted.at, spans=spans_of(document))
        raise SystemExit(f"evaluation {submitted.id} did not end within {_PATIENCE_S:.0f} s")

    def _cpu_seconds(self) -> float:
        """Of all processes of all nodes; without control groups of the whole machine."""
        return sum(found.cpu_seconds() for found in self._groups) if self._groups else busy_seconds()

    def _settle(self) -> None:
        """What an evaluation leaves to do, such as removing its folders, is part of its cost."""
        deadline = time.monotonic() + _SETTLE_S
        used = self._cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(_CALM_S)
            now = self._cpu_seconds()
            if now - used < _CALM:
                return
            used = now


@contextlib.contextmanager
def running_mesh(folder: Path, nodes: int, timeout_s: float, cores: float | None = None) -> Iterator[Mesh]:
    """`cores`: what each node is held to.

    Raises:
        NoGroupError: that cannot be done here; without `cores` it is never raised.
    """
    with contextlib.ExitStack() as opened:
        groups: list[Group] = []
        try:
            groups += [opened.enter_context(group(cores)) for _ in range(nodes)]
        except NoGroupError:
            if cores is not None:
                raise
            groups.clear()
        folder.mkdir(parents=True, exist_ok=True)
        urls = opened.enter_context(running_nodes(folder, nodes, groups))
        yield Mesh(urls, timeout_s, groups)
