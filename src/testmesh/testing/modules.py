"""PURE. Reading a test file without running it: how many tests it has."""

import ast
import re
from collections.abc import Iterable, Sequence
from fnmatch import translate

from testmesh.model import ModulePlan

MAX_SOURCE = 1024 * 1024  # bytes of a file that are looked at
MAX_TESTS = 100_000  # in one module
# `ast.parse` holds the interpreter's lock, takes up to 1 KiB a byte, and its time grows with the square of the
# replacement fields in one f-string: beyond these bounds lines are counted instead.
MAX_PARSED, _MAX_BRACES = 128 * 1024, 10_000

_DEF_LINE = re.compile(rb"^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)
_UNREADABLE = (SyntaxError, ValueError, LookupError, RecursionError, MemoryError)


class Allowance:
    """What one caller may spend, e.g. bytes to read, so that no upload keeps a node busy."""

    def __init__(self, amount: int) -> None:
        self._left = amount

    def take(self, amount: int) -> bool:
        """Spend it, or refuse where less is left; then nothing is spent."""
        if amount > self._left:
            return False
        self._left -= amount
        return True


def read_module(
    source: bytes,
    path: str,
    python_functions: Sequence[str] = ("test",),
    python_classes: Sequence[str] = ("Test",),
    *,
    parse: bool = True,
    binds_ports: bool = False,
) -> ModulePlan:
    """Plan a module from its source. `tests_found` is what pytest would most likely collect, at least 1.

    Args:
        path: relative to the project.
        parse: False to count `def` lines only, for speed.
    """
    functions, classes = _NameFilter(python_functions), _NameFilter(python_classes)
    count = _count_parsed(source, functions, classes) if parse and is_parsable(source) else None
    if count is None:
        count = sum(functions.match(name.decode("utf-8", "replace")) for name in _DEF_LINE.findall(source))
    return ModulePlan(path, min(max(count, 1), MAX_TESTS), binds_ports)


def is_parsable(source: bytes) -> bool:
    return len(source) <= MAX_PARSED and source.count(b"{") <= _MAX_BRACES


class _NameFilter:
    """pytest's rule for `python_functions` and `python_classes`: a prefix, or a glob."""

    def __init__(self, options: Iterable[str]) -> None:
        usable = [option for option in options if len(option) <= 256][:64]
        self._prefixes = tuple(usable)
        self._globs = [re.compile(translate(option)) for option in usable if re.search(r"[*?\[]", option)]

    def match(self, name: str) -> bool:
        return name.startswith(self._prefixes) or any(glob.match(name) for glob in self._globs)


def _count_parsed(source: bytes, functions: _NameFilter, classes: _NameFilter) -> int | None:
    try:
        return _count_body(ast.parse(source).body, functions, classes)
    except _UNREADABLE:
        return None


def _count_body(body: Sequence[ast.stmt], functions: _NameFilter, classes: _NameFilter) -> int:
    """Tests in the body of a module or class; a name that is bound again counts once."""
    found: dict[str, int] = {}
    factor = 1
    for statement in _flattened(body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if functions.match(statement.name) and not _is_fixture(statement):
                found[statement.name] = _parametrized(statement.decorator_list)
            else:
                found.pop(statement.name, None)
        elif isinstance(statement, ast.ClassDef):
            found[statement.name] = _count_class(statement, functions, classes)
        elif isinstance(statement, ast.Assign):
            names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
            if "__test__" in names and isinstance(statement.value, ast.Constant) and not statement.value.value:
                return 0
            if "pytestmark" in names:
                marks = statement.value
                factor = _parametrized(marks.elts if isinstance(marks, ast.List | ast.Tuple) else [marks])
    return min(sum(found.values()) * factor, MAX_TESTS)


def _flattened(body: Sequence[ast.stmt]) -> Iterable[ast.stmt]:
    """The statements of a body and of its `if`, `try`, `with` and loops, in order."""
    stack = list(reversed(body))
    while stack:
        statement = stack.pop()
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            parts = [statement.body, getattr(statement, "orelse", []), getattr(statement, "finalbody", [])]
            parts += [handler.body for handler in getattr(statement, "handlers", [])]
            stack.extend(inner for part in reversed(parts) for inner in reversed(part))


def _count_class(statement: ast.ClassDef, functions: _NameFilter, classes: _NameFilter) -> int:
    if any(_last_name(base).endswith("TestCase") for base in statement.bases):
        functions = _NameFilter(("test",))  # unittest's own rule, whatever the class is called
    elif not classes.match(statement.name) or any(
        isinstance(inner, ast.FunctionDef) and inner.name in ("__init__", "__new__") for inner in statement.body
    ):
        return 0
    return min(_count_body(statement.body, functions, classes) * _parametrized(statement.decorator_list), MAX_TESTS)


def _is_fixture(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_last_name(decorator).endswith("fixture") for decorator in function.decorator_list)


def _parametrized(marks: Iterable[ast.expr]) -> int:
    """How often `parametrize` marks with values written out in place repeat a test."""
    factor = 1
    for mark in marks:
        if not isinstance(mark, ast.Call) or _last_name(mark) != "parametrize":
            continue
        keyword = [given.value for given in mark.keywords if given.arg == "argvalues"]
        values = mark.args[1] if len(mark.args) > 1 else keyword[0] if keyword else None
        if isinstance(values, ast.List | ast.Tuple | ast.Set):
            factor = min(factor * max(len(values.elts), 1), MAX_TESTS)
    return factor


def _last_name(expression: ast.expr) -> str:
    """`c` of `c`, `a.b.c` and `a.b.c(...)`."""
    if isinstance(expression, ast.Call):
        expression = expression.func
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""
