"""What a node offers to its HTTP front: the one seam between the rooms `app` and `node`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from testmesh.model import Evaluation, EvaluationStatus, ModuleState, Options, TestResult


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """One evaluation as this node knows it, with every module it has.

    `waiting_for`: nodes that hold its archives, where it cannot go on until one of them is back. `seconds_left`: until
    it will most likely end; None where it has, or where that cannot be told.
    """

    evaluation: Evaluation
    modules: tuple[ModuleState, ...]
    waiting_for: tuple[str, ...] = ()
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """A line of the list. `percent_passed` and `nota` are rounded, None where nothing counts.

    `executed` of `modules` have ended, told only while the evaluation has not.
    """

    id: str
    status: EvaluationStatus
    submitted_at: float
    projects: int
    percent_passed: float | None
    nota: float | None
    executed: int = 0
    modules: int = 0


@dataclass(frozen=True, slots=True)
class ModuleTests:
    """The tests of one module."""

    project: str
    module: str
    tests: tuple[TestResult, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """`/stats` `all`: individual tests since the mesh first started."""

    passed: int
    failed: int
    projects: int
    evaluations: int


@dataclass(frozen=True, slots=True)
class NodeTotals:
    """What one live node itself ran."""

    address: str
    passed: int
    failed: int
    projects: int
    modules: int
    evaluations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeVitals:
    """One node of the mesh, live or gone. None, or no history, is what is not known: it is gone or did not answer.

    `cpu`, `memory`: the used parts of what it may use, 0 to 1. `history`: Unix seconds, modules running and waiting,
    cpu; every ten seconds of the last hour, the oldest first.
    """

    address: str
    alive: bool
    status: str
    sandbox: str | None = None
    loopback: str | None = None
    version: str | None = None
    cores: float | None = None
    slots: int | None = None
    running: int | None = None
    waiting: int | None = None
    cpu: float | None = None
    memory: float | None = None
    uptime: float | None = None
    history: tuple[tuple[int, int, int, float | None], ...] = ()


class EventStream(Protocol):
    """The events of one evaluation for one reader, as server-sent events. Every call is safe from any thread."""

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to take, now and ever: all was told, or the reader was too slow for it."""
        ...

    def take(self) -> list[bytes]:
        """What came since the last call, never waiting for more; the pieces are shared by all readers."""
        ...

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake`, which must not block, called whenever there may be something to take, or nothing ever again."""
        ...

    def close(self) -> None:
        """The reader is gone; may be called twice."""
        ...


class NodeService(Protocol):
    """Every call is safe from any thread. Errors are those of `testmesh.errors`, as named in each docstring."""

    @property
    def address(self) -> str: ...

    @property
    def incoming(self) -> Path:
        """The folder into which uploads are streamed, on the same disk as the archives."""
        ...

    def check_admission(self) -> None:
        """Raise before a body is read: DrainingError, DiskFullError, QueueFullError."""
        ...

    def submit_upload(
        self, upload: Path, name: str, tests: Path | None, options: Options, key: str | None, body_digest: str
    ) -> str:
        """Take over the uploaded zip (the file is moved or deleted) and give the evaluation's id.

        `name` is the upload's file name without `.zip`; `key` the Idempotency-Key; `body_digest` covers all of the
        posted content.

        Raises:
            MalformedError, TooLargeError, NothingToTestError, ConflictError, DrainingError, DiskFullError,
            QueueFullError.
        """
        ...

    def submit_repositories(
        self, urls: Sequence[str], token: str | None, options: Options, key: str | None, body_digest: str
    ) -> str:
        """The same for GitHub URLs; the sources are fetched after the answer."""
        ...

    def evaluation(self, evaluation_id: str) -> EvaluationView:
        """Raises NotFoundError where no live node knows the id."""
        ...

    def evaluations(self, limit: int, after: str | None) -> list[EvaluationSummary]:
        """Newest first. Raises NotFoundError for an unknown `after`."""
        ...

    def tests(self, evaluation_id: str, project: str | None, module: str | None) -> Iterable[ModuleTests]:
        """Raises NotFoundError for an unknown evaluation, project or module."""
        ...

    def tests_by_module(self, evaluation_id: str) -> Iterable[ModuleTests]:
        """All of them, by path and then by project: those of one path are together. Raises NotFoundError."""
        ...

    def watch(self, evaluation_id: str, last_event_id: str | None) -> EventStream | None:
        """What came after that event, or else all of it first; to be closed. None: that event was the last.

        Raises:
            NotFoundError: no live node knows the evaluation.
            BusyError: this node has all the readers it takes.
        """
        ...

    def cancel(self, evaluation_id: str) -> None:
        """Raises NotFoundError; ConflictError when it has ended."""
        ...

    def rerun(self, evaluation_id: str, project: str | None, key: str | None) -> str:
        """A new evaluation of the same sources. Raises NotFoundError, and what submitting raises."""
        ...

    def totals(self) -> tuple[Totals, tuple[NodeTotals, ...]]: ...

    def network(self) -> dict[str, list[str]]: ...

    def peers(self) -> list[str]: ...

    def nodes(self, *, history: bool) -> tuple[NodeVitals, ...]:
        """Every live node and those that went lately, live ones first. Takes a second where one does not answer."""
        ...

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """This node's metrics in the form that suits an Accept header best, and the form's media type."""
        ...

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether new work is taken, and what /health answers."""
        ...
