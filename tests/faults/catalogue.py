"""All scenarios: those in the modules of tests/faults/scenarios/, by group."""

import importlib
from pathlib import Path

from tests.faults.model import GROUPS, Scenario


def all_scenarios() -> list[Scenario]:
    """In the order of GROUPS, and as they are written down."""
    found: list[Scenario] = []
    for path in sorted((Path(__file__).parent / "scenarios").glob("*.py")):
        module = importlib.import_module(f"tests.faults.scenarios.{path.stem}")
        found += [value for value in vars(module).values() if isinstance(value, Scenario)]
    names = [one.name for one in found]
    assert len(names) == len(set(names)), f"two scenarios have one name: {sorted(names)}"
    return sorted(found, key=lambda one: GROUPS.index(one.group))
