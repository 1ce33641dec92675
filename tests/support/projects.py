"""Small projects, the environment they run in, and what is left of their processes."""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from testmesh.model import Counts
from testmesh.testing.runner import RunRequest
from tests.support.boxes import reachable_python
from tests.support.once import made_once, shared_folder

PATIENCE_S = 90.0  # for what comes sooner or later, however busy the machine is
PYTEST_PARTS = ("pytest", "_pytest", "py.py", "pluggy", "iniconfig", "packaging", "pygments")
_COUNTED = {"passed": "passed", "xpassed": "passed", "failed": "failed", "error": "errors", "errors": "errors"} | {
    "skipped": "skipped",
    "xfailed": "skipped",
}


def write_project(folder: Path, files: Mapping[str, str]) -> Path:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(content))
    return folder


def bare_environment(folder: Path) -> Path:
    """An environment with pytest and nothing else (neither testmesh nor a pytest plugin), compiled: its python.

    It is the test's own, to do with as it likes: a copy, since compiling takes seconds.
    """
    shared = shared_folder()
    assert shared is not None, "tests/conftest.py makes it"
    # With the times of the files, by which Python knows that bytecode is fresh.
    shutil.copytree(made_once(shared, "bare", _make_bare), folder, symlinks=True)
    return folder / "bin" / "python"


def _make_bare(folder: Path) -> None:
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    base = reachable_python()
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    for name in ("python", "python3"):
        (folder / "bin" / name).symlink_to(base)
    ours = Path(sysconfig.get_path("purelib"))
    for name in PYTEST_PARTS:
        for found in (ours / name, *ours.glob(f"{name}-*.dist-info")):
            (shutil.copytree if found.is_dir() else shutil.copy)(found, site / found.name)
    compileall.compile_dir(site, quiet=2)


def request_for(python: Path, project: Path, module: str = "test_it.py", timeout_s: float = 60.0) -> RunRequest:
    return RunRequest(code=project, module=module, python=python, bin_dir=python.parent, timeout_s=timeout_s)


def summary_line(python: Path, project: Path, module: str = "test_it.py") -> Counts:
    """What plain `python -m pytest MODULE` counts, read off the last line that it prints."""
    plain = subprocess.run(
        [python, "-m", "pytest", module],
        cwd=project,
        env={"PATH": f"{python.parent}:{os.defpath}", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    counts: dict[str, int] = {}
    for number, word in re.findall(r"(\d+) (\w+)", plain.stdout.strip().splitlines()[-1].rpartition(" in ")[0]):
        if word in _COUNTED:
            counts[_COUNTED[word]] = counts.get(_COUNTED[word], 0) + int(number)
    return Counts(**counts)


def processes_with(marker: str) -> list[int]:
    """Ids of living processes whose command line has the marker."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line, state = (process / "cmdline").read_bytes(), (process / "stat").read_bytes()
        except OSError:
            continue
        if marker.encode() in line and int(process.name) != os.getpid() and b") Z" not in state:
            found.append(int(process.name))
    return found


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)
