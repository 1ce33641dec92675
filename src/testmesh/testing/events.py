"""PURE: what a run's event stream says, read with distrust, as one frozen report.

The stream comes from the process that runs the tests: it may be torn, forged or endless. Lines without the run's nonce,
malformed lines and what goes over a limit are dropped.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from testmesh.model import Counts, TestResult

MAX_LINE = 4 * 1024 * 1024  # bytes; the plugin's own lines stay far below
MAX_STREAM = 256 * 1024 * 1024  # bytes of one run
MAX_TESTS = 100_000
MAX_TEXT = 4 * 1024 * 1024  # characters of longrepr and output kept, of all tests together
MAX_NAMES = 8 * 1024 * 1024  # characters of all node ids together
MAX_NAME = 4096  # characters of a node id

_COUNTED = {"passed": "passed", "xpassed": "passed", "failed": "failed", "error": "errors"} | {
    "skipped": "skipped",
    "xfailed": "skipped",
}
_RANK = {"": 0, "passed": 1, "skipped": 2, "xfailed": 2, "xpassed": 2, "failed": 3, "error": 4}


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the plugin, whose docstring lists the kinds and fields."""

    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """What became of a service that ran beside the tests."""

    command: str
    ready: bool
    exit_code: int | None = None  # None: it lived until the tests had ended; negative: killed by that signal
    output: str = ""  # the end of what it printed


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How the process of the tests ended, as its parent saw it."""

    exit_code: int | None = None  # None: it was killed by us, or is unknown; negative: killed by that signal
    timed_out: bool = False
    cancelled: bool = False
    over_limit: str = ""  # "memory", "processes", "processor time", "disk": why it was killed
    limit_text: str = ""  # how much of that it may have, for people, e.g. "2 GiB"; "" where it is not known
    duration: float = 0.0  # seconds of wall time from the start of the tests to their end
    cpu_time: float = 0.0  # seconds of processor time of the whole process tree
    stdout: str = ""  # the end of what the process itself printed
    stderr: str = ""
    output_cut: bool = False
    services: tuple[ServiceReport, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of one module: everything the grade is derived from."""

    started: bool = False  # pytest was imported
    python: str = ""
    pytest: str = ""
    collected: tuple[str, ...] | None = None  # names of the selected tests; None: collection did not end
    deselected: int = 0
    collect_errors: tuple[str, ...] = ()  # each with pytest's explanation
    counts: Counts = field(default_factory=Counts)  # as pytest's summary line counts
    tests: tuple[TestResult, ...] = ()  # those with an outcome, in the order they were reported
    running: str = ""  # the test that had begun and was not reported
    interrupted: str = ""  # pytest.exit, Ctrl-C
    stopped: str = ""  # why pytest itself did not run all, e.g. -x
    internal_error: str = ""
    session_status: int | None = None  # what pytest.main returned; None: it did not
    text_cut: bool = False  # captured output or explanations were cut at the limit
    end: ProcessEnd = field(default_factory=ProcessEnd)

    @property
    def ended(self) -> bool:
        """Whether pytest came to its own end and the process confirms its exit status."""
        return self.session_status is not None and self.session_status == self.end.exit_code

    @property
    def unreported(self) -> tuple[str, ...]:
        """Selected tests without an outcome."""
        reported = {test.name for test in self.tests}
        return tuple(name for name in self.collected or () if name not in reported)


@dataclass(slots=True)
class _Test:
    outcome: str = ""
    time: float = 0.0
    longrepr: list[str] = field(default_factory=list)
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)


