"""The house keeps its shape: who may import whom, what is pure, no mutable globals, no file too long to read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import testmesh

PACKAGE = Path(testmesh.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
MAX_LINES = 350

# Which rooms a room may know. Files beside the rooms are the shared vocabulary, but for those that put it all together.
ROOMS: dict[str, set[str]] = {
    "app": {"node", "load_balance", "testing"},
    "node": {"load_balance", "testing"},
    "load_balance": set(),
    "testing": set(),
    "client": set(),
    "local": {"client"},
}
# The same inside the room `node`: what is in none of these puts them together. Messages carry records, and records are
# stored as they travel, so those two know each other.
ROOMS_OF_NODE: dict[str, set[str]] = {
    "callbacks": {"membership", "storage"},
    "copying": {"membership", "messaging", "storage"},
    "driving": {"membership", "messaging", "storage"},
    "working": {"messaging", "storage"},
    "observing": {"copying", "membership", "messaging", "storage", "working"},
    "membership": {"messaging"},
    "messaging": {"membership", "storage"},
    "storage": {"messaging"},
}
ROOTS = {"assembly.py", "cli.py"}
WEB = {"flask", "flask_openapi", "gunicorn", "werkzeug"}
EFFECTS = {"flask", "socket", "subprocess", "time", "os", "threading"}
PURE = {  # beside every file whose docstring begins so
    "load_balance/least_loaded.py",
    "load_balance/policy.py",
    "load_balance/round_robin.py",
    "node/document.py",
    "node/membership/membership.py",
    "node/membership/membership_events.py",
    "node/messaging/messages.py",
    "node/membership/ownership.py",
    "node/storage/replica.py",
    "node/driving/schedule.py",
    "node/storage/summaries.py",
    "node/membership/suspicion.py",
    "testing/detection.py",
    "testing/events.py",
    "testing/grades.py",
    "testing/grading.py",
    "errors.py",
    "model.py",
}
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """Full names of what is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(imported: str) -> str | None:
    parts = imported.split(".")
    return parts[1] if parts[0] == "testmesh" and len(parts) > 1 and parts[1] in ROOMS else None


def room_of_node(name: str) -> str:
    parts = name.split("/")
    return parts[1] if parts[0] == "node" and len(parts) == 3 else ""


def is_pure(name: str) -> bool:
    return name in PURE or (ast.get_docstring(parsed(FILES[name])) or "").startswith("PURE")


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 50
    assert set(FILES) >= PURE | ROOTS
    assert {name.split("/")[0] for name in FILES if "/" in name} == set(ROOMS)


@pytest.mark.parametrize("name", FILES)
def test_no_arrow_points_back(name: str) -> None:
    room = name.split("/", maxsplit=1)[0] if "/" in name else None
    if name in ROOTS:
        return
    allowed = ROOMS[room] | {room} if room else set()
    known = {found for imported in imports(parsed(FILES[name])) if (found := room_of(imported))}
    assert known <= allowed, f"{name} must not know {', '.join(sorted(known - allowed))}"


@pytest.mark.parametrize("name", [name for name in FILES if room_of_node(name)])
def test_no_arrow_points_back_inside_the_node(name: str) -> None:
    room = room_of_node(name)
    parts = [imported.split(".") for imported in imports(parsed(FILES[name]))]
    known = {found[2] for found in parts if found[:2] == ["testmesh", "node"]} & set(ROOMS_OF_NODE)
    allowed = ROOMS_OF_NODE[room] | {room}
    assert known <= allowed, f"{name} must not know {', '.join(sorted(known - allowed))}"


@pytest.mark.parametrize("name", FILES)
def test_only_the_room_app_speaks_http_to_clients(name: str) -> None:
    used = {imported.split(".")[0] for imported in imports(parsed(FILES[name]))} & WEB
    assert name.startswith("app/") or not used, f"{name} imports {', '.join(sorted(used))}"


@pytest.mark.parametrize("name", [name for name in FILES if is_pure(name)])
def test_what_is_pure_has_no_effects(name: str) -> None:
    used = {imported.split(".")[0] for imported in imports(parsed(FILES[name]))} & EFFECTS
    assert not used, f"{name} is PURE and imports {', '.join(sorted(used))}"


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_too_long_to_read(name: str) -> None:
    lines = len(FILES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name} has {lines} lines"


@pytest.mark.parametrize("name", FILES)
def test_no_module_has_mutable_state(name: str) -> None:
    tree = parsed(FILES[name])
    found = [variable for variable, value in module_variables(tree) if is_mutable(value) and not is_constant(variable)]
    assert not found, f"{name} keeps state in {', '.join(found)}"
    changed = [word for node in ast.walk(tree) if isinstance(node, ast.Global) for word in node.names]
    assert not changed, f"{name} changes its globals {', '.join(changed)}"


def module_variables(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        called = value.func.id if isinstance(value.func, ast.Name) else getattr(value.func, "attr", "")
        return called in MUTABLE_CALLS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def is_constant(name: str) -> bool:
    return name.isupper() or name == "__all__"


@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("cache = {}", ["cache"]),
        ("_seen: set[str] = set()", ["_seen"]),
        ("a = b = []", ["a", "b"]),
        ("queue = collections.deque()", ["queue"]),
        ("_TABLE = {'a': 1}", []),
        ("__all__ = ['a']", []),
        ("names = ('a', 'b')", []),
        ("def f():\n    local = []", []),
    ],
)
def test_state_is_recognised(source: str, state: list[str]) -> None:
    found = module_variables(ast.parse(source))
    assert [name for name, value in found if is_mutable(value) and not is_constant(name)] == state


def test_back_arrows_are_recognised() -> None:
    tree = ast.parse("import testmesh.app.factory\ndef f():\n    from testmesh.node.storage import store\n")
    assert {room_of(found) for found in imports(tree)} == {"app", "node"}
