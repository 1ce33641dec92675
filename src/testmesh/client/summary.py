"""PURE: what an evaluation document (GET /evaluation/<id>) means to a reader; strings and numbers, no drawing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from testmesh.client.text import clean, shortened

Document = dict[str, Any]

_ENDED = ("done", "failed", "cancelled")
_WAITING = ("pending", "running")
_GOOD = ("passed", "no_tests")
EXIT_PASSED, EXIT_FAILED, EXIT_IMPOSSIBLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A line of the grade table. `nota` and `percent` are None where nothing counts."""

    name: str
    nota: float | None
    percent: float | None
    passed: int
    failed: int
    skipped: int
    ended: int
    modules: int
    status: str
    reason: str

    @property
    def is_clean(self) -> bool:
        return self.status == "done" and not self.failed and not self.reason

    @property
    def has_ended(self) -> bool:
        return self.status not in ("pending", "running")


@dataclass(frozen=True, slots=True)
class ModuleLine:
    project: str
    module: str
    verdict: str
    counts: str
    time: float
    node: str
    detail: str


def has_ended(document: Document) -> bool:
    return document["status"] in _ENDED


def project_rows(document: Document) -> list[ProjectRow]:
    return [_project_row(document, name) for name in sorted(document["projects"])]


def module_lines(document: Document, project: str | None = None) -> Iterator[ModuleLine]:
    for name, modules in sorted(document["module_results"].items()):
        if project is not None and name != project:
            continue
        for path, result in sorted(modules.items()):
            yield module_line(name, path, result)


def module_line(project: str, path: str, result: Document) -> ModuleLine:
    return ModuleLine(
        clean(project),
        clean(path),
        clean(result["verdict"]),
        counts_text(result),
        float(result["time"] or 0),
        clean(result["node"] or ""),
        shortened(result["detail"] or ""),
    )


def is_waiting(verdict: str) -> bool:
    return verdict in _WAITING


def is_bad(verdict: str) -> bool:
    """Whether it is a reason for a grade that is not full."""
    return verdict not in (*_GOOD, *_WAITING)


def counts_text(result: Document) -> str:
    """As pytest's last line has it: `3 passed, 1 failed, 1 error`."""
    words = [f"{result[word]} {word}" for word in ("passed", "failed", "skipped") if result[word]]
    if result["errors"]:
        words.append(f"{result['errors']} error{'s' if result['errors'] > 1 else ''}")
    return ", ".join(words) or "no tests"


def progress(document: Document) -> tuple[int, int]:
    """Modules that ended, modules there are."""
    info = document["_run_info"]
    return info["executed"], info["executed"] + info["running"] + info["pending"]


def verdict_line(document: Document) -> str:
    """The evaluation in one line."""
    info = document["_run_info"]
    grade = "no grade" if info["nota"] is None else f"{info['nota']:.2f} of 20"
    return (
        f"{clean(document['status'])}: {grade}, {info['passed']} passed, {info['failed']} failed, "
        f"{info['skipped']} skipped in {info['executed']} modules of {len(document['projects'])} projects, "
        f"{info['eval_time'] or 0:.1f} s"
    )


def exit_code(document: Document) -> int:
    """0 all passed, 1 something failed, 2 something could not be graded."""
    projects = document["projects"].values()
    if document["status"] != "done" or any(project["status"] != "done" for project in projects):
        return EXIT_IMPOSSIBLE
    info = document["_run_info"]
    return EXIT_FAILED if info["failed"] or info["errors"] else EXIT_PASSED


def _project_row(document: Document, name: str) -> ProjectRow:
    project = document["projects"][name]
    results = document["module_results"].get(name, {})
    return ProjectRow(
        name=clean(name),
        nota=project["nota"],
        percent=project["%passed"],
        passed=sum(result["passed"] for result in results.values()),
        failed=sum(result["failed"] + result["errors"] for result in results.values()),
        skipped=sum(result["skipped"] for result in results.values()),
        ended=project["executed"],
        modules=project["executed"] + project["running"] + project["pending"],
        status=clean(project["status"]),
        reason=_reason(project, results),
    )


def _reason(project: Document, results: dict[str, Document]) -> str:
    """Why the grade is not full: the verdicts with their counts, and the first thing said about one of them."""
    bad = {path: result for path, result in sorted(results.items()) if is_bad(result["verdict"])}
    parts = [
        f"{clean(verdict)}{f' ×{count}' if count > 1 else ''}"
        for verdict, count in Counter(result["verdict"] for result in bad.values()).most_common()
    ]
    said = next(((path, result["detail"]) for path, result in bad.items() if result["detail"]), None)
    if said:
        parts.append(f"{clean(said[0])}: {shortened(said[1])}")
    elif bad:
        path, result = next(iter(bad.items()))
        parts.append(f"{clean(path)}: {counts_text(result)}")
    if project["detail"]:
        parts.append(shortened(project["detail"]))
    return " · ".join(parts)
