"""PURE. How long a test file will most likely take, by reading it: for those of which no run is known yet.

What is written out is added up: sleeps, as often as loops over literal ranges and parametrized tests repeat them, also
in fixtures, set-ups and functions of the file that are called; processes and threads that are started; a part of the
timeouts that are waited for. It is for putting modules in order: a file that waits is to come before one that does not.
"""

import ast
import math
import re
from collections import deque
from collections.abc import Iterator, Sequence

from testmesh.testing.found_tests import FoundTest, Function, is_fixture, last_name

MAX_S = 3600.0
_START_S = 0.5  # the interpreter, pytest and the imports
_TEST_S = 0.01
_START_OF_OTHER_S = 0.3  # until a process or thread that is started has done something
_PROPERTY_S = 0.5  # a test that is run with many generated examples
_UNKNOWN_SLEEP_S = 0.1
_WAITED = 0.1  # of a timeout: as a rule what is waited for comes sooner
_MOST_ROUNDS = 10**9
_POLLS = 3  # rounds of a loop that ends when something has happened

_STARTS = frozenset(
    {"Popen", "Process", "Thread", "check_call", "check_output", "system", "popen", "spawn"}
    | {"create_subprocess_exec", "create_subprocess_shell"}
)
_OF_SUBPROCESS = frozenset({"run", "call"})
_WAITS = frozenset({"wait", "join", "get", "communicate", "wait_for", "result", "acquire", "expect"})
_TIMEOUT_FIRST = frozenset({"wait", "join"})  # their only argument; a number, so it is not of strings
_EACH_TIME = frozenset(
    {"setUp", "tearDown", "asyncSetUp", "asyncTearDown", "setup_method", "teardown_method"}
    | {"setup_function", "teardown_function"}
)
_ONCE = frozenset(
    {"setUpClass", "tearDownClass", "setup_class", "teardown_class"}
    | {"setUpModule", "tearDownModule", "setup_module", "teardown_module"}
)
_BODIES = ("body", "handlers", "orelse", "finalbody", "cases")  # where statements hold others
_LEAVES = (ast.Name, ast.Constant, ast.expr_context, ast.operator, ast.Lambda)
_SLEEP = re.compile(rb"\bsleep\([ \t]{0,20}([0-9]{1,9}(?:\.[0-9]{1,9})?)")


def estimate(tree: ast.Module, tests: Sequence[FoundTest]) -> float:
    """Seconds of wall time, over 0 and at most `MAX_S`. Takes time in proportion to the file.

    Raises:
        RecursionError: the file is nested too deeply.
    """
    return round(min(_START_S + _File(tree).seconds(tests), MAX_S), 3)


def estimate_by_lines(source: bytes, tests: int) -> float:
    """The same of a file that is not parsed: every literal sleep in it, once."""
    sleeps = sum(float(seconds) for seconds in _SLEEP.findall(source))
    return round(min(_START_S + _TEST_S * tests + sleeps, MAX_S), 3)


