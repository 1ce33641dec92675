"""A launcher that has imported pytest: a run's tests are a fork of it instead of a new interpreter.

That spares each module most of what `python -m pytest` computes before the first test. It runs on the interpreter of
the environments that it serves, with a pytest of its own that is byte by byte theirs (see warm_parents.py), and nothing
of any project or environment is imported before the fork: it is as trusted as the node, so that boxes are made by the
same code and with the same rights as those of the launcher, and nothing of one run can be left in it for the next.

After the fork and its confinement a process takes the steps of a new interpreter that `ENVIRONMENT/bin/python` starts:
prefixes, path, `.pth` files, sitecustomize, variables, signals.
"""

from __future__ import annotations

import atexit
import importlib
import linecache
import os
import shutil
import signal
import site
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from testmesh.testing import pytest_plugin, warm_config, warm_fixtures

_LOADED_BY_COLD = frozenset(sys.modules)  # a new interpreter has these too once it has imported the plugin

from testmesh.testing import launcher  # noqa: E402
from testmesh.testing.confinement import Unwinding  # noqa: E402

_LOADED_FOR_BOXES = frozenset(sys.modules) - _LOADED_BY_COLD
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_OWN = "testmesh"
_SAMPLE = """
import pytest

@pytest.fixture
def number():
    yield 1

@pytest.mark.parametrize("other", [1])
def test_that_passes(number, other, capsys, monkeypatch, tmp_path):
    assert number == other

class TestThat:
    def test_that_fails(self):
        assert [1] == [2]
"""
_PASSED_AND_FAILED = 1
_CANNOT_FLUSH = 120  # an interpreter's status then


def main(loaded_at_start: frozenset[str], source: str) -> Tests:
    """Warm up, say so with one byte, and serve. `source`: the folder of the path that testmesh came from.

    Returns in the process of a run's tests only, in its box.

    Raises:
        SystemExit: in the launcher, at its end.
    """
    sys.path.remove(source)
    known = warm_fixtures.KnownFixtures()
    with known:
        _warm_up()
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        sys.exit(1)  # a fork of several threads is not safe
    warm_config.prepare()
    known.prepare()
    site_packages = [folder for folder in sys.path if folder.startswith(sys.prefix + os.sep)]
    try:
        os.write(0, b"r")
    except OSError:  # the node has ended meanwhile
        sys.exit(1)
    tests = Tests(loaded_at_start, site_packages)
    try:
        sys.exit(launcher.main(_unwind))
    except Unwinding as unwinding:
        argv, env = unwinding.argv, unwinding.env
    tests.begin(argv, env)
    return tests


def _unwind(argv: list[str], env: dict[str, str]) -> NoReturn:
    raise Unwinding(argv, env)


def _warm_up() -> None:
    """Run a session, so that all that pytest imports on its way is there; what it left is taken back."""
    folder = tempfile.mkdtemp()
    path, environ, modules, cwd = sys.path[:], dict(os.environ), set(sys.modules), Path.cwd()
    try:
        os.makedirs(f"{folder}/tests/more")  # noqa: PTH103 - as little as possible
        for name in ("test_sample", "test_other"):
            with open(f"{folder}/tests/{name}.py", "w", encoding="utf-8") as file:  # noqa: PTH123
                file.write(_SAMPLE)
        os.chdir(folder)
        # Else pytest would look for a conftest.py in every folder above, which others may write to.
        nothing_else = ["-c", os.devnull, f"--rootdir={folder}", f"--confcutdir={folder}", "--noconftest"]
        arguments = [*nothing_else, "-p", "no:cacheprovider", f"--basetemp={folder}/base"]
        status = int(
            pytest.main(
                [*arguments, "tests/test_sample.py"], plugins=[pytest_plugin.StreamPlugin(lambda *_, **__: None)]
            )
        )
        if status != _PASSED_AND_FAILED:
            raise RuntimeError(f"the sample ended with status {status}")
    finally:
        os.chdir(cwd)
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environ)
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        if hasattr(sys, name):
            delattr(sys, name)
    linecache.clearcache()
    tempfile.tempdir = None
    _forget_folders()


class Tests:
    """What the process of a run's tests becomes, in its box: `end(run(*arguments))`."""

    run = staticmethod(pytest_plugin.run)

    def __init__(self, loaded_at_start: frozenset[str], site_packages: list[str]) -> None:
        self._loaded_at_start = loaded_at_start
        self._spec = pytest_plugin.main_spec()
        self._loaded, self._hidden = len(sys.modules), _own_modules()
        self._kept: list[object] = []  # nothing is to be freed, which would take memory that is shared so far
        self._site_packages = site_packages
        self.arguments: tuple[Any, ...] = ()

    def begin(self, argv: list[str], env: dict[str, str]) -> None:
        """`argv`: the environment's python, the plugin's file, the descriptor of the request."""
        request = pytest_plugin.read_request(int(argv[2]))
        _close_all_but(request["events"])
        os.environ.clear()
        os.environ.update(env)
        time.tzset()
        _set_signals()
        self._enter_environment(argv[0])
        self._hide_own()
        self.arguments = (request, self._loaded_at_start, self._spec)

    def _hide_own(self) -> None:
        self._kept.append(sys.modules["__main__"])  # its globals are in use until the end
        hidden = self._hidden if len(sys.modules) == self._loaded else _own_modules()
        self._kept += [sys.modules.pop(name, None) for name in hidden]

    def _enter_environment(self, python: str) -> None:
        prefix = str(Path(python).parent.parent)
        folders = [prefix + folder[len(sys.prefix) :] for folder in self._site_packages]
        sys.path[:] = [folder for folder in sys.path if folder not in self._site_packages]
        sys.prefix = sys.exec_prefix = prefix
        sys.executable = python
        if hasattr(sys, "orig_argv"):
            sys.orig_argv[:] = [python]
        site.PREFIXES[:] = [prefix]
        _forget_folders()
        for folder in folders:
            site.addsitedir(folder)
        sys.modules.pop("sitecustomize", None)  # the machine's, of which a box may show nothing
        site.execsitecustomize()

    def status_of(self, error: BaseException) -> int:
        """What the process ends with where `run` raised `error`."""
        if isinstance(error, SystemExit):
            return _status(error.code)
        sys.excepthook(type(error), error, error.__traceback__)  # as an interpreter at its top
        return 1

    def end(self, status: int) -> NoReturn:
        _end(status)


def _own_modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == _OWN or name in _LOADED_FOR_BOXES]


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _end(
    status: int,
    wait_for_threads: Callable[[], None] = threading._shutdown,  # type: ignore[attr-defined]
    run_exit_functions: Callable[[], None] = atexit._run_exitfuncs,
    leave: Callable[[int], NoReturn] = os._exit,
    kill: Callable[[int, int], None] = os.kill,
) -> NoReturn:
    """What an interpreter does at its end, but for finalizers; by functions that no test has replaced."""
    for step in (wait_for_threads, run_exit_functions):
        with suppress(BaseException):
            step()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001 - as an interpreter
            status = _CANNOT_FLUSH
    leave(status)
    kill(0, signal.SIGKILL)  # not reached
    raise SystemError


def _set_signals() -> None:
    """As an interpreter has them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)


def _close_all_but(kept: int) -> None:
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _forget_folders() -> None:
    """What was listed of folders before."""
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
