"""Runs one test module under pytest and streams what happens, a JSON line an event.

Stand-alone: started as a script by the interpreter of the project's own environment (Python >= 3.8, pytest >= 7), where
testmesh is not installed. Its only argument is the number of a descriptor from which it reads one JSON object
`{"nonce": text, "events": descriptor, "module": path, "arguments": [text]}`: neither its arguments nor the environment
show the nonce. `arguments` are pytest's.

What a verdict promises: a run that does not come to its own end is no success, whatever its exit status, output,
configuration or conftest.py say, and no module touches another's outcome. What it cannot: the code under test shares
this process, so code that is written against this file can find the stream in memory and forge its own outcome. Nothing
in the same process could prevent that; docs/security.md says what is done about it.

Apart from the stream, a run is what `python -m pytest MODULE` is, except that the project's files cannot shadow pytest:
pytest is imported before the project's root is on the path.

Every event is `{"n": nonce, "e": kind, ...}`:
  start              python, pytest         pytest is imported and about to run
  collect_error      id, longrepr           the file, or a class in it, cannot be collected
  collect_skip       id, longrepr           the file, or a class in it, skips itself
  collected          ids                    tests selected to run; comes in parts
  collection_end     deselected             all parts of `collected` were sent
  begin              id                     a test starts
  report             id, when, category, outcome, duration, longrepr, stdout, stderr, subtest
  interrupted        reason, collection     Ctrl-C, `pytest.exit`; `collection`: pytest stopped by itself
  internal_error     text
  session_end        status, stopped        `stopped`: why it did not run all, e.g. -x
  cut                                       from here on text is left out, the limit is reached
  exit               status                 what pytest.main returned, the last event
"""

# ruff: noqa: E402 - the imports wait for the path to be safe
from __future__ import annotations

import sys

_LOADED_AT_START = frozenset(sys.modules)
if __name__ == "__main__":
    del sys.path[0]  # the folder of this script; the project's root takes its place once pytest is there

import fcntl
import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_HIGH_DESCRIPTOR = 100  # out of the way of tests that close or count the low ones
_REQUEST = 64 * 1024  # bytes read at once
_IDS_A_LINE = 500
_MAX_REPR = 32 * 1024  # characters of one longrepr
_MAX_SECTION = 64 * 1024  # characters of one captured section
_MAX_OUTPUT = 1024 * 1024  # characters of captured output, of all tests together
_MAX_REPRS = 1024 * 1024
_WORDS = {"passed": ("passed", "xpassed"), "failed": ("failed", "error"), "skipped": ("skipped", "xfailed")}
_COUNTED = frozenset(word for words in _WORDS.values() for word in words)
_SUFFIX = ".py"
_NEVER_SHADOWED = frozenset(("pytest", "_pytest", "pluggy", "__main__"))


class EventStream:
    """Writes events. Everything it needs is bound here, since tests replace `os` and `json` functions."""

    def __init__(self, descriptor: int, nonce: str) -> None:
        self._fd = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH_DESCRIPTOR)
        os.close(descriptor)
        self._nonce = nonce
        self._fstat, self._write, self._getpid, self._dumps = os.fstat, os.write, os.getpid, json.dumps
        self._pid = os.getpid()
        self._pipe = self._identity()

    def send(self, kind: str, **fields: Any) -> None:
        if self._getpid() != self._pid:
            return  # a child forked by a test, which runs on inside pytest
        try:
            if self._identity() != self._pipe:
                return  # a test closed the descriptor and its number now names the test's own file
            data = memoryview((self._dumps(dict(fields, n=self._nonce, e=kind)) + "\n").encode("ascii"))
            while data:
                data = data[self._write(self._fd, data) :]
        except OSError:
            return  # nobody listens any more, or it was closed: the run will count as not completed

    def _identity(self) -> tuple[int, int]:
        status = self._fstat(self._fd)
        return status.st_dev, status.st_ino


