"""Large evaluations that were never run, in a FakeNode: what the pages must be able to show."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from testmesh.model import Counts, Evaluation, ModulePlan, ModuleState, Project, Source, SourceKind, TestResult, Verdict
from testmesh.node.service import ModuleTests, NodeVitals
from tests.support.fake_node import SUBMITTED_AT, FakeNode

LARGE_ID = "0b4e9f7c-53a1-4d0e-9f7a-2f6f1f0c7d11"
CLASS_ID = "2d6ab19e-75c3-4f20-9b9c-4b8b3b2e9f33"  # as many as a page shows well
LIVE_ID = "3e7bc2af-86d4-4031-8cad-5c9c4c3fa044"
HOSTILE_ID = "1c5fa08d-64b2-4e1f-8a8b-3a7a2a1d8e22"
UNEVEN_ID = "4f8cd3b0-97e5-4142-9dbe-6dad5d40b155"
HOSTILE = "<img src=x onerror=document.title='owned'>"
TURNED = "safe\u202egnp.exe"
SCRIPT = "</script></pre><script>document.title='owned'</script>"

_COUNTS = {
    Verdict.PASSED: Counts(passed=10),
    Verdict.FAILED: Counts(passed=7, failed=2, errors=1),
    Verdict.COLLECT_ERROR: Counts(failed=10),
    Verdict.TIMEOUT: Counts(passed=4, failed=6),
    Verdict.CRASHED: Counts(passed=1, failed=9),
    Verdict.ENV_FAILED: Counts(failed=10),
}
_TOPICS = ("accounts", "booking", "calendar", "delivery", "events", "filters", "groups", "history", "images", "journal")
_CASES = ("creates", "refuses_empty", "lists_all", "updates", "removes", "keeps_order", "two_clients", "is_atomic")


class WideNode(FakeNode):
    """Four nodes, one of them gone, with an hour of history."""

    def nodes(self, *, history: bool) -> tuple[NodeVitals, ...]:
        return tuple(_vitals(number, history) for number in range(4))


def _vitals(number: int, history: bool) -> NodeVitals:
    address = f"192.168.1.{20 + number}:5001"
    if number == 3:
        return NodeVitals(address, alive=False, status="dead")
    begun = round(SUBMITTED_AT) - 3600
    samples = (
        (begun + 10 * i, running, max(0, running - 6) * 2, (8 + running * 9 + i * 7 % 11) / 100)
        for i in range(360)
        for running in (abs((i // 9 + 5 * number) % 22 - 11),)
    )
    return NodeVitals(
        address,
        alive=True,
        status=("ok", "ok", "draining")[number],
        sandbox="full",
        loopback="private",
        version="0.1.0",
        cores=8.0,
        slots=16,
        running=(12, 7, 0)[number],
        waiting=(4, 0, 0)[number],
        cpu=(0.83, 0.46, 0.02)[number],
        memory=(0.41, 0.35, 0.12)[number],
        uptime=86_400.0 * (number + 1) + 4000,
        history=tuple(samples) if history else (),
    )


def add_large(
    node: FakeNode,
    projects: int = 100,
    modules: int = 20,
    tests: int = 10,
    over: bool = True,
    evaluation_id: str = LARGE_ID,
) -> str:
    """A class; every verdict is there, and of each module's tests one that everyone fails and one that nobody does."""
    paths = [f"tests/test_{_TOPICS[i % 10]}{i // 10 or ''}.py" for i in range(modules)]
    names = [f"group-{number:03}" for number in range(1, projects + 1)]
    plans = tuple(ModulePlan(path, tests_found=tests) for path in paths)
    projects_of = tuple(_project(name, plans, number) for number, name in enumerate(names))
    source = Source(SourceKind.ZIP, "class", archive="0" * 64, projects=projects_of)
    lost = Source(
        SourceKind.REPOSITORY,
        "lee-kvstore",
        url="https://github.com/lee/kvstore",
        error=("https://github.com/lee/kvstore was not found: check the address, or give a token that may read it."),
    )
    ended = SUBMITTED_AT + 184.0 if over else None
    evaluation = Evaluation(
        evaluation_id,
        SUBMITTED_AT,
        "192.168.1.20:5001",
        (source, lost),
        finished_at=ended,
        eval_time=184.3 if over else None,
    )
    states = [_state(evaluation, names[p], paths[m], p, m, over) for p, m in product(range(projects), range(modules))]
    node.add(evaluation, *states)
    node.results[evaluation_id] = list(_tests(states, tests))
    return evaluation_id


def _project(name: str, plans: tuple[ModulePlan, ...], number: int) -> Project:
    detail = "tests/test_booking.py differs from that of most projects." if number in (3, 17) else ""
    return Project(name, name, plans, detail)


def _verdict(project: int, module: int) -> Verdict:
    kind = (project * 7 + module * 11 + project * module) % 29
    if project % 23 == 5:
        return Verdict.ENV_FAILED
    if project % 31 == 8 and module == 2:
        return Verdict.INFRA_FAILED
    return {
        1: Verdict.FAILED, 4: Verdict.FAILED, 9: Verdict.FAILED, 13: Verdict.TIMEOUT, 17: Verdict.CRASHED,
        21: Verdict.COLLECT_ERROR, 25: Verdict.NO_TESTS,
    }.get(kind, Verdict.FAILED if module == 3 else Verdict.PASSED)  # fmt: skip


