"""PURE: what of a running evaluation is worth the few lines of a terminal."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from testmesh.client.summary import Document, ProjectRow, is_bad, module_line, project_rows


class State(StrEnum):
    """Of a project or a module, in the order in which they are worth a line."""

    RUNNING = "running"
    FAILED = "failed"
    WAITING = "waiting"
    PASSED = "passed"


_RANK = {state: number for number, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a project, where `is_module` a module of the project above it, or several projects in one."""

    state: State
    text: str
    note: str = ""
    is_module: bool = False


@dataclass(frozen=True, slots=True)
class _Module:
    project: str
    path: str
    state: State
    result: Document


@dataclass(frozen=True, slots=True)
class _Branch:
    row: ProjectRow
    modules: tuple[_Module, ...]

    @property
    def state(self) -> State:
        states = {module.state for module in self.modules}
        if State.RUNNING in states:
            return State.RUNNING
        if self.row.failed or State.FAILED in states or (self.row.has_ended and self.row.status != "done"):
            return State.FAILED
        return State.PASSED if self.row.has_ended else State.WAITING


def board(document: Document, room: int) -> list[Line]:
    """At most `room` lines (at least 3).

    Everything by name where that fits. Else those that run and those that failed come first, a line each; what waits
    and what passed is one line each; and what room is left shows the modules that run, then those that failed.
    """
    rows = zip(sorted(document["projects"]), project_rows(document), strict=True)
    branches = [_branch(document, name, row) for name, row in rows]
    if sum(1 + len(branch.modules) for branch in branches) <= room:
        return [line for branch in branches for line in _whole(branch)]
    branches.sort(key=lambda branch: _RANK[branch.state])
    shown = [branch for branch in branches if branch.state in (State.RUNNING, State.FAILED)]
    waiting = [branch for branch in branches if branch.state is State.WAITING]
    passed = [branch for branch in branches if branch.state is State.PASSED]
    if len(shown) + len(waiting) + bool(passed) <= room:
        shown, waiting = shown + waiting, []
    if len(shown) + bool(waiting) + len(passed) <= room:
        shown, passed = shown + passed, []
    folds = [_folded(State.WAITING, waiting), _folded(State.PASSED, passed)]
    tail = [line for line in folds if line is not None]
    if len(shown) + len(tail) > room:
        kept = max(room - len(tail) - 1, 0)
        tail.insert(0, _rest(shown[kept:]))
        shown = shown[:kept]
    chosen = _chosen(shown, room - len(shown) - len(tail))
    for branch in reversed(shown):
        modules = [_module(module) for module in branch.modules if (module.project, module.path) in chosen]
        tail = [_project(branch), *modules, *tail]
    return tail


def _branch(document: Document, name: str, row: ProjectRow) -> _Branch:
    results = sorted(document["module_results"].get(name, {}).items())
    return _Branch(row, tuple(_Module(name, path, _state_of(result["verdict"]), result) for path, result in results))


def _state_of(verdict: str) -> State:
    if verdict in ("pending", "running"):
        return State.RUNNING if verdict == "running" else State.WAITING
    return State.FAILED if is_bad(verdict) else State.PASSED


def _chosen(branches: list[_Branch], room: int) -> set[tuple[str, str]]:
    """The modules to show: those that run of every project, then those that failed."""
    wanted = [
        (module.project, module.path)
        for state in (State.RUNNING, State.FAILED)
        for branch in branches
        for module in branch.modules
        if module.state is state
    ]
    return set(wanted[: max(room, 0)])


def _whole(branch: _Branch) -> Iterable[Line]:
    yield _project(branch)
    yield from map(_module, branch.modules)


def _project(branch: _Branch) -> Line:
    row = branch.row
    notes = [f"{row.ended}/{row.modules} modules"] if row.modules else []
    if row.passed or row.failed:
        notes.append(f"{row.passed} passed" + (f", {row.failed} failed" if row.failed else ""))
    if row.status not in ("pending", "running", "done"):
        notes.append(row.status)
    if row.has_ended and row.nota is not None:
        notes.append(f"{row.nota:.2f}")
    return Line(branch.state, row.name, " · ".join(notes))


def _module(module: _Module) -> Line:
    line = module_line(module.project, module.path, module.result)
    note = ""
    if module.state is State.RUNNING:
        note = f"on {line.node}" if line.node else ""
    elif module.state is not State.WAITING:
        verdict = "" if line.verdict in ("passed", "failed") else f"{line.verdict} · "
        note = f"{verdict}{line.counts}, {line.time:.2f} s"
    return Line(module.state, line.module, note, is_module=True)


def _folded(state: State, branches: list[_Branch]) -> Line | None:
    names = ", ".join(branch.row.name for branch in branches)
    return Line(state, f"{len(branches)} {state}", names) if branches else None


def _rest(branches: list[_Branch]) -> Line:
    counts = Counter(branch.state for branch in branches)
    note = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    return Line(min(counts, key=_RANK.__getitem__), f"{len(branches)} more", note)
