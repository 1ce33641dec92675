"""One tree of errors. The message of each is a sentence that tells its reader what to do."""


class TestmeshError(Exception):
    """Root of every error that testmesh raises on purpose."""

    __test__ = False  # the name must not make pytest collect it

    @property
    def detail(self) -> str:
        return str(self)


class SettingsError(TestmeshError):
    """A setting is wrong; the node does not start."""


# What a submitter did wrong ------------------------------------------------------------------


class SubmissionError(TestmeshError):
    """A submission that is refused; nothing of it is kept."""


class MalformedError(SubmissionError):
    """400: the request, the zip, the JSON or a URL cannot be understood or is not safe."""


class TooLargeError(SubmissionError):
    """413: the body, the number of entries or what they unpack to is over a limit."""


class UnsupportedMediaError(SubmissionError):
    """415: neither multipart/form-data nor application/json."""


class NothingToTestError(SubmissionError):
    """422: well formed, but there is no test module in it."""


class UnauthorizedError(TestmeshError):
    """401: a token or a signature is missing or wrong."""


class NotFoundError(TestmeshError):
    """404: no live node knows it."""


class ConflictError(TestmeshError):
    """409: it has ended, or the Idempotency-Key was used with another body."""


class QueueFullError(TestmeshError):
    """429: too many evaluations wait; carries when to come back."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BusyError(TestmeshError):
    """503: this node does as much of it as it can just now; carries when to come back."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DrainingError(TestmeshError):
    """503: this node is leaving, or cannot make a submission durable now."""


class DiskFullError(TestmeshError):
    """507: no room for a new submission."""


# What goes wrong while grading ---------------------------------------------------------------


class SourceError(TestmeshError):
    """A repository cannot be had: not found, private, rate limit, too large. The project gets no grade."""


class EnvironmentFailedError(TestmeshError):
    """The project's own requirements cannot be installed: the student's fault (verdict env_failed)."""


class InfrastructureError(TestmeshError):
    """Not the student's fault (verdict infra_failed): index out of reach, disk, policy, a lost node."""


class ArchiveAwayError(InfrastructureError):
    """No live node holds the submission's files: what needs them waits for one that does."""


# Between nodes -------------------------------------------------------------------------------


class PeerError(TestmeshError):
    """A peer could not be reached or gave no usable answer."""


class PeerConflictError(PeerError):
    """409: the peer knows it otherwise, for instance another submission under the same id."""


class PeerUnableError(PeerError):
    """503 or 507: the peer is there, but cannot do it now."""


class PeerFailedError(PeerError):
    """The peer is there, and answered with another error, or with what is no answer to the question."""


class PeerRefusedError(PeerError):
    """Nothing listens at the peer's address: its process is gone, or was never there."""
