"""The records that travel between rooms, between nodes and to the disk.

All are frozen; a change is a new record made by `dataclasses.replace`. Everything that the API shows
(percentages, grades, /stats) is derived from these and never counted on the side.
Sizes are bytes, durations seconds, `*_at` Unix seconds (wall time, for people only).
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What became of a module. The first two are not final."""

    PENDING = "pending"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"  # the run completed, a test failed or errored
    COLLECT_ERROR = "collect_error"  # the file cannot be imported or collected
    NO_TESTS = "no_tests"
    TIMEOUT = "timeout"
    CRASHED = "crashed"  # the process died or ended without completing
    ENV_FAILED = "env_failed"  # the requirements cannot be installed: the student's fault
    SOURCE_FAILED = "source_failed"  # the repository cannot be had
    INFRA_FAILED = "infra_failed"  # the system's fault: no grade
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self._value_ not in ("pending", "running")  # asked for each module of each answer

    @property
    def counts_as_error(self) -> bool:
        """Whether `_run_info.errors` counts a module that ended so."""
        return self.is_final and self not in (Verdict.PASSED, Verdict.FAILED, Verdict.NO_TESTS, Verdict.CANCELLED)


class EvaluationStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # nothing could be graded
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (EvaluationStatus.DONE, EvaluationStatus.FAILED, EvaluationStatus.CANCELLED)


class ProjectStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    SOURCE_FAILED = "source_failed"
    INFRA_FAILED = "infra_failed"
    CANCELLED = "cancelled"


class SourceKind(StrEnum):
    ZIP = "zip"
    REPOSITORY = "repository"


@dataclass(frozen=True, slots=True)
class Service:
    """A command that runs beside a module's tests, e.g. `python3 server.py`.

    Ready when `port` accepts a connection (within `timeout_s`), or after `seconds` where no port is given.
    """

    command: str
    port: int | None = None
    timeout_s: float = 15.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    module_timeout_s: float = 120.0
    install_timeout_s: float = 300.0
    services: tuple[Service, ...] | None = None  # None: what the project's pyproject.toml says
    callback_url: str | None = field(default=None, repr=False)  # told of the end; may hold a password


@dataclass(frozen=True, slots=True)
class ModulePlan:
    """One pytest file, the unit that is scheduled, run and graded."""

    path: str  # relative to the project, with forward slashes
    tests_found: int = 1  # by reading the file, at least 1: what a module that cannot be collected counts
    binds_ports: bool = False  # may bind fixed ports, so must not share a loopback with another
    content: str = ""  # digest of the file's content: equal files of other projects predict how long it takes
    estimate_s: float = 0.0  # wall time as the file alone tells; 0: it tells nothing


@dataclass(frozen=True, slots=True)
class Project:
    name: str
    root: str  # the project's folder inside its archive, "" for the archive's top
    modules: tuple[ModulePlan, ...]
    detail: str = ""  # notes for people, e.g. which files the staff's tests replaced
    test_files: tuple[tuple[str, str], ...] = ()  # path and digest, while other projects are to be compared with it
    environment: str = ""  # digest of what its environment is made of: equal ones most likely share it; "": unknown


@dataclass(frozen=True, slots=True)
class Source:
    """Where projects come from: an uploaded zip or a repository. Resolved once it has an archive or an error."""

    kind: SourceKind
    name: str  # the name of the project at its root
    url: str | None = None
    commit: str | None = None
    archive: str | None = None  # sha256 of the stored zip, in hexadecimal
    projects: tuple[Project, ...] = ()
    error: str | None = None  # why the source cannot be had
    epoch: int = 0  # the owner's epoch that resolved it

    @property
    def is_resolved(self) -> bool:
        return self.archive is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Counts:
    """Tests by outcome, disjoint, as pytest's summary line counts them."""

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.errors + other.errors,
            self.skipped + other.skipped,
        )


@dataclass(frozen=True, slots=True)
class PrunedShare:
    """What one node ran of an evaluation that was pruned. With 0 modules: the names of all of its projects."""

    node: str
    projects: tuple[str, ...]
    counts: Counts
    modules: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What stays of an evaluation that was pruned: its part of the totals, and the archives it no longer needs."""

    shares: tuple[PrunedShare, ...] = ()
    archives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One submission. Its modules' states are records of their own (`ModuleState`)."""

    id: str
    submitted_at: float
    owner: str  # host:port of the node that drives it
    sources: tuple[Source, ...]
    options: Options = Options()
    epoch: int = 0  # raised by every takeover; with `owner` it orders claims to drive
    tests_archive: str | None = None  # the staff's tests, laid over every project
    holders: tuple[str, ...] = ()  # nodes that hold the archives, sorted
    body_digest: str = ""  # tells a repeated POST with one Idempotency-Key from another body
    sealed_token: str | None = None  # erased once every source is resolved
    cancelled: bool = False
    finished_at: float | None = None
    eval_time: float | None = None  # seconds from submission to the end, on one node's monotonic clock
    number: int = 0  # 1 + the highest known where it was submitted: an order of age that needs no clock (Lamport)
    pruned: Pruned | None = None  # where set, only id, times, number and body_digest are there besides
    called_back: bool = field(default=False, repr=False)  # callback_url was told of the end, or given up

    @property
    def projects(self) -> tuple[Project, ...]:
        return tuple(project for source in self.sources for project in source.projects)

    @property
    def archives(self) -> tuple[str, ...]:
        """Every archive that must be held for this evaluation to go on."""
        found = [source.archive for source in self.sources if source.archive]
        return tuple(dict.fromkeys(found + ([self.tests_archive] if self.tests_archive else [])))


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test of a module, for the reader who wants to know why."""

    __test__ = False

    name: str  # pytest's node id without the file
    outcome: str  # passed, failed, error, skipped, xfailed, xpassed
    time: float = 0.0
    longrepr: str = ""
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class ModuleResult:
    """What one attempt found. `verdict` is final."""

    verdict: Verdict
    counts: Counts = Counts()
    time: float = 0.0
    python: str = ""
    detail: str = ""
    tests: tuple[TestResult, ...] = ()
    cpu_time: float = 0.0  # processor seconds of all its processes
    began_at: float = 0.0  # when its box was started, by that node's clock; 0: it never was


@dataclass(frozen=True, slots=True)
class ModuleState:
    """What the mesh knows of one module of one evaluation.

    `(epoch, attempt)` names the attempt that runs or whose result stands; the lowest final one wins everywhere.
    """

    evaluation: str
    project: str
    module: str
    verdict: Verdict = Verdict.PENDING
    epoch: int = 0
    attempt: int = 0  # 0: none was started yet
    node: str = ""
    counts: Counts = Counts()
    time: float = 0.0
    python: str = ""
    detail: str = ""
    losses: int = 0  # attempts lost with their nodes; kept, so that no change of owners starts counting anew
    cpu_time: float = 0.0
    began_at: float = 0.0
    starved: int = 0  # attempts that ran out of time while the processor was short

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.evaluation, self.project, self.module)

    @property
    def counts_in_totals(self) -> bool:
        """Whether a node has run it: then it is in /stats."""
        return self.verdict.is_final and self.verdict is not Verdict.CANCELLED
