"""Which names of pytest's own plugins are fixtures, found before the fork.

At the start of each session pytest looks at every name of every plugin (`_pytest.fixtures.FixtureManager`), some two
thousand, of which twenty are fixtures. Those of its own modules and classes, and of ours, are the same each time, so
that a fork looks at these alone, at names that stand for something else since, and at every name of any other plugin.
This is no public interface: where pytest looks otherwise than it has since version 7, it looks at everything.
"""

from __future__ import annotations

import builtins
import functools
from contextlib import suppress
from types import ModuleType

import _pytest.fixtures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    _Names = tuple[dict[str, object], list[str]]  # what all names stand for, and those of fixtures

_OWN = frozenset(("_pytest", "testmesh"))
_NOTHING = object()


class KnownFixtures:
    """A context for a session of pytest's own plugins; then `prepare` for the first session of each fork."""

    def __init__(self) -> None:
        self._found: dict[object, _Names] = {}  # by module, or by class of the plugin
        self._made = 0
        self._leave: Callable[[], None] = lambda: None

    def __enter__(self) -> KnownFixtures:
        definition: Any = _pytest.fixtures.FixtureDef
        make = definition.__init__

        @functools.wraps(make)
        def count(*arguments: Any, **options: Any) -> None:
            self._made += 1
            make(*arguments, **options)

        definition.__init__ = count
        self._leave = lambda: setattr(definition, "__init__", make)
        _replace_dir(self._watched)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        _restore_dir()

    def _watched(self, plugin: object) -> Iterator[str]:
        """Its names; those are remembered whose turn made a fixture."""
        found = []
        for name in builtins.dir(plugin):
            before = self._made
            yield name
            if self._made != before:
                found.append(name)
        place = _place(plugin)
        if _is_own(place):
            self._found[place] = _values(place), found

    def prepare(self) -> None:
        manager: Any = _pytest.fixtures.FixtureManager
        begin = manager.__init__

        @functools.wraps(begin)
        def begin_once(*arguments: Any, **options: Any) -> None:
            manager.__init__ = begin  # for sessions within the session
            _replace_dir(self._names)
            try:
                begin(*arguments, **options)
            finally:
                _restore_dir()

        manager.__init__ = begin_once

    def _names(self, plugin: object) -> list[str]:
        place = _place(plugin)
        if place not in self._found:
            return builtins.dir(plugin)
        before, found = self._found[place]
        changed = [name for name, value in _values(place).items() if before.get(name, _NOTHING) is not value]
        return sorted({*found, *changed, *(() if place is plugin else vars(plugin))})


def _place(plugin: object) -> object:
    """What has its names, but for those that it has itself as an instance."""
    return plugin if isinstance(plugin, (ModuleType, type)) else type(plugin)


def _is_own(place: object) -> bool:
    name = getattr(place, "__name__" if isinstance(place, ModuleType) else "__module__", "")
    plain = isinstance(place, ModuleType) or ("__dict__" in builtins.dir(place) and _has_plain_dir(place))
    return plain and str(name).partition(".")[0] in _OWN


def _has_plain_dir(place: Any) -> bool:
    return place.__dir__ is object.__dir__


def _values(place: object) -> dict[str, object]:
    """A copy: what is kept here is not freed, so that nothing else is taken for it."""
    values: dict[str, object] = {}
    for each in reversed(place.__mro__) if isinstance(place, type) else (place,):
        values.update(vars(each))
    return values


def _replace_dir(function: Callable[[object], object]) -> None:
    _pytest.fixtures.dir = function  # type: ignore[attr-defined]


def _restore_dir() -> None:
    with suppress(AttributeError):
        del _pytest.fixtures.dir  # type: ignore[attr-defined]
