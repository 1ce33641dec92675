"""Submissions whose results are known beforehand."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.mesh import zip_of


@dataclass(frozen=True)
class Expected:
    """What a module must end with, on whichever node and at whichever attempt."""

    verdict: str
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Kind:
    """A test file. `seconds`: about how long it runs, beside the start of pytest."""

    source: str
    expected: Expected
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """A zip to submit; `expected` by project and module. `options` as in POST /evaluation."""

    archive: bytes
    expected: Mapping[tuple[str, str], Expected]
    options: Mapping[str, float] = field(default_factory=dict)

    @property
    def nota(self) -> float | None:
        """Of the evaluation: the mean of the projects' that have one."""
        projects: dict[str, list[Expected]] = {}
        for (project, _), module in self.expected.items():
            projects.setdefault(project, []).append(module)
        grades = []
        for modules in projects.values():
            passed = sum(module.passed for module in modules)
            counted = passed + sum(module.failed + module.errors for module in modules)
            grades += [20 * passed / counted] if counted else []
        return sum(grades) / len(grades) if grades else None


PASSING = Kind("def test_a():\n    pass\n\ndef test_b():\n    pass\n", Expected("passed", passed=2))
FAILING = Kind(
    "import pytest\n\ndef test_good():\n    pass\n\ndef test_bad():\n    assert 1 == 2\n\n"
    "@pytest.mark.skip\ndef test_skipped():\n    pass\n\n"
    "@pytest.fixture\ndef broken():\n    raise ValueError\n\ndef test_error(broken):\n    pass\n",
    Expected("failed", passed=1, failed=1, errors=1, skipped=1),
)
CRASHING = Kind(
    "import os\n\ndef test_good():\n    pass\n\ndef test_dies():\n    os._exit(3)\n\ndef test_never():\n    pass\n",
    Expected("crashed", passed=1, failed=2),
)
UNIMPORTABLE = Kind("import nothing_of_that_name\n\ndef test_a():\n    pass\n", Expected("collect_error", failed=1))
ENDLESS = Kind(  # with TIMEOUT_S
    "import time\n\ndef test_good():\n    pass\n\ndef test_waits():\n    time.sleep(600)\n",
    Expected("timeout", passed=1, failed=1),
    6.0,
)
TIMEOUT_S = 5.0


ENDLESS_POISON = Kind(  # with nodes that are killed wherever it runs
    "import time\n\ndef test_waits():\n    time.sleep(600)\n", Expected("crashed", failed=1), 600.0
)


def counting(lines: Path, seconds: float) -> Kind:
    """Adds a line to a file each time it is run; in no box, or it could not."""
    source = f"import time\n\ndef test_counts():\n    with open({str(lines)!r}, 'a') as file:\n"
    source += f"        file.write('run\\n')\n    time.sleep({seconds})\n"
    return Kind(source, Expected("passed", passed=1), seconds)


def sleeping(seconds: float) -> Kind:
    """Passes after that."""
    source = f"import time\n\ndef test_sleeps():\n    time.sleep({seconds})\n"
    return Kind(source, Expected("passed", passed=1), seconds)


def work(*kinds: Kind, projects: int = 1, ballast: int = 0) -> Work:
    """Each project has a module of each kind. `ballast`: bytes more in the zip that do not compress."""
    files: dict[str, str | bytes] = {}
    expected = {}
    for project in range(projects):
        for number, kind in enumerate(kinds):
            path = f"test_{number:02}.py"
            files[f"p{project:02}/{path}"] = kind.source
            expected[f"p{project:02}", path] = kind.expected
    if ballast:
        files["p00/ballast.bin"] = _noise(ballast)
    return Work(zip_of(files), expected, {"module_timeout_s": TIMEOUT_S} if ENDLESS in kinds else {})


def sleepers(count: int, seconds: float = 3.0) -> Work:
    """So many modules that pass after that: something to interrupt."""
    return work(sleeping(seconds), projects=count)


def mixed(projects: int = 2) -> Work:
    """All kinds, 0.2 to 4 s long."""
    kinds = (PASSING, FAILING, CRASHING, UNIMPORTABLE, sleeping(0.2), sleeping(1.0), sleeping(2.0), sleeping(4.0))
    return work(*kinds, projects=projects)


def _noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)