class StreamPlugin:
    """Has no name that a project's `-p no:NAME` could switch off."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._config: Any = None
        self._deselected = 0
        self._output_left = _MAX_OUTPUT
        self._reprs_left = _MAX_REPRS
        self._cut_said = False
        self._distributed = False

    def pytest_configure(self, config: pytest.Config) -> None:
        self._config = config

    # collection ------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._send("collect_error", id=report.nodeid, longrepr=self._longrepr(report))
        elif report.skipped:
            self._send("collect_skip", id=report.nodeid, longrepr=self._longrepr(report))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._deselected += len(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._send_collected([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self._distributed:  # every worker collects the same
            self._distributed = True
            self._send_collected(list(ids))

    def _send_collected(self, ids: list[str]) -> None:
        for start in range(0, len(ids), _IDS_A_LINE):
            self._send("collected", ids=ids[start : start + _IDS_A_LINE])
        self._send("collection_end", deselected=self._deselected)

    # running ---------------------------------------------------------------------------------

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._send("begin", id=nodeid)

    @pytest.hookimpl(trylast=True)  # after the terminal reporter, whose question below may change a report's outcome
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        status = self._config.hook.pytest_report_teststatus(report=report, config=self._config)
        phase = " " + str(report.when)
        sections = [(name, text) for name, text in report.sections if name.endswith(phase)]
        self._send(
            "report",
            id=report.nodeid,
            when=report.when,
            category=_category(status, report),
            outcome=str(report.outcome),
            duration=getattr(report, "duration", 0.0),
            longrepr=self._longrepr(report),
            stdout=self._output(sections, "stdout"),
            stderr=self._output(sections, "stderr"),
            subtest=_is_subtest(report),
        )

    # the end ---------------------------------------------------------------------------------

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        by_itself = isinstance(excinfo.value, pytest.Session.Interrupted)
        self._send("interrupted", reason=_clip(excinfo.exconly(), 1000), collection=by_itself)

    def pytest_internalerror(self, excrepr: object) -> None:
        self._send("internal_error", text=_clip(str(excrepr), _MAX_REPR))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        stopped = getattr(session, "shouldfail", False) or getattr(session, "shouldstop", False)
        self._send("session_end", status=int(session.exitstatus), stopped=str(stopped or "")[:1000])

    # text ------------------------------------------------------------------------------------

    def _longrepr(self, report: Any) -> str:
        longrepr = report.longrepr
        if not longrepr:
            return _clip(str(getattr(report, "wasxfail", "")), _MAX_REPR)
        try:
            reason = isinstance(longrepr, tuple) and len(longrepr) == 3
            text = str(longrepr[2]) if reason else str(report.longreprtext)
        except Exception as error:  # noqa: BLE001 - a student's __repr__ may raise anything
            text = f"(the failure cannot be shown: {type(error).__name__})"
        text = self._bounded(text, min(_MAX_REPR, max(self._reprs_left, 200)))
        self._reprs_left -= len(text)
        return text

    def _output(self, sections: list[tuple[str, str]], stream: str) -> str:
        text = "".join(text for name, text in sections if stream in name)
        if text:
            text = self._bounded(text, min(_MAX_SECTION, max(self._output_left, 0)))
            self._output_left -= len(text)
        return text

    def _bounded(self, text: str, limit: int) -> str:
        if len(text) > limit and not self._cut_said:
            self._cut_said = True
            self._send("cut")
        return _clip(text, limit)


def _category(status: Any, report: Any) -> str:
    """The word that counts in pytest's summary line; "" where there is none, as without the terminal plugin.

    A conftest.py may give any word to any report. Those of pytest are sent only where pytest could have given them:
    no other word makes a success of a failure, or several of one.
    """
    category = str(status[0]) if status else ""
    if category not in _COUNTED:
        return category
    counts_once = report.outcome != "passed" or (report.when == "call" and not _is_subtest(report))
    return category if counts_once and category in _WORDS.get(report.outcome, _COUNTED) else ""


def _is_subtest(report: Any) -> bool:
    return type(report).__name__.lower() == "subtestreport"


def _clip(text: str, limit: int) -> str:
    """The start and the end of a text that is too long, never more than `limit` characters and a short note."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[len(text) - half :]}"


def _forget_shadowed(root: Path, loaded_at_start: frozenset[str]) -> None:
    """Unload what pytest imported where the project has a file of that name.

    Under `python -m pytest` the root is first on the path from the start, so a project's own `queue.py` is what its
    tests import. pytest keeps the modules it holds; pytest itself is never given away.
    """
    for entry in os.listdir(root):  # noqa: PTH208 - few, and cheaper to ask for than each name that is loaded
        name = entry[: -len(_SUFFIX)] if entry.endswith(_SUFFIX) else entry
        if name in loaded_at_start or name not in sys.modules or name in _NEVER_SHADOWED:
            continue
        if not (root / (name + _SUFFIX)).is_file() and not (root / name / "__init__.py").is_file():
            continue
        spec = getattr(sys.modules[name], "__spec__", None)
        if name in sys.builtin_module_names or getattr(spec, "origin", None) == "frozen":
            continue  # these win over the path in any interpreter
        for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
            sys.modules.pop(loaded, None)


def _look_like_pytest(module: str, spec: Any) -> None:
    """`multiprocessing` and others look at `__main__` and the arguments: make them those of `python -m pytest`."""
    main = type(sys)("__main__")
    main.__spec__ = spec
    main.__file__ = spec.origin
    main.__package__ = "pytest"
    main.__loader__ = spec.loader
    main.__dict__["__builtins__"] = __builtins__
    main.__dict__["pytest"] = pytest
    sys.modules["__main__"] = main
    sys.argv[:] = [str(spec.origin), module]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[1:] = ["-m", "pytest", module]


def read_request(descriptor: int) -> Any:
    data = b""
    while piece := os.read(descriptor, _REQUEST):
        data += piece
    os.close(descriptor)
    return json.loads(data)


def main_spec() -> Any:
    """Of the program that `python -m pytest` runs."""
    return find_spec("pytest.__main__")


def run(request: Any, loaded_at_start: frozenset[str], spec: Any) -> int:
    """What pytest.main returned. `loaded_at_start`: the names of what an interpreter imports before any program."""
    root = Path.cwd()
    _forget_shadowed(root, loaded_at_start)
    _look_like_pytest(request["module"], spec)
    sys.path.insert(0, str(root))
    send = EventStream(request["events"], request["nonce"]).send  # tests may replace it in its class
    plugin = StreamPlugin(send)
    send("start", python=".".join(map(str, sys.version_info[:3])), pytest=pytest.__version__)
    status = int(pytest.main([*request["arguments"], request["module"]], plugins=[plugin]))
    send("exit", status=status)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # as pytest's own entry point does: python must not fail once more while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


if __name__ == "__main__":
    _script = sys.modules["__main__"]  # its globals are in use until the end
    sys.exit(run(read_request(int(sys.argv[1])), _LOADED_AT_START, main_spec()))
