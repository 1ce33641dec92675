"""What a node offers to its HTTP front: the one seam between the rooms `app` and `node`."""

from collections.abc import Iterable, Sequence
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
    """A line of the list. `percent_passed` and `nota` are rounded, None where nothing counts."""

    id: str
    status: EvaluationStatus
    submitted_at: float
    projects: int
    percent_passed: float | None
    nota: float | None


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

    def cancel(self, evaluation_id: str) -> None:
        """Raises NotFoundError; ConflictError when it has ended."""
        ...

    def rerun(self, evaluation_id: str, project: str | None, key: str | None) -> str:
        """A new evaluation of the same sources. Raises NotFoundError, and what submitting raises."""
        ...

    def totals(self) -> tuple[Totals, tuple[NodeTotals, ...]]: ...

    def network(self) -> dict[str, list[str]]: ...

    def peers(self) -> list[str]: ...

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether new work is taken, and what /health answers."""
        ...