def _state(evaluation: Evaluation, project: str, module: str, p: int, m: int, over: bool) -> ModuleState:
    place = p * 20 + m
    verdict = _verdict(p, m)
    lane, turn = place % 24, place // 24
    began = SUBMITTED_AT + 1 + turn * 2.1 + lane * 0.07
    took = 0.6 + (place * 37 % 100) / 70
    node = f"192.168.1.{20 + lane % 3}:5001"
    if not over and turn > 50:
        verdict = Verdict.RUNNING if turn == 51 else Verdict.PENDING
    if verdict is Verdict.PENDING:
        return ModuleState(evaluation.id, project, module)
    if verdict is Verdict.RUNNING:
        return ModuleState(evaluation.id, project, module, verdict, 0, 1, node, began_at=began)
    detail = {Verdict.ENV_FAILED: "No matching distribution found for flask==99", Verdict.CRASHED: "signal 11"}
    return ModuleState(
        evaluation.id, project, module, verdict, 0, 1, node, _COUNTS.get(verdict, Counts()), time=took,
        python="3.12.4", detail=detail.get(verdict, ""), cpu_time=took * 0.7, began_at=began,
    )  # fmt: skip


def _tests(states: list[ModuleState], count: int) -> Iterator[ModuleTests]:
    for place, state in enumerate(states):
        if state.verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.TIMEOUT):
            results = (_test(state, number, place) for number in range(count))
            yield ModuleTests(state.project, state.module, tuple(results))


def _test(state: ModuleState, number: int, place: int) -> TestResult:
    name = f"test_{_CASES[number % 8]}{number // 8 or ''}"
    everyone = number == 1 and "delivery" in state.module
    some = state.verdict is not Verdict.PASSED and (place * 5 + number * 3) % 7 == 0 and number != 2
    if not (everyone or some):
        return TestResult(name, "skipped" if number == 9 and place % 3 == 0 else "passed", 0.02 * number)
    why = (
        f'    def {name}(store):\n        store.put("a", 1)\n>       assert store.get("a") == 1\n'
        "E       AssertionError: assert None == 1\nE        +  where None = get('a')\n\n"
        f"{state.module}:{20 + number}: AssertionError"
    )
    out = "connected to 127.0.0.1:5000\nput a 1\n" + "\n".join(f"GET a -> None (try {i})" for i in range(60))
    return TestResult(name, "failed", 0.31, why, out, "WARNING:client:no answer after 0.1 s\n")


def add_hostile(node: FakeNode) -> str:
    """Names and output that would like to be more than text."""
    long = "very-" * 60 + "long"
    names = (HOSTILE, TURNED, long, "__proto__", "a\tb\nc", "=cmd()", "Zoë's größte Übung 🎓")
    modules = (f"tests/test_{HOSTILE.replace('/', '')}.py", "tests/__proto__", "tests/test_plain.py")
    plans = tuple(ModulePlan(path) for path in modules)
    projects = tuple(Project(name, f"p{i}", plans, SCRIPT if i == 0 else "") for i, name in enumerate(names))
    source = Source(SourceKind.ZIP, "class", archive="0" * 64, projects=projects)
    evaluation = Evaluation(
        HOSTILE_ID, SUBMITTED_AT + 60, node.address, (source,), finished_at=SUBMITTED_AT + 65, eval_time=5.0
    )
    states = [
        ModuleState(
            HOSTILE_ID, project.name, path, Verdict.FAILED, 0, 1, node.address, Counts(passed=1, failed=1), time=0.4,
            python="3.12.4", detail=SCRIPT, began_at=SUBMITTED_AT + 61,
        )
        for project in projects
        for path in modules
    ]  # fmt: skip
    output = f"{SCRIPT}\n\x1b[31mred\x1b[0m \x07bell \u202eturned\n{HOSTILE}\n" + "x" * 3000
    node.add(evaluation, *states)
    node.results[HOSTILE_ID] = [
        ModuleTests(
            state.project,
            state.module,
            (TestResult(f"test_{HOSTILE}", "failed", 0.1, output, output, output), TestResult("test_ok", "passed")),
        )
        for state in states
    ]
    return HOSTILE_ID


def add_uneven(node: FakeNode, projects: int, modules: int, over: bool = True) -> str:
    """One project of many modules, and many projects of one: a matrix of them all would have a place for each pair."""
    names: dict[str, tuple[str, ...]] = {f"p{i}": ("test_a.py",) for i in range(projects)}
    names["cheat"] = tuple(f"test_{i}.py" for i in range(modules))
    found = tuple(Project(name, name, tuple(map(ModulePlan, paths))) for name, paths in names.items())
    source = Source(SourceKind.ZIP, "class", archive="0" * 64, projects=found)
    ended = SUBMITTED_AT + 65 if over else None
    evaluation = Evaluation(UNEVEN_ID, SUBMITTED_AT + 60, node.address, (source,), finished_at=ended)
    states = (
        ModuleState(
            UNEVEN_ID, name, path, Verdict.PASSED, 0, 1, node.address, Counts(passed=1), 0.4, began_at=SUBMITTED_AT + 61
        )
        for name, paths in names.items()
        for path in paths
    )
    node.add(evaluation, *states)
    tests = (TestResult(f"test_case[{i}]", ("passed", "failed")[i % 3 == 0]) for i in range(700))
    node.results[UNEVEN_ID] = [
        ModuleTests("p0", "test_a.py", tuple(tests)),
        ModuleTests("p1", "test_a.py", (TestResult("test_case[4]", "failed"),)),
    ]
    return UNEVEN_ID


def wide_node(folder: Path) -> WideNode:
    """With all of them; the newest is the one that runs."""
    node = WideNode(folder)
    add_uneven(node, 900, 600, over=False)
    add_hostile(node)
    add_large(node)
    add_large(node, projects=24, modules=14, evaluation_id=CLASS_ID)
    add_large(node, projects=100, modules=20, over=False, evaluation_id=LIVE_ID)
    return node