class _File:
    """One file. Every function of it is looked at once, whatever calls it how often."""

    def __init__(self, tree: ast.Module) -> None:
        self._body = tree.body
        self._functions: dict[str, Function] = {}  # wherever in the file
        for statement in _statements_in(tree):
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self._functions[statement.name] = statement
        self._constants: dict[str, float] = {}
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and (number := self._number(statement.value)) is not None:
                self._constants |= {name.id: number for name in statement.targets if isinstance(name, ast.Name)}
        self._known: dict[str, float] = {}  # seconds of a call of a function
        self._run: dict[Function, float] = {}  # seconds of a test or fixture with the fixtures that it asks for
        self._once: dict[str, float] = {}  # seconds of fixtures that live longer than a test
        self._class_s: dict[ast.ClassDef, float] = {}  # seconds of set-up and tear-down for each test
        self._exits = 0  # break and return statements seen so far

    def seconds(self, tests: Sequence[FoundTest]) -> float:
        total = self._block(self._body) + self._named(self._body, _ONCE)
        each_time = sum(self._asked([function.name]) for function in self._functions.values() if _is_autouse(function))
        each_time += self._named(self._body, _EACH_TIME)
        for test in tests:
            for around in test.classes:
                if around not in self._class_s:
                    self._class_s[around] = self._named(around.body, _EACH_TIME)
                    total += self._named(around.body, _ONCE)
            in_classes = sum(self._class_s[around] for around in test.classes)
            one = each_time + in_classes + self._with_fixtures(test.function)
            total += test.times * (_TEST_S + min(one, self._limit(test.function)))
        return total + sum(self._once.values())

    # Functions -------------------------------------------------------------------------------

    def _called(self, name: str) -> float:
        if name not in self._known:
            self._known[name] = 0.0  # should it call itself
            exits = self._exits
            self._known[name] = self._block(self._functions[name].body)
            self._exits = exits
        return self._known[name]

    def _with_fixtures(self, function: Function) -> float:
        """Of a test or a fixture: its body and the fixtures that it asks for, but for those in `_once`."""
        if function not in self._run:
            self._run[function] = 0.0
            arguments = function.args
            asked = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            extra = 0.0
            for decorator in function.decorator_list:
                if last_name(decorator) == "usefixtures" and isinstance(decorator, ast.Call):
                    given = [each.value for each in decorator.args if isinstance(each, ast.Constant)]
                    asked += [name for name in given if isinstance(name, str)]
                elif last_name(decorator) == "given":
                    extra += _PROPERTY_S
            body = self._block(function.body)
            self._run[function] = min(body + extra + self._asked(asked), MAX_S)
        return self._run[function]

    def _asked(self, names: Sequence[str]) -> float:
        total = 0.0
        for name in names:
            function = self._functions.get(name)
            if function is None or not is_fixture(function):
                continue
            if not _outlives_a_test(function):
                total += self._with_fixtures(function)
            elif name not in self._once:
                self._once[name] = 0.0
                self._once[name] = self._with_fixtures(function)
        return total

    def _named(self, body: Sequence[ast.stmt], names: frozenset[str]) -> float:
        functions = (each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
        return sum(self._block(function.body) for function in functions if function.name in names)

    def _limit(self, function: Function) -> float:
        """Seconds at which pytest-timeout would end it."""
        for decorator in function.decorator_list:
            if last_name(decorator) == "timeout" and isinstance(decorator, ast.Call) and decorator.args:
                number = self._number(decorator.args[0])
                return MAX_S if number is None else number
        return MAX_S

    # Statements ------------------------------------------------------------------------------

    def _block(self, body: Sequence[ast.stmt]) -> float:
        return min(sum(map(self._statement, body)), MAX_S)

    def _statement(self, statement: ast.stmt) -> float:  # noqa: PLR0911 - one for each kind
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return 0.0
            case ast.For(iter=over) | ast.AsyncFor(iter=over):
                return (
                    self._calls(over) + self._loop(statement.body, self._rounds(over)) + self._block(statement.orelse)
                )
            case ast.While():
                round_s = self._calls(statement.test) + self._loop(statement.body, 1)
                return _POLLS * round_s + self._block(statement.orelse)
            case ast.If():
                return self._calls(statement.test) + max(self._block(statement.body), self._block(statement.orelse))
            case ast.Try() | ast.TryStar():
                return sum(self._block(part) for part in (statement.body, statement.orelse, statement.finalbody))
            case ast.With() | ast.AsyncWith():
                return sum(self._calls(item.context_expr) for item in statement.items) + self._block(statement.body)
            case ast.Match():
                return max(self._block(case.body) for case in statement.cases)
        self._exits += isinstance(statement, ast.Break | ast.Return)
        return self._calls(statement)

    def _loop(self, body: Sequence[ast.stmt], rounds: float) -> float:
        exits = self._exits
        round_s = self._block(body)
        return min(round_s * (min(rounds, _POLLS) if self._exits > exits else rounds), MAX_S)

    def _rounds(self, over: ast.expr) -> float:
        if isinstance(over, ast.List | ast.Tuple | ast.Set):
            return len(over.elts)
        if not isinstance(over, ast.Call) or last_name(over) != "range" or not 1 <= len(over.args) <= 3:
            return 1
        numbers = [self._number(argument) for argument in over.args]
        if any(number is None for number in numbers):
            return _POLLS
        first, last, step = (0, *numbers, 1) if len(numbers) == 1 else (*numbers, 1)[:3]
        rounds = (last - first) / step if step else 0.0  # type: ignore[operator]
        return max(0, math.ceil(min(rounds, _MOST_ROUNDS)))

    # Expressions -----------------------------------------------------------------------------

    def _calls(self, node: ast.AST) -> float:
        return min(sum(map(self._call, _calls_in(node))), MAX_S)

    def _call(self, call: ast.Call) -> float:
        name = last_name(call)
        if name == "sleep":
            number = self._number(call.args[0]) if call.args else None
            return _UNKNOWN_SLEEP_S if number is None else number
        if name in _STARTS or (name in _OF_SUBPROCESS and _is_of(call, "subprocess")):
            return _START_OF_OTHER_S
        if name in self._functions:
            return self._called(name)
        if name not in _WAITS:
            return 0.0
        given = [keyword.value for keyword in call.keywords if keyword.arg == "timeout"]
        given += call.args[:1] if name in _TIMEOUT_FIRST else call.args[1:2] if name == "wait_for" else []
        numbers = (number for each in given if (number := self._number(each)) is not None)
        return _WAITED * next(numbers, 0.0)

    def _number(self, expression: ast.expr) -> float | None:
        """At most `MAX_S`."""
        if isinstance(expression, ast.Name):
            return self._constants.get(expression.id)
        value = expression.value if isinstance(expression, ast.Constant) else None
        return float(min(value, MAX_S)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _statements_in(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements, the outer ones first. Expressions, of which a file has far more, are left out."""
    waiting: deque[ast.AST] = deque(tree.body)
    while waiting:
        found = waiting.popleft()
        yield found
        for part in _BODIES:
            waiting.extend(getattr(found, part, ()))


def _calls_in(node: ast.AST) -> Iterator[ast.Call]:
    """But for those in a lambda, which is most likely what a thread is to do."""
    stack = [node]
    while stack:
        found = stack.pop()
        if isinstance(found, _LEAVES):
            continue
        if isinstance(found, ast.Call):
            yield found
        for name in found._fields:  # as ast.iter_child_nodes, in half of its time
            value = getattr(found, name, None)
            if isinstance(value, ast.AST):
                stack.append(value)
            elif isinstance(value, list):
                stack += [each for each in value if isinstance(each, ast.AST)]


def _is_of(call: ast.Call, module: str) -> bool:
    function = call.func
    return isinstance(function, ast.Attribute) and last_name(function.value) == module


def _fixture_option(function: Function, name: str) -> object:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and last_name(decorator).endswith("fixture"):
            for keyword in decorator.keywords:
                if keyword.arg == name and isinstance(keyword.value, ast.Constant):
                    return keyword.value.value
    return None


def _outlives_a_test(function: Function) -> bool:
    return _fixture_option(function, "scope") in ("class", "module", "package", "session")


def _is_autouse(function: Function) -> bool:
    return _fixture_option(function, "autouse") is True
