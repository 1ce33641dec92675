"""The reference: plain `python -m pytest MODULE`, in an environment and a folder that nothing else uses."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testmesh.testing.installers import find_uv
from testmesh.testing.package_index import machine_index

_SUMMARY = re.compile(r"^=+ (?P<counts>[^=]*?) in [\d.]+s.*=+$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected|warnings?|subtests passed)")
_NAMES = {"error": "errors", "errors": "errors", "xfailed": "skipped", "xpassed": "passed"}
_EXTRAS = ("test", "tests", "testing")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one module came to, as pytest's summary line says it. `end` is `ended` or `timeout`."""

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    end: str = "ended"

    def __str__(self) -> str:
        return "timeout" if self.end == "timeout" else f"{self.passed} / {self.failed} / {self.errors} / {self.skipped}"


def make_environment(project: Path, target: Path, more: Sequence[str] = ()) -> Path:
    """A virtual environment with what the project asks for, pytest and `more`, compiled; gives its python."""
    uv = find_uv()
    if uv is None:
        raise SystemExit("the reference needs uv; install requirements.txt")
    _run([str(uv), "venv", "--quiet", "--python", sys.executable, str(target)])
    python = target / "bin" / "python"
    wanted = ["pytest", *more]
    options: list[str] = ["--compile-bytecode"]
    if (project / "requirements.txt").is_file():
        options += ["-r", str(project / "requirements.txt")]
    elif (project / "pyproject.toml").is_file():
        document = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
        if "project" in document:
            extras = [name for name in _EXTRAS if name in document["project"].get("optional-dependencies", {})]
            copy = target / "source"
            shutil.copytree(project, copy)
            wanted.append(f"{copy}[{','.join(extras)}]" if extras else str(copy))
        for name in _EXTRAS:
            if name in document.get("dependency-groups", {}):
                options += ["--group", f"{project / 'pyproject.toml'}:{name}"]
    _run([str(uv), "pip", "install", "--quiet", "--python", str(python), *options, *wanted])
    return python


def run_module(python: Path, project: Path, module: str, timeout_s: float) -> Outcome:
    """One module by itself, in a fresh copy of the project."""
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / project.name
        shutil.copytree(project, code, symlinks=True)
        process = subprocess.Popen(
            [str(python), "-m", "pytest", module],
            cwd=code,
            env=plain_environ(python, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return Outcome(end="timeout")
        finally:
            _kill_group(process)
    return parse_summary(output)


def plain_environ(python: Path, home: str) -> dict[str, str]:
    """What plain pytest runs with: the environment's programs first, and nothing of this process's own variables."""
    return {
        "PATH": f"{python.parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": home,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def parse_summary(output: str) -> Outcome:
    """The counts of the last summary line; xfailed counts as skipped, xpassed as passed, as the contract says."""
    lines = _SUMMARY.findall(output)
    counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
    for number, word in _COUNT.findall(lines[-1] if lines else ""):
        name = _NAMES.get(word, word)
        if name in counts:
            counts[name] += int(number)
    return Outcome(counts["passed"], counts["failed"], counts["errors"], counts["skipped"])


def _kill_group(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _run(command: list[str]) -> None:
    environ = {**os.environ, **machine_index(os.environ).uv_environment()}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
