"""The last steps of a new environment: is pytest there, and everything compiled that its tests would have to compile.

All of it runs foreign code (what is installed may run whenever Python starts), so it is boxed.
"""

import os
import re
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.environment_key import Interpreter
from testmesh.testing.environment_seal import restore_python
from testmesh.testing.environment_shelf import discard
from testmesh.testing.install_failures import installer_words
from testmesh.testing.installers import InstallTimeoutError, python_of
from testmesh.testing.run_command import Completed, RunCommand

_TIMEOUT_S = 60.0
_COMPILE_TIMEOUT_S = 120.0
_MAX_ENTRY_POINTS = 64 * 1024  # bytes that are looked at
_DIST_INFO = re.compile(r"pytest-([0-9][0-9A-Za-z.+]{0,39})\.dist-info")
_CHECK = "import importlib.metadata as m, pytest; print(m.version('pytest'))"
# Packages ship their own tests, a third of pandas: nobody imports those. It lets everything else go first.
_COMPILE = (
    "-S",
    "-c",
    """
import compileall, os, sys
os.nice(10)
try:
    with open("/proc/self/autogroup", "w") as group: group.write("15")
except OSError: pass
sys.exit(not compileall.main())
""",
    *("-q", "-x", "site-packages/.*/tests/"),
)
_FIRST = ("_pytest", "pytest", "pluggy", "iniconfig", "packaging", "pygments")  # every module needs these
# What plugins bring is compiled once more as pytest rewrites it, when pytest first loads them.
_LOAD_PLUGINS = ("-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider")


class EnvironmentCheck:
    """Completes an environment in a folder of its own; `readable` is what a box must show for its `interpreter`."""

    def __init__(
        self,
        run: RunCommand,
        environment: Path,
        interpreter: Interpreter,
        readable: Sequence[Path],
        cancellation: Cancellation | None,
    ) -> None:
        self._run = run
        self._environment = environment
        self._interpreter = interpreter
        self._readable = readable
        self._cancellation = cancellation

    def pytest(self, timeout_s: float) -> str:
        """The version of pytest. Where it looks as every installation does, nothing is run to know it.

        That it cannot be imported all the same is then found by the first module, as the fault of the environment.

        Raises:
            EnvironmentFailedError: pytest cannot be imported; a requirement may have put something in its place.
            InstallTimeoutError: nothing is left of `timeout_s`.
            InfrastructureError, CancelledError: as `RunCommand`.
        """
        stated = self._stated_version()
        if stated:
            return stated
        done = self._python_runs(("-c", _CHECK), self._folder(), min(_TIMEOUT_S, timeout_s))
        if done.timed_out and timeout_s < _TIMEOUT_S:
            raise InstallTimeoutError(timeout_s)
        return self._version(done)

    def compile(self, timeout_s: float) -> None:
        """Write all bytecode, since no test can write any, within `timeout_s`.

        It saves each module 0.2 s (pytest) to 1.3 s (pandas); that some is missing does no other harm.

        Raises:
            EnvironmentFailedError, InfrastructureError, CancelledError: as `RunCommand`.
        """
        end = time.monotonic() + timeout_s
        folder, lib = self._folder(), self._environment / "lib"
        first = [str(self._site / name) for name in _FIRST if (self._site / name).is_dir()]
        steps: list[tuple[Sequence[str], float]] = [((*_COMPILE, *first, str(lib)), _COMPILE_TIMEOUT_S)]
        if self._has_plugins():
            own = ("-c", str(folder / "pytest.ini"), "--rootdir", str(folder), str(folder / "empty"))
            steps.append(((*_LOAD_PLUGINS, *own), _TIMEOUT_S))
        for arguments, at_most in steps:
            left = end - time.monotonic()
            if left > 0:
                self._python_runs(arguments, folder, min(at_most, left))

    @property
    def _site(self) -> Path:
        major, minor = self._interpreter.version.split(".")[:2]
        return self._environment / "lib" / f"python{major}.{minor}" / "site-packages"

    def _folder(self) -> Path:
        """New each time: what foreign code may have left in it is not written through."""
        folder = self._environment.parent / "check"
        discard(folder)
        (folder / "empty").mkdir(parents=True)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "empty" / "test_nothing.py").write_text("", encoding="utf-8")
        return folder

    def _stated_version(self) -> str:
        there = all((self._site / name / "__init__.py").is_file() for name in ("_pytest", "pytest", "pluggy"))
        found = [_DIST_INFO.fullmatch(folder.name) for folder in self._site.glob("pytest-*.dist-info")]
        versions = [match[1] for match in found if match]
        return versions[0] if there and len(versions) == 1 else ""

    def _has_plugins(self) -> bool:
        """Whether pytest loads anything at its start, as what is installed says."""
        return any(
            b"pytest11" in _read_plain(folder / "entry_points.txt")
            for folder in self._site.glob("*.dist-info")
            if not folder.is_symlink()
        )

    def _version(self, done: Completed) -> str:
        if done.returncode or done.timed_out:
            words = (
                installer_words(done.output, (f"{self._environment.parent}/",))
                or f"it ended with status {done.returncode}"
            )
            raise EnvironmentFailedError(f"pytest cannot be imported once the requirements are installed: {words}")
        lines = (line.strip() for line in done.output.splitlines())  # what is installed may print more at its start
        return next((line[:40] for line in lines if line[:1].isdigit()), "")

    def _python_runs(self, arguments: Sequence[str], folder: Path, timeout_s: float) -> Completed:
        restore_python(self._environment, self._interpreter)  # the build, or the step before, may have spoiled it
        env: Mapping[str, str] = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONUTF8": "1"}
        return self._run(
            [str(python_of(self._environment)), "-I", *arguments],
            env,
            folder,
            timeout_s,
            writable=(self._environment / "lib", folder),
            readable=(*self._readable, self._environment),
            foreign=True,
            cancellation=self._cancellation,
        )


def _read_plain(file: Path) -> bytes:
    """The beginning of a file; b"" of what is none. Foreign code made it: not through a link, and never waiting."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(_MAX_ENTRY_POINTS) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
