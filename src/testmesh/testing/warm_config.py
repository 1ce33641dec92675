"""pytest's configuration object, made before the fork as far as it depends on no project: its own plugins are in it.

pytest makes it first of all (`_pytest.config.get_config`) and only then looks at arguments, variables, configuration
files, plugins and conftest.py, which are all read after the fork. This is no public interface: where it looks
otherwise than it has since pytest 7, nothing is prepared, and pytest does it all after the fork.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import _pytest.config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROG = "pytest.main()"  # what pytest.main gives for the name of the program, since pytest 9


def prepare() -> None:
    """Make it, for the first session that begins in this process or in a fork of it."""
    make = _pytest.config.get_config
    with suppress(Exception):
        for options in ({"prog": _PROG}, {}):
            with suppress(TypeError):
                _give(make, make((), None, **options), options)
                return


def _give(make: Any, config: Any, expected: dict[str, str]) -> None:
    params = type(config).InvocationParams
    if set(vars(config.invocation_params)) != {"args", "plugins", "dir"}:
        return

    def get_config(args: Any = None, plugins: Any = None, **options: Any) -> Any:
        _pytest.config.get_config = make  # for sessions within the session
        if (
            options != expected
            or "PYTEST_DEBUG" in os.environ
            or any(str(each).startswith("-p") for each in args or ())
        ):
            return make(args, plugins, **options)
        config.invocation_params = params(args=args or (), plugins=plugins, dir=Path.cwd())
        return config

    _pytest.config.get_config = get_config
