"""PURE. Reading a test file without running it: how many tests it has, and how long they will most likely take."""

import ast
import hashlib
import re
from collections.abc import Sequence

from testmesh.model import ModulePlan
from testmesh.testing.estimate import estimate, estimate_by_lines
from testmesh.testing.found_tests import MAX_TESTS, NameFilter, find_tests

MAX_SOURCE = 1024 * 1024  # bytes of a file that are looked at
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
    content: str = "",
) -> ModulePlan:
    """Plan a module from its source. `tests_found` is what pytest would most likely collect, at least 1.

    Args:
        path: relative to the project.
        parse: False to count `def` lines only, for speed.
        content: the file's `content_of`.
    """
    functions, classes = NameFilter(python_functions), NameFilter(python_classes)
    read = _parsed(source, functions, classes) if parse and is_parsable(source) else None
    if read is None:
        count = sum(functions.match(name.decode("utf-8", "replace")) for name in _DEF_LINE.findall(source))
        read = count, estimate_by_lines(source, count)
    count, seconds = read
    return ModulePlan(path, min(max(count, 1), MAX_TESTS), binds_ports, content, seconds)


def is_parsable(source: bytes) -> bool:
    return len(source) <= MAX_PARSED and source.count(b"{") <= _MAX_BRACES


def content_of(source: bytes, size: int) -> str:
    """SHA-256 of a file, 32 hexadecimal digits; where `source` is only its beginning, of that and the `size`."""
    digest = hashlib.sha256(source)
    if len(source) != size:
        digest.update(b"%d" % size)
    return digest.hexdigest()[:32]


def _parsed(source: bytes, functions: NameFilter, classes: NameFilter) -> tuple[int, float] | None:
    """Number of tests and seconds; None where it cannot be read."""
    try:
        tree = ast.parse(source)
        tests = find_tests(tree.body, functions, classes)
    except _UNREADABLE:
        return None
    count = sum(test.times for test in tests)
    try:
        return count, estimate(tree, tests)
    except (RecursionError, ArithmeticError, ValueError):  # of numbers that no test means
        return count, estimate_by_lines(source, count)
