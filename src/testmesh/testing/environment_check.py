"""The last steps of a new environment: is pytest there, and everything compiled that its tests would have to compile.

All of it runs foreign code (what is installed may run whenever Python starts), so it is boxed.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.environment_key import Interpreter
from testmesh.testing.environment_seal import restore_python
from testmesh.testing.install_failures import installer_words
from testmesh.testing.installers import InstallTimeoutError, python_of
from testmesh.testing.run_command import Completed, RunCommand

_TIMEOUT_S = 60.0
_COMPILE_TIMEOUT_S = 120.0
_CHECK = "import importlib.metadata as m, pytest; print(m.version('pytest'))"
# Packages ship their own tests, a third of pandas: nobody imports those.
_COMPILE = ("-S", "-m", "compileall", "-q", "-x", "site-packages/.*/tests/")
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

    def complete(self, timeout_s: float) -> str:
        """Write all bytecode, since no test can write any, and give the version of pytest.

        Bytecode saves each module 0.2 s (pytest) to 1.3 s (pandas); that some is missing does no other harm, so it gets
        what is left of `timeout_s`.

        Raises:
            EnvironmentFailedError: pytest cannot be imported; a requirement may have put something in its place.
            InstallTimeoutError: nothing is left of `timeout_s`.
            InfrastructureError, CancelledError: as `RunCommand`.
        """
        end = time.monotonic() + timeout_s
        folder = self._environment.parent / "check"
        (folder / "empty").mkdir(parents=True)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "empty" / "test_nothing.py").write_text("", encoding="utf-8")
        done = self._python_runs(("-c", _CHECK), folder, min(_TIMEOUT_S, timeout_s))
        if done.timed_out and timeout_s < _TIMEOUT_S:
            raise InstallTimeoutError(timeout_s)
        version = self._version(done)
        own = ("-c", str(folder / "pytest.ini"), "--rootdir", str(folder), str(folder / "empty"))
        for arguments, at_most in (
            ((*_COMPILE, str(self._environment / "lib")), _COMPILE_TIMEOUT_S),
            ((*_LOAD_PLUGINS, *own), _TIMEOUT_S),
        ):
            left = end - time.monotonic()
            if left > 0:
                self._python_runs(arguments, folder, min(at_most, left))
        return version

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
            writable=(self._environment, folder),
            readable=self._readable,
            foreign=True,
            cancellation=self._cancellation,
        )
