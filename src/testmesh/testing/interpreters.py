"""The Pythons of this machine that environments can be made of, and which of them a project gets."""

import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.environment_key import Interpreter

_OLDEST = 8  # Python 3.8: the oldest that the pytest plugin runs on
_NAME = re.compile(r"python3\.([0-9]{1,2})")
_ASK = (
    "import json, platform, sys, sysconfig as s; print(json.dumps([sys.executable, platform.python_version(),"
    " sys.implementation.name, s.get_platform(), sys.base_prefix]))"
)
_ASK_TIMEOUT_S = 20.0
_ASKED_AT_ONCE = 4


class Interpreters:
    """Those to choose from, best first. Safe from any thread."""

    def __init__(self, first: Sequence[Interpreter], others: Callable[[], Sequence[Interpreter]] = tuple) -> None:
        """`others` come after `first` and are looked for when none of those will do: asking each takes a moment."""
        self._first = tuple(first)
        self._others = others
        self._found: tuple[Interpreter, ...] | None = None
        self._lock = threading.Lock()

    def choose(self, requires_python: str) -> Interpreter:
        """The first that satisfies a version specifier ("" for any).

        Raises:
            EnvironmentFailedError: none does; names those that are there.
        """
        wanted = SpecifierSet(requires_python)
        fitting = _fitting(self._first, wanted) or _fitting(self._all(), wanted)
        if fitting is not None:
            return fitting
        there = ", ".join(interpreter.version for interpreter in self._all())
        raise EnvironmentFailedError(f"requires-python is {requires_python}, but this node has {there}")

    def _all(self) -> tuple[Interpreter, ...]:
        with self._lock:
            if self._found is None:
                self._found = (*self._first, *(other for other in self._others() if other not in self._first))
            return self._found


def _fitting(interpreters: Iterable[Interpreter], wanted: SpecifierSet) -> Interpreter | None:
    return next((each for each in interpreters if wanted.contains(each.version, prereleases=True)), None)


def machine_interpreters(path: str, uv: Path | None) -> Interpreters:
    """The one that runs this process, and behind it whatever else `discover` finds."""
    return Interpreters((running_interpreter(),), lambda: discover(path, uv))


def running_interpreter() -> Interpreter:
    """The one that runs this process; where that is a virtual environment, the one it was made of."""
    version = platform.python_version()
    return Interpreter(
        path=_base(Path(sys.executable), sys.base_prefix, version),
        version=version,
        implementation=sys.implementation.name,
        platform=sysconfig.get_platform(),
        prefix=sys.base_prefix,
    )


def discover(path: str, uv: Path | None = None) -> tuple[Interpreter, ...]:
    """CPython 3.8 and newer: the one that runs this process, then the newest first, each asked what it is.

    Looks for `python3.X` in the folders of `path` (as PATH has them) and among what `uv`, where given, has installed.
    """
    running = running_interpreter()
    candidates = {_identity(file): file for file in (*_on_path(path), *_of_uv(uv))}
    candidates.pop(_identity(running.path), None)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        asked = [found for found in pool.map(_ask, candidates.values()) if found is not None]
    found = {interpreter.path.resolve(): interpreter for interpreter in asked}
    found.pop(running.path.resolve(), None)
    newest = sorted(found.values(), key=lambda each: (Version(each.version), str(each.path)), reverse=True)
    return running, *newest


def _on_path(path: str) -> Iterable[Path]:
    for folder in filter(os.path.isabs, path.split(os.pathsep)):
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            match = _NAME.fullmatch(name)
            if match and int(match[1]) >= _OLDEST and os.access(f"{folder}/{name}", os.X_OK):
                yield Path(folder, name)


def _of_uv(uv: Path | None) -> Iterable[Path]:
    if uv is None:
        return
    argv = [str(uv), "python", "list", "--no-config", "--offline", "--only-installed", "--managed-python"]
    # Without a PATH, or uv asks every Python on it too, which we do ourselves.
    listed = _output([*argv, "--output-format", "json"], os.environ | {"PATH": os.devnull})
    try:
        entries = json.loads(listed)
    except ValueError:
        return
    yield from (Path(entry["path"]) for entry in entries if os.access(entry["path"], os.X_OK))


def _identity(executable: Path) -> Path:
    """Links to one Python are one; but names that all lead to one program, which starts one or another, are many."""
    resolved = executable.resolve()
    return resolved if _NAME.fullmatch(resolved.name) else executable


def _ask(executable: Path) -> Interpreter | None:
    """None where it does not start, is too old, or is no CPython."""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    output = _output([str(executable), "-I", "-S", "-c", _ASK], env)
    try:
        started, version, implementation, its_platform, prefix = map(str, json.loads(output))
        parsed = Version(version)
    except (ValueError, TypeError, InvalidVersion):
        return None
    if implementation != "cpython" or parsed.release[:2] < (3, _OLDEST) or not started:
        return None
    return Interpreter(_base(Path(started), prefix, version), version, implementation, its_platform, prefix)


def _base(executable: Path, prefix: str, version: str) -> Path:
    """The interpreter in its own installation, also where `executable` is that of a virtual environment."""
    major, minor = version.split(".")[:2]
    own = Path(prefix) / "bin" / f"python{major}.{minor}"
    return own if os.access(own, os.X_OK) else executable.resolve()


def _output(argv: Sequence[str], env: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
