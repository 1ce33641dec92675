"""PURE: the verdict on one run, by the table of the contract's section 3.

What decides, in this order:
  cancelled                  the run was cancelled
  timeout                    it was over its time or its processor time, even if only its process would not end
  crashed                    it was stopped over another limit, or a part of it was killed for that
  env_failed                 pytest itself cannot be imported in the project's environment
  crashed                    the process died, or pytest did not come to its own end, or the process's exit status is
                             not the one pytest returned (`os._exit`), or pytest was interrupted (`pytest.exit`), or
                             selected tests have no outcome (--collect-only) and no failure stopped pytest
  collect_error              pytest ended, no test ran, and it could not collect or does not take its options
  no_tests                   pytest ended and nothing was to run, or the project's own options deselected it all
  failed, passed             every selected test has an outcome, or pytest stopped at a failure (-x): what ran stands
"""

import re

from testmesh.model import Counts, ModuleResult, TestResult, Verdict
from testmesh.testing.events import RunReport, ServiceReport

_RUN_FOLDER = re.compile(  # explains nothing to a student
    r"(?:/[^\s'\"]*/run-[0-9a-f]{8}|(?<![\w.-])/box)/code/[^/\s'\"]+/?"
)
MAX_DETAIL = 4000  # characters
_INTERRUPTED, _INTERNAL_ERROR, _USAGE_ERROR = 2, 3, 4  # pytest's exit statuses that are no result of tests
_OVER = {
    "memory": "it used more memory than a module may have",
    "processes": "it started more processes than a module may have",
    "processor time": "it used more processor time than a module may have",
    "disk": "it wrote more to disk than a module may have",
}
_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE"} | {
    1: "SIGHUP",
    2: "SIGINT",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
}


def grade_module(report: RunReport, tests_found: int) -> ModuleResult:  # noqa: PLR0911 - one for each row of the table
    """The result of a run. `tests_found`: tests found by reading the file, for a module that was never collected."""
    end = report.end
    if end.cancelled:
        return _result(report, Verdict.CANCELLED, Counts(), "cancelled before it ended")
    if end.over_limit:
        verdict = Verdict.TIMEOUT if end.over_limit == "processor time" else Verdict.CRASHED
        return _incomplete(report, tests_found, verdict, _how_it_was_over(report))
    if end.timed_out:
        return _incomplete(
            report,
            tests_found,
            Verdict.TIMEOUT,
            f"over its time, stopped after {report.end.duration:.0f} s: {_where(report)}",
        )
    if not report.started and end.exit_code == 1:
        detail = f"pytest cannot be started in the project's environment: {_last_words(report)}"
        return _result(report, Verdict.ENV_FAILED, Counts(failed=max(1, tests_found)), detail)
    if not report.ended:
        return _incomplete(report, tests_found, Verdict.CRASHED, _how_it_died(report))
    if report.interrupted:
        return _crashed(report, tests_found, f"pytest was interrupted: {report.interrupted}")
    if report.session_status == _INTERNAL_ERROR:
        why = _last_line(report.internal_error) or _last_words(report)
        return _crashed(report, tests_found, f"pytest ended with an internal error: {why}")
    ran_any = len(report.unreported) < len(report.collected or ())
    if not ran_any and (report.collect_errors or report.session_status == _USAGE_ERROR):
        return _collect_error(report, tests_found)
    return _completed(report, tests_found)


def environment_failed(detail: str, tests_found: int) -> ModuleResult:
    """The project's requirements cannot be installed; `detail` has the installer's words."""
    return ModuleResult(Verdict.ENV_FAILED, Counts(failed=max(1, tests_found)), detail=_clip(detail))


def infrastructure_failed(detail: str) -> ModuleResult:
    return ModuleResult(Verdict.INFRA_FAILED, detail=_clip(detail))


def source_failed(detail: str) -> ModuleResult:
    return ModuleResult(Verdict.SOURCE_FAILED, detail=_clip(detail))


def cancelled(detail: str = "cancelled before it started") -> ModuleResult:
    return ModuleResult(Verdict.CANCELLED, detail=_clip(detail))


def lost_with_its_node(tests_found: int) -> ModuleResult:
    """Every node it ran on died, the last time with nothing beside it."""
    detail = "the node it ran on was lost each time, the last time with no other module beside it"
    return ModuleResult(Verdict.CRASHED, Counts(failed=max(1, tests_found)), detail=detail)


# Runs that came to an end --------------------------------------------------------------------


