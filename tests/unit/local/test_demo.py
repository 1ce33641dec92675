import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testmesh.local.demo import differences
from tests.support.checkout import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
EXPECTED: dict[str, Any] = json.loads((EXAMPLES / "expected.json").read_text())


def as_graded() -> dict[str, Any]:
    """A document in which every grade is as expected."""
    return {
        "projects": {name: {"nota": grade["nota"], "%passed": grade["%passed"]} for name, grade in EXPECTED.items()},
        "module_results": {name: copy.deepcopy(grade["modules"]) for name, grade in EXPECTED.items()},
    }


def test_what_is_as_expected_has_no_difference() -> None:
    assert differences(as_graded(), EXPECTED) == []


def test_every_kind_of_difference_is_told() -> None:
    document = as_graded()
    document["projects"]["echo-server"]["nota"] = 0.0
    document["module_results"]["chord-ring"]["test_chord.py"]["skipped"] = 1
    del document["module_results"]["map-reduce"]["tests/test_word_count.py"]
    del document["projects"]["vector-clock"]
    document["projects"]["surprise"] = {}
    told = "\n".join(differences(document, EXPECTED))
    for words in (
        "echo-server: nota is 0.0, expected 20.0",
        "chord-ring test_chord.py: ",
        "map-reduce tests/test_word_count.py: ",
        "vector-clock: not graded",
        "surprise: not expected",
    ):
        assert words in told
    assert len(told.splitlines()) == 5


def test_every_example_has_its_expected_grade() -> None:
    folders = {path.name: path for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders.keys() == EXPECTED.keys()
    for name, folder in folders.items():
        modules = {path.relative_to(folder).as_posix() for path in folder.rglob("test_*.py")}
        assert modules == EXPECTED[name]["modules"].keys(), name


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_expected_grades_follow_from_the_counts(name: str) -> None:
    modules = EXPECTED[name]["modules"].values()
    passed = sum(module["passed"] for module in modules)
    failed = sum(module["failed"] + module["errors"] for module in modules)
    assert EXPECTED[name]["%passed"] == round(100 * passed / (passed + failed), 2)
    assert EXPECTED[name]["nota"] == round(20 * passed / (passed + failed), 2)


@pytest.mark.parametrize(
    ("project", "module"),
    [
        ("chord-ring", "test_chord.py"),
        ("load-balancer", "tests/test_least.py"),
        ("leader-election", "tests/test_bully.py"),
    ],
)
def test_expected_counts_are_pytest_s_own(tmp_path: Path, project: str, module: str) -> None:
    """Of those that need no port and no requirement; the others were counted by hand in the same way."""
    folder = shutil.copytree(EXAMPLES / project, tmp_path / project)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", module]
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the suite's own are slow to import
    output = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False).stdout
    said = {word: int(count) for count, word in re.findall(r"(\d+) ([a-z]+)", output.splitlines()[-1])}
    assert {key: EXPECTED[project]["modules"][module][key] for key in ("passed", "failed", "errors", "skipped")} == {
        "passed": said.get("passed", 0) + said.get("xpassed", 0),
        "failed": said.get("failed", 0),
        "errors": said.get("error", 0) + said.get("errors", 0),
        "skipped": said.get("skipped", 0) + said.get("xfailed", 0),
    }
