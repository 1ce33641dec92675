"""The last steps of a new environment: is pytest there, and everything compiled that its tests would have to compile.

All of it runs foreign code (what is installed may run whenever Python starts), so it is boxed.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from testmesh.errors import EnvironmentFailedError
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.install_failures import installer_words
from testmesh.testing.run_command import Completed, RunCommand

_TIMEOUT_S = 60.0
_COMPILE_TIMEOUT_S = 120.0
_CHECK = "import importlib.metadata as m, pytest; print(m.version('pytest'))"
# Packages ship their own tests, a third of pandas: nobody imports those.
_COMPILE = ("-S", "-m", "compileall", "-q", "-x", "site-packages/.*/tests/")
# What plugins bring is compiled once more as pytest rewrites it, when pytest first loads them.
_LOAD_PLUGINS = ("-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider")


class EnvironmentCheck:
    """Completes the environment of `python`; `attempt` is the folder that holds it, `readable` its interpreter's."""

    def __init__(
        self,
        run: RunCommand,
        python: Path,
        attempt: Path,
        readable: Sequence[Path],
        cancellation: Cancellation | None,
    ) -> None:
        self._run = run
        self._python = python
        self._attempt = attempt
        self._readable = readable
        self._cancellation = cancellation

    def complete(self) -> str:
        """Write all bytecode, since no test can write any, and give the version of pytest.

        Bytecode saves each module 0.2 s (pytest) to 1.3 s (pandas); that some is missing does no other harm.

        Raises:
            EnvironmentFailedError: pytest cannot be imported; a requirement may have put something in its place.
            InfrastructureError, CancelledError: as `RunCommand`.
        """
        folder = self._attempt / "check"
        (folder / "empty").mkdir(parents=True)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "empty" / "test_nothing.py").write_text("", encoding="utf-8")
        self._python_runs((*_COMPILE, str(self._python.parents[1] / "lib")), folder, _COMPILE_TIMEOUT_S)
        version = self._version(self._python_runs(("-c", _CHECK), folder, _TIMEOUT_S))
        own = ("-c", str(folder / "pytest.ini"), "--rootdir", str(folder), str(folder / "empty"))
        self._python_runs((*_LOAD_PLUGINS, *own), folder, _TIMEOUT_S)
        return version

    def _version(self, done: Completed) -> str:
        if done.returncode or done.timed_out:
            words = installer_words(done.output, (f"{self._attempt}/",)) or f"it ended with status {done.returncode}"
            raise EnvironmentFailedError(f"pytest cannot be imported once the requirements are installed: {words}")
        return done.output.strip().splitlines()[-1][:40] if done.output.strip() else ""

    def _python_runs(self, arguments: Sequence[str], folder: Path, timeout_s: float) -> Completed:
        env: Mapping[str, str] = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONUTF8": "1"}
        return self._run(
            [str(self._python), "-I", *arguments],
            env,
            folder,
            timeout_s,
            writable=(self._python.parents[1], folder),
            readable=self._readable,
            foreign=True,
            cancellation=self._cancellation,
        )
