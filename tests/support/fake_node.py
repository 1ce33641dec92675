"""A node without a mesh: it keeps what is submitted in memory, and refuses when a test says so."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testmesh.errors import BusyError, ConflictError, NotFoundError, TestmeshError
from testmesh.model import (
    Counts,
    Evaluation,
    EvaluationStatus,
    ModulePlan,
    ModuleState,
    Options,
    Project,
    Source,
    SourceKind,
    TestResult,
    Verdict,
)
from testmesh.node.document import document
from testmesh.node.feed_parts import encoded, whole
from testmesh.node.service import (
    EvaluationSummary,
    EvaluationView,
    ModuleTests,
    NodeTotals,
    NodeVitals,
    Totals,
)
from testmesh.testing.repository_url import parse_repository_url

SUBMITTED_AT = 1_795_287_900.0  # 2026-11-21T19:05:00Z
KNOWN_ID = "6f1c1a52-6c1f-4d57-9d0e-0a4f7d0c8f11"


@dataclass
class Submission:
    options: Options
    key: str | None
    digest: str
    name: str = ""
    content: bytes = b""
    tests: bytes | None = None
    urls: tuple[str, ...] = ()
    token: str | None = None


@dataclass
class FakeStream:
    """Tells what it is given, all at once; goes on until it is told to end, and says when it was closed."""

    pieces: list[bytes] = field(default_factory=list)
    ends: bool = True
    is_closed: bool = False
    wake: Callable[[], None] = lambda: None

    @property
    def has_ended(self) -> bool:
        return self.ends and not self.pieces

    def take(self) -> list[bytes]:
        taken, self.pieces = self.pieces, []
        return taken

    def tell(self, piece: bytes) -> None:
        self.pieces = [*self.pieces, piece]
        self.wake()

    def end(self) -> None:
        self.ends = True
        self.wake()

    def listen(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        wake()

    def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeNode:
    """`admission` and `refusal` are raised by check_admission and by submitting, where they are set."""

    incoming: Path
    address: str = "10.0.0.1:5001"
    admission: TestmeshError | None = None
    refusal: TestmeshError | None = None
    healthy: bool = True
    has_room_for_readers: bool = True
    keep_content: bool = True
    submissions: list[Submission] = field(default_factory=list)
    views: dict[str, EvaluationView] = field(default_factory=dict)
    results: dict[str, list[ModuleTests]] = field(default_factory=dict)
    streams: list[FakeStream] = field(default_factory=list)

    def check_admission(self) -> None:
        if self.admission is not None:
            raise self.admission

    def submit_upload(
        self, upload: Path, name: str, tests: Path | None, options: Options, key: str | None, body_digest: str
    ) -> str:
        if self.refusal is not None:
            raise self.refusal
        content = upload.read_bytes() if self.keep_content else b""
        staff = tests.read_bytes() if tests is not None else None
        upload.unlink()
        return self._accept(Submission(options, key, body_digest, name=name, content=content, tests=staff))

    def submit_repositories(
        self, urls: Sequence[str], token: str | None, options: Options, key: str | None, body_digest: str
    ) -> str:
        if self.refusal is not None:
            raise self.refusal
        for url in urls:
            parse_repository_url(url)
        return self._accept(Submission(options, key, body_digest, urls=tuple(urls), token=token))

    def _accept(self, submission: Submission) -> str:
        for number, earlier in enumerate(self.submissions):
            if submission.key is not None and earlier.key == submission.key:
                if earlier.digest != submission.digest:
                    raise ConflictError("This Idempotency-Key was used with another body; use a new one.")
                return list(self.views)[number]
        self.submissions.append(submission)
        return self.add(Evaluation(str(uuid.uuid4()), SUBMITTED_AT, self.address, ()))

    def add(self, evaluation: Evaluation, *modules: ModuleState) -> str:
        self.views[evaluation.id] = EvaluationView(evaluation, modules)
        return evaluation.id

    def evaluation(self, evaluation_id: str) -> EvaluationView:
        if evaluation_id not in self.views:
            raise NotFoundError("No live node knows this evaluation.")
        return self.views[evaluation_id]

    def evaluations(self, limit: int, after: str | None) -> list[EvaluationSummary]:
        ids = list(reversed(self.views))
        if after is not None:
            self.evaluation(after)
            ids = ids[ids.index(after) + 1 :]
        return [self._summary(self.views[evaluation_id]) for evaluation_id in ids[:limit]]

    def _summary(self, view: EvaluationView) -> EvaluationSummary:
        shown = document(view, SUBMITTED_AT)
        info = shown["_run_info"]
        return EvaluationSummary(
            shown["id"],
            EvaluationStatus(shown["status"]),
            SUBMITTED_AT,
            len(shown["projects"]),
            info["%passed"],
            info["nota"],
            *(
                (0, 0)
                if shown["finished_at"]
                else (info["executed"], info["executed"] + info["running"] + info["pending"])
            ),
        )

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> Iterator[ModuleTests]:
        self.evaluation(evaluation_id)
        found = [
            item
            for item in self.results.get(evaluation_id, [])
            if project in (None, item.project) and module in (None, item.module)
        ]
        if not found and (project or module):
            raise NotFoundError("The evaluation has no such module.")
        yield from found

    def tests_by_module(self, evaluation_id: str) -> list[ModuleTests]:
        self.evaluation(evaluation_id)
        return sorted(self.results.get(evaluation_id, []), key=lambda item: (item.module, item.project))

    def watch(self, evaluation_id: str, last_event_id: str | None) -> FakeStream | None:
        view = self.evaluation(evaluation_id)
        if not self.has_room_for_readers:
            raise BusyError("This node has all the readers it takes; ask another.", 5)
        if last_event_id == "fake.last":
            return None
        is_over = view.evaluation.finished_at is not None
        told = [encoded(event, "fake.last") for event in whole(document(view, SUBMITTED_AT), is_over)]
        self.streams.append(FakeStream(told, ends=is_over))
        return self.streams[-1]

    def cancel(self, evaluation_id: str) -> None:
        if self.evaluation(evaluation_id).evaluation.finished_at is not None:
            raise ConflictError("The evaluation has ended; there is nothing to cancel.")

    def rerun(self, evaluation_id: str, project: str | None, key: str | None) -> str:
        known = {item.name for item in self.evaluation(evaluation_id).evaluation.projects}
        if project is not None and project not in known:
            raise NotFoundError("The evaluation has no such project.")
        return self.add(Evaluation(str(uuid.uuid4()), SUBMITTED_AT, self.address, ()))

    def totals(self) -> tuple[Totals, tuple[NodeTotals, ...]]:
        return Totals(30, 2, 2, 3), (NodeTotals(self.address, 10, 2, 1, 1, (KNOWN_ID,)),)

    def network(self) -> dict[str, list[str]]:
        return {self.address: ["10.0.0.2:5001"], "10.0.0.2:5001": [self.address]}

    def peers(self) -> list[str]:
        return ["10.0.0.2:5001"]

    def nodes(self, *, history: bool) -> tuple[NodeVitals, ...]:
        me = NodeVitals(
            self.address,
            alive=True,
            status="ok",
            sandbox="full",
            loopback="private",
            version="0.1.0",
            cores=2.0,
            slots=64,
            running=3,
            waiting=5,
            cpu=0.41666,
            memory=0.25,
            uptime=3600.4,
            history=((1_795_287_890, 2, 0, None), (1_795_287_900, 3, 5, 0.41666)) if history else (),
        )
        return me, NodeVitals("10.0.0.2:5001", alive=False, status="dead")

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return b"testmesh_slots 64.0\n", "text/plain; version=0.0.4; charset=utf-8"

    def health(self) -> tuple[bool, dict[str, Any]]:
        status = "ok" if self.healthy else "draining"
        return self.healthy, {"status": status, "address": self.address, "sandbox": "none", "loopback": "shared"}


def add_finished(node: FakeNode, evaluation_id: str = KNOWN_ID) -> str:
    """One project of two modules, 7 of 8 tests passed."""
    plans = (ModulePlan("tests/test_a.py"), ModulePlan("tests/test_b.py"))
    project = Project("project-a", "", plans)
    source = Source(SourceKind.ZIP, "project-a", archive="0" * 64, projects=(project,))
    evaluation = Evaluation(
        evaluation_id, SUBMITTED_AT, node.address, (source,), finished_at=SUBMITTED_AT + 5, eval_time=4.214
    )

    def state(module: str, verdict: Verdict, counts: Counts) -> ModuleState:
        return ModuleState(
            evaluation_id, "project-a", module, verdict, 0, 1, node.address, counts, time=0.3141, python="3.11.7"
        )

    node.results[evaluation_id] = [
        ModuleTests(
            "project-a", "tests/test_a.py", (TestResult("test_one", "passed", 0.25), TestResult("test_é", "passed"))
        ),
        ModuleTests(
            "project-a", "tests/test_b.py", (TestResult("test_two", "failed", 0.5, "assert 1 == 2", "out", "err"),)
        ),
    ]
    return node.add(
        evaluation,
        state("tests/test_a.py", Verdict.PASSED, Counts(passed=4)),
        state("tests/test_b.py", Verdict.FAILED, Counts(passed=3, failed=1, skipped=2)),
    )
