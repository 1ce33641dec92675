"""The short scenarios. All: `python -m tests.faults`."""

import sys
from pathlib import Path

import pytest

from tests.faults.catalogue import all_scenarios
from tests.faults.model import Need, Scenario
from tests.faults.report import line
from tests.faults.run import run_scenario, what_is_missing
from tests.support.mesh import shared_environment

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]
SEED = 20261121


@pytest.fixture(scope="module")
def missing() -> dict[Need, str]:
    return what_is_missing()


@pytest.mark.parametrize("scenario", [one for one in all_scenarios() if one.is_short], ids=lambda one: one.name)
def test_all_invariants_hold(scenario: Scenario, missing: dict[Need, str], tmp_path: Path) -> None:
    built = shared_environment()
    assert built is not None, "tests/conftest.py makes the folder"
    place = tmp_path / "nodes"
    place.mkdir()
    record = run_scenario(scenario, place, built, SEED, missing)
    if record.skipped:
        pytest.skip(record.skipped)
    sys.stdout.write(line(record))
    if not record.held:
        for log in sorted(place.glob("*/*.log")):
            sys.stderr.write(f"--- {log.relative_to(place)}\n{log.read_text(errors='replace')[-6000:]}\n")
    assert not record.broken