class EventParser:
    """Takes the stream in pieces of any size; `report` may be asked at any moment."""

    def __init__(self, nonce: str, module: str) -> None:
        self._nonce = nonce
        self._module = module
        self._buffer = bytearray()
        self._skipping = False  # inside a line that is too long
        self._received = 0
        self._text_left = MAX_TEXT
        self._text_cut = False
        self._names_left = MAX_NAMES
        self._seen: dict[str, Any] = {}  # the fields of a RunReport as far as they are known
        self._ids: dict[str, None] = {}
        self._collect_errors: list[str] = []
        self._counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
        self._tests: dict[str, _Test] = {}

    def feed(self, data: bytes) -> list[Event]:
        """The valid events that `data` completes, in order."""
        self._received += len(data)
        if self._received > MAX_STREAM:
            self._text_cut = True
            return []
        *complete, rest = data.split(b"\n")
        events: list[Event] = []
        for piece in complete:
            self._append(piece)
            line, too_long = bytes(self._buffer), self._skipping
            self._buffer.clear()
            self._skipping = False
            event = None if too_long else self._parse(line)
            if event is not None and self._apply(event):
                events.append(event)
        self._append(rest)
        return events

    def report(self, end: ProcessEnd) -> RunReport:
        return RunReport(
            collected=tuple(self._ids) if self._seen.get("deselected") is not None else None,
            collect_errors=tuple(self._collect_errors),
            counts=Counts(**self._counts),
            tests=tuple(_result(name, test) for name, test in self._tests.items() if test.outcome),
            text_cut=self._text_cut,
            end=end,
            **{"deselected": 0} | self._seen,
        )

    # lines -----------------------------------------------------------------------------------

    def _append(self, piece: bytes) -> None:
        if self._skipping or len(self._buffer) + len(piece) > MAX_LINE:
            self._skipping = True
            self._buffer.clear()
        else:
            self._buffer += piece

    def _parse(self, line: bytes) -> Event | None:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(fields, dict) or fields.pop("n", None) != self._nonce:
            return None
        kind = fields.pop("e", None)
        return Event(kind, fields) if isinstance(kind, str) else None

    # events ----------------------------------------------------------------------------------

    def _apply(self, event: Event) -> bool:
        """Take an event in; False where a field is missing or of a wrong type."""
        handler = getattr(self, f"_on_{event.kind}", None)
        if handler is None:
            return False
        try:
            handler(event.fields)
        except (KeyError, TypeError, ValueError, OverflowError):
            return False
        return True

    def _on_start(self, fields: Mapping[str, Any]) -> None:
        self._seen |= {"started": True, "python": _text(fields["python"])[:50], "pytest": _text(fields["pytest"])[:50]}

    def _on_collect_error(self, fields: Mapping[str, Any]) -> None:
        self._counts["errors"] += 1
        self._on_collected_as("error", fields)
        if len(self._collect_errors) < 100:
            self._collect_errors.append(self._kept(fields["longrepr"]))

    def _on_collect_skip(self, fields: Mapping[str, Any]) -> None:
        self._counts["skipped"] += 1
        self._on_collected_as("skipped", fields)

    def _on_collected_as(self, outcome: str, fields: Mapping[str, Any]) -> None:
        """A file or class that fails or skips while it is collected is shown like a test."""
        test = self._test(self._name(fields["id"]))
        if test:
            test.outcome = outcome
            test.longrepr.append(self._kept(fields["longrepr"]))

    def _on_collected(self, fields: Mapping[str, Any]) -> None:
        for node_id in list(fields["ids"])[: MAX_TESTS - len(self._ids)]:
            name = self._name(node_id)
            if name not in self._ids and self._has_room(name):
                self._ids[name] = None

    def _on_collection_end(self, fields: Mapping[str, Any]) -> None:
        self._seen["deselected"] = int(fields["deselected"])

    def _on_begin(self, fields: Mapping[str, Any]) -> None:
        self._seen["running"] = self._name(fields["id"])

    def _on_report(self, fields: Mapping[str, Any]) -> None:
        name, when, duration = self._name(fields["id"]), fields["when"], float(fields["duration"])
        category = _category(_text(fields["category"]), _text(fields["outcome"]), when, fields["subtest"] is True)
        test = self._test(name)
        if test is None:
            return
        if 0 <= duration < 1e6:
            test.time += duration
        for kept, key in ((test.longrepr, "longrepr"), (test.stdout, "stdout"), (test.stderr, "stderr")):
            text = self._kept(fields[key])
            if text:
                kept.append(text)
        if category:
            self._counts[_COUNTED[category]] += 1
            if _RANK[category] > _RANK[test.outcome]:
                test.outcome = category
        if when == "teardown" and self._seen.get("running") == name:
            self._seen["running"] = ""

    def _on_interrupted(self, fields: Mapping[str, Any]) -> None:
        if fields["collection"] is not True:  # else it is pytest's own way to stop, told by other events
            self._seen["interrupted"] = _text(fields["reason"])[:1000]

    def _on_internal_error(self, fields: Mapping[str, Any]) -> None:
        self._seen["internal_error"] = self._kept(fields["text"])

    def _on_session_end(self, fields: Mapping[str, Any]) -> None:
        self._seen["stopped"] = _text(fields["stopped"])[:1000]

    def _on_cut(self, fields: Mapping[str, Any]) -> None:  # noqa: ARG002 - one shape for all handlers
        self._text_cut = True

    def _on_exit(self, fields: Mapping[str, Any]) -> None:
        self._seen["session_status"] = int(fields["status"])

    # values ----------------------------------------------------------------------------------

    def _name(self, node_id: object) -> str:
        """Without the file, where it is the module that was asked for (ids are relative to pytest's rootdir)."""
        path, separator, name = _text(node_id)[:MAX_NAME].partition("::")
        own = separator and f"/{self._module}".endswith(f"/{path}")
        return name if own else path + separator + name

    def _test(self, name: str) -> _Test | None:
        if name not in self._tests and (len(self._tests) >= MAX_TESTS or not self._has_room(name)):
            return None
        return self._tests.setdefault(name, _Test())

    def _has_room(self, name: str) -> bool:
        """A name counts where it is collected and where it is reported."""
        if len(name) > self._names_left:
            self._text_cut = True
            return False
        self._names_left -= len(name)
        return True

    def _kept(self, value: object) -> str:
        text = _text(value)
        if len(text) > self._text_left:
            self._text_cut = True
            text = text[: self._text_left]
        self._text_left -= len(text)
        return text


def _category(category: str, outcome: str, when: object, subtest: bool) -> str:
    """The kind of outcome a report adds to the summary line, "" for none.

    A project may rename or hide categories; what pytest itself calls failed is never hidden by that.
    """
    if category in _COUNTED:
        return category
    if outcome == "failed":
        return "failed" if when == "call" else "error"
    counts_here = (outcome == "passed" and when == "call") or outcome == "skipped"
    return outcome if counts_here and not subtest else ""


def _result(name: str, test: _Test) -> TestResult:
    return TestResult(
        name=name,
        outcome=test.outcome,
        time=round(test.time, 6),
        longrepr="\n".join(test.longrepr),
        stdout="".join(test.stdout),
        stderr="".join(test.stderr),
    )


def _text(value: object) -> str:
    """A text that can be encoded as UTF-8; tests print lone surrogates.

    Raises:
        TypeError: it is not a text.
    """
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
