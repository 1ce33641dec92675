"""Packages whose tests compute."""

import subprocess
import tarfile
from pathlib import Path

from bench.corpora.corpus import Corpus, write_files
from bench.reference import Outcome
from testmesh.testing.installers import find_uv

PACKAGES = ("attrs", "boltons", "click")
_SUM = "def test_sum():\n    assert sum(number % 7 for number in range({count})) > 0\n"


class NotAvailableError(Exception):
    """The packages cannot be had; the message says why."""


def download(folder: Path) -> Corpus:
    """The source distributions of real packages, by pip as it is configured on this machine.

    Raises:
        NotAvailableError: pip's own words.
    """
    uv = find_uv()
    if uv is None:
        raise NotAvailableError("uv is not installed; install requirements.txt")
    archives = folder.with_name(f"{folder.name}-archives")
    command = [str(uv), "tool", "run", "--from", "pip", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ",".join(PACKAGES), "--dest", str(archives), *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAvailableError((done.stderr.strip().splitlines() or ["pip download failed"])[-1])
    folder.mkdir(parents=True)
    for archive in sorted(archives.iterdir()):
        with tarfile.open(archive) as content:
            content.extractall(folder, filter="data")
    return Corpus("computing", folder)


def make_small(folder: Path) -> Corpus:
    """Two projects that need nothing but pytest, for a quick run."""
    known = {}
    for project in ("sums", "more-sums"):
        for number in range(3):
            module = f"tests/test_{number}.py"
            write_files(folder / project, {module: _SUM.format(count=100_000 * (number + 1)), "requirements.txt": ""})
            known[project, module] = Outcome(passed=1)
    return Corpus("computing", folder, known)
