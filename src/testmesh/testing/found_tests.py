"""PURE. The tests in a parsed file, as pytest would most likely collect them."""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate

MAX_TESTS = 100_000  # in one module

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class FoundTest:
    """A test function, how often its parameters repeat it, and the classes around it, the outermost first."""

    function: Function
    times: int
    classes: tuple[ast.ClassDef, ...] = ()


class NameFilter:
    """pytest's rule for `python_functions` and `python_classes`: a prefix, or a glob."""

    def __init__(self, options: Iterable[str]) -> None:
        usable = [option for option in options if len(option) <= 256][:64]
        self._prefixes = tuple(usable)
        self._globs = [re.compile(translate(option)) for option in usable if re.search(r"[*?\[]", option)]

    def match(self, name: str) -> bool:
        return name.startswith(self._prefixes) or any(glob.match(name) for glob in self._globs)


def find_tests(
    body: Sequence[ast.stmt], functions: NameFilter, classes: NameFilter, around: tuple[ast.ClassDef, ...] = ()
) -> list[FoundTest]:
    """Of the body of a module or class; a name that is bound again counts once. `around`: the classes it is in.

    Raises:
        RecursionError: classes are nested too deeply.
    """
    found: dict[str, list[FoundTest]] = {}
    factor = 1
    for statement in flattened(body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if functions.match(statement.name) and not is_fixture(statement):
                found[statement.name] = [FoundTest(statement, _parametrized(statement.decorator_list), around)]
            else:
                found.pop(statement.name, None)
        elif isinstance(statement, ast.ClassDef):
            found[statement.name] = _of_class(statement, functions, classes, around)
        elif isinstance(statement, ast.Assign):
            names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
            if "__test__" in names and isinstance(statement.value, ast.Constant) and not statement.value.value:
                return []
            if "pytestmark" in names:
                marks = statement.value
                factor = _parametrized(marks.elts if isinstance(marks, ast.List | ast.Tuple) else [marks])
    return _repeated((test for tests in found.values() for test in tests), factor)


def flattened(body: Sequence[ast.stmt]) -> Iterable[ast.stmt]:
    """The statements of a body and of its `if`, `try`, `with` and loops, in order."""
    stack = list(reversed(body))
    while stack:
        statement = stack.pop()
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            parts = [statement.body, getattr(statement, "orelse", []), getattr(statement, "finalbody", [])]
            parts += [handler.body for handler in getattr(statement, "handlers", [])]
            stack.extend(inner for part in reversed(parts) for inner in reversed(part))


def is_fixture(function: Function) -> bool:
    return any(last_name(decorator).endswith("fixture") for decorator in function.decorator_list)


def last_name(expression: ast.expr) -> str:
    """`c` of `c`, `a.b.c` and `a.b.c(...)`."""
    if isinstance(expression, ast.Call):
        expression = expression.func
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def _of_class(
    statement: ast.ClassDef, functions: NameFilter, classes: NameFilter, around: tuple[ast.ClassDef, ...]
) -> list[FoundTest]:
    if any(last_name(base).endswith("TestCase") for base in statement.bases):
        functions = NameFilter(("test",))  # unittest's own rule, whatever the class is called
    elif not classes.match(statement.name) or any(
        isinstance(inner, ast.FunctionDef) and inner.name in ("__init__", "__new__") for inner in statement.body
    ):
        return []
    inside = find_tests(statement.body, functions, classes, (*around, statement))
    return _repeated(inside, _parametrized(statement.decorator_list))


def _repeated(tests: Iterable[FoundTest], factor: int) -> list[FoundTest]:
    if factor == 1:
        return list(tests)
    return [replace(test, times=min(test.times * factor, MAX_TESTS)) for test in tests]


def _parametrized(marks: Iterable[ast.expr]) -> int:
    """How often `parametrize` marks with values written out in place repeat a test."""
    factor = 1
    for mark in marks:
        if not isinstance(mark, ast.Call) or last_name(mark) != "parametrize":
            continue
        keyword = [given.value for given in mark.keywords if given.arg == "argvalues"]
        values = mark.args[1] if len(mark.args) > 1 else keyword[0] if keyword else None
        if isinstance(values, ast.List | ast.Tuple | ast.Set):
            factor = min(factor * max(len(values.elts), 1), MAX_TESTS)
    return factor
