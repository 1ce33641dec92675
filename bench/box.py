"""What a box costs: a trivial module in it against plain `python -m pytest`, in turns, for every level that is here.

    python -m bench.box [--runs 40]

Both use the same environment (pytest alone, precompiled) and write no bytecode. Each pair is one run of each, in random
order; the table has the medians and the median of the pairs' ratios.
"""

import argparse
import compileall
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from testmesh.testing.boxes import open_boxes
from testmesh.testing.installers import find_uv
from testmesh.testing.runner import ModuleRunner, RunRequest

_MODULE = "def test_nothing():\n    assert True\n"
_LEVELS = ("full", "portable", "none")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=40)
    runs: int = parser.parse_args().runs
    folder = Path(tempfile.mkdtemp(prefix="testmesh-bench-"))
    folder.chmod(0o755)
    try:
        python = _environment(folder / "env")
        project = folder / "project"
        project.mkdir()
        (project / "test_it.py").write_text(_MODULE)
        sys.stdout.write("| level | plain, ms | in the box, ms | ratio |\n| --- | --- | --- | --- |\n")
        for level in _LEVELS:
            sys.stdout.write(_measure(level, folder, python, project, runs))
            sys.stdout.flush()
    finally:
        shutil.rmtree(folder)
    return 0


def _environment(target: Path) -> Path:
    uv = find_uv()
    if uv is None:
        raise SystemExit("this bench needs uv; install requirements.txt")
    subprocess.run([uv, "venv", "--quiet", "--python", _reachable_python(), target], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", target / "bin" / "python", "pytest"], check=True)
    compileall.compile_dir(target, quiet=2)
    return target / "bin" / "python"


def _reachable_python() -> Path:
    """An interpreter that every user may run, as the boxes of a root node at level portable need one."""
    own = Path(sys.executable).resolve()
    if all(folder.stat().st_mode & 0o001 for folder in own.parents):
        return own
    other = Path(f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}")
    return other if other.exists() else own


def _measure(level: str, folder: Path, python: Path, project: Path, runs: int) -> str:
    boxes = open_boxes(folder / level, level, python=python)
    if boxes.level.sandbox != level:
        boxes.close()
        return f"| {level} | | | not here: {boxes.level.cause} |\n"
    runner = ModuleRunner(folder / level, boxes, folder / "locks")
    request = RunRequest(project, "test_it.py", python, python.parent, 60.0)
    env = {"PATH": f"{python.parent}:{os.defpath}", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}

    def plain() -> None:
        subprocess.run([python, "-m", "pytest", "test_it.py"], cwd=project, env=env, capture_output=True, check=True)

    def boxed() -> None:
        report = runner.run(request)
        if report.counts.passed != 1:
            raise SystemExit(f"the module did not pass in a box: {report}")

    pairs = [_pair(plain, boxed) for _ in range(runs + 2)][2:]
    boxes.close()
    ratio = statistics.median(box / alone for alone, box in pairs)
    alone, box = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
    return f"| {level} | {alone:.0f} | {box:.0f} | {ratio:.3f} |\n"


def _pair(plain: Callable[[], None], boxed: Callable[[], None]) -> tuple[float, float]:
    times = {}
    for run in random.sample((plain, boxed), 2):
        begun = time.perf_counter()
        run()
        times[run] = time.perf_counter() - begun
    return times[plain], times[boxed]


if __name__ == "__main__":
    sys.exit(main())