def _completed(report: RunReport, tests_found: int) -> ModuleResult:
    counts, unreported = report.counts, report.unreported
    failures = counts.failed + counts.errors
    if report.collected is None:  # e.g. --help or --version: pytest ended well without looking at the file
        return _crashed(report, tests_found, f"pytest ended without collecting: {_last_words(report)}")
    stopped = report.stopped and failures
    if unreported and not stopped:
        return _crashed(report, tests_found, f"pytest ended without running {len(unreported)} of the collected tests")
    if report.session_status == _INTERRUPTED and not stopped:
        return _crashed(report, tests_found, f"pytest was interrupted: {report.stopped or _last_words(report)}")
    if failures:
        left = f"{report.stopped}; {len(unreported)} did not run" if unreported else ""
        return _result(report, Verdict.FAILED, counts, left)
    if not counts.passed and not report.collected:
        why = f"all {report.deselected} tests were deselected by the project's own options" if report.deselected else ""
        return _result(report, Verdict.NO_TESTS, counts, why)
    return _result(report, Verdict.PASSED, counts, "")


def _collect_error(report: RunReport, tests_found: int) -> ModuleResult:
    why = _last_line(report.collect_errors[0]) if report.collect_errors else _last_words(report)
    return _result(report, Verdict.COLLECT_ERROR, Counts(failed=max(1, tests_found)), why)


# Runs that did not ---------------------------------------------------------------------------


def _crashed(report: RunReport, tests_found: int, detail: str) -> ModuleResult:
    return _incomplete(report, tests_found, Verdict.CRASHED, detail)


def _incomplete(report: RunReport, tests_found: int, verdict: Verdict, detail: str) -> ModuleResult:
    """Reported tests stand; the rest of the collected, else of those found by reading the file, count as failed."""
    if report.collected:
        missing: tuple[str, ...] = report.unreported
        rest = len(missing)
    else:
        missing = ()
        rest = max(0, max(1, tests_found) - len(report.tests))
    tests = tuple(TestResult(name, "failed", longrepr=f"did not run to its end: {detail}"[:1000]) for name in missing)
    return _result(report, verdict, report.counts + Counts(failed=rest), detail, tests)


def _how_it_was_over(report: RunReport) -> str:
    end = report.end
    words = _OVER.get(end.over_limit, f"it was over its limit of {end.over_limit}")
    return f"{words}{f' ({end.limit_text})' if end.limit_text else ''}, stopped {_where(report)}"


def _how_it_died(report: RunReport) -> str:
    code = report.end.exit_code
    if code is None:
        return f"its processes were killed from outside, {_where(report)}"
    if code < 0:
        name = _SIGNALS.get(-code, "")
        memory = ", perhaps out of memory" if code == -9 else ""
        return f"killed by signal {-code}{f' ({name})' if name else ''}{memory}, {_where(report)}"
    if report.session_status is None:
        return f"the process ended with exit status {code} before pytest did, {_where(report)}"
    return f"the process ended with exit status {code} where pytest had ended with {report.session_status}"


def _where(report: RunReport) -> str:
    if report.session_status is not None:
        return "after pytest had ended"
    if report.running:
        return f"in {report.running[:500]}"
    return "while the file was imported" if report.collected is None else "between tests"


# Words ---------------------------------------------------------------------------------------


def _result(
    report: RunReport, verdict: Verdict, counts: Counts, detail: str, more_tests: tuple[TestResult, ...] = ()
) -> ModuleResult:
    notes = [detail] if detail else []
    notes += [note for service in report.end.services if (note := _service_note(service))]
    if report.text_cut or report.end.output_cut:
        notes.append("its output was cut at the limit")
    return ModuleResult(
        verdict=verdict,
        counts=counts,
        time=round(report.end.duration, 3),
        python=report.python,
        detail=_clip(_RUN_FOLDER.sub("", "; ".join(notes))),
        tests=report.tests + more_tests,
        cpu_time=round(max(0.0, report.end.cpu_time), 3),
    )


def _service_note(service: ServiceReport) -> str:
    """A service that died or was never ready; one that put itself in the background and ended well is fine."""
    said = _last_line(service.output)
    words = f": {said}" if said else ""
    if service.exit_code:
        how = f"exit status {service.exit_code}" if service.exit_code > 0 else f"signal {-service.exit_code}"
        return f"service `{service.command[:200]}` ended with {how}{words}"
    return "" if service.ready else f"service `{service.command[:200]}` was never ready{words}"


def _last_words(report: RunReport) -> str:
    """pytest's own complaint where it has one: what it prints after it, as the root folder, explains nothing."""
    for line in report.end.stderr.splitlines():
        _, marked, complaint = line.partition("error: ")
        if marked and complaint.strip():
            return complaint.strip()[:500]
    return _last_line(report.end.stderr) or _last_line(report.end.stdout) or "it printed nothing"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip(" =\t-_")]
    return lines[-1].removeprefix("E ").strip()[:500] if lines else ""


def _clip(text: str) -> str:
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
