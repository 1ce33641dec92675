"""What pytest reports of each file is read as its summary line is."""

import subprocess
import sys
from pathlib import Path

from bench.corpora.corpus import write_files
from bench.reference import Outcome, parse_summary
from bench.systems.plain import REPORTING, outcomes_in

OF_ALL_KINDS = """import pytest

def test_passes(): pass
def test_fails(): assert False
def test_skips(): pytest.skip("today")

@pytest.mark.xfail
def test_fails_as_expected(): assert False

@pytest.fixture
def broken(): raise RuntimeError

def test_errs(broken): pass
"""


def pytest_in(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_the_report_of_several_files_says_of_each_what_its_own_summary_does(tmp_path: Path) -> None:
    files = {"tests/test_all.py": OF_ALL_KINDS, "tests/test_one.py": "def test_it(): pass\n"}
    write_files(tmp_path, {**files, "tests/test_broken.py": "import not_there\n", "pytest.ini": "[pytest]\n"})
    pytest_in(tmp_path, *REPORTING, "--junitxml=report.xml")
    found = outcomes_in((tmp_path / "report.xml").read_text())
    assert found == {
        "tests/test_all.py": Outcome(passed=1, failed=1, errors=1, skipped=2),
        "tests/test_one.py": Outcome(passed=1),
        "tests/test_broken.py": Outcome(errors=1),
    }
    assert parse_summary(pytest_in(tmp_path, "tests/test_all.py")) == found["tests/test_all.py"]
