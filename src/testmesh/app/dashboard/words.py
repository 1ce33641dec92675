"""PURE: the words, signs and colours of verdicts, states and outcomes. The sign tells as much as the colour."""

from collections.abc import Mapping
from dataclasses import dataclass

from testmesh.model import Verdict


@dataclass(frozen=True, slots=True)
class Words:
    """`glyph` is one sign, `tone` names a colour of the style sheet, `meaning` is a sentence for people."""

    glyph: str
    label: str
    tone: str
    meaning: str = ""


VERDICTS: Mapping[str, Words] = {
    "passed": Words("✓", "passed", "good", "Every test that counts has passed."),
    "failed": Words("✕", "failed", "bad", "The run completed, and some of its tests failed or had an error."),
    "collect_error": Words(
        "C",
        "cannot be imported",
        "bad",
        "pytest could not import or collect the file; the tests found by reading it count as failed.",
    ),
    "timeout": Words(
        "T", "over its time", "warn", "It ran longer than a module may; tests that had not reported count as failed."
    ),
    "crashed": Words(
        "!",
        "crashed",
        "warn",
        "The process died or ended before the run was complete; tests that had not reported count as failed.",
    ),
    "env_failed": Words(
        "E",
        "requirements failed",
        "warn",
        "The project's requirements cannot be installed; the detail has the installer's own words.",
    ),
    "source_failed": Words("S", "source not to be had", "other", "The repository cannot be had, so nothing is graded."),
    "infra_failed": Words(
        "I",
        "not the project's fault",
        "other",
        "The service could not run it, and the project is not to blame: it gets no grade. Run the project again.",
    ),
    "no_tests": Words("∅", "no tests", "idle", "The file was collected and has no tests; it counts nothing."),
    "cancelled": Words("–", "cancelled", "idle", "It was cancelled before it ended; it counts nothing."),
    "running": Words("▸", "running", "run", "It runs now; its results come when it ends."),
    "pending": Words("·", "waiting", "idle", "It waits for a node that has room."),
}

STATUSES: Mapping[str, Words] = {
    "queued": Words("·", "queued", "idle"),
    "pending": Words("·", "waiting", "idle"),
    "running": Words("▸", "running", "run"),
    "done": Words("✓", "done", "good"),
    "failed": Words("✕", "failed", "bad", "Nothing could be graded."),
    "cancelled": Words("–", "cancelled", "idle"),
    "source_failed": VERDICTS["source_failed"],
    "infra_failed": VERDICTS["infra_failed"],
}

OUTCOMES: Mapping[str, Words] = {
    "passed": VERDICTS["passed"],
    "failed": VERDICTS["failed"],
    "error": Words("!", "error", "bad", "A fixture or the teardown had an error."),
    "skipped": Words("s", "skipped", "idle"),
    "xfailed": Words("x", "failed as expected", "idle"),
    "xpassed": Words("X", "passed unexpectedly", "good"),
}

UNKNOWN = Words("?", "unknown", "idle")


def verdict_words(verdict: str) -> Words:
    return VERDICTS.get(verdict, UNKNOWN)


def is_failing(verdict: str) -> bool:
    """Whether the reader wants to see it when he asks for what fails."""
    known = verdict in VERDICTS
    return known and (verdict == Verdict.FAILED or Verdict(verdict).counts_as_error)


def is_over(verdict: str) -> bool:
    return verdict in VERDICTS and Verdict(verdict).is_final
