"""The name of an environment: everything that decides what is in it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from testmesh.testing.project_files import tree_digest
from testmesh.testing.requirements import RequirementSet

_LAYOUT = 3  # raised when environments are built in another way, so that old ones are not used


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that environments can be made of. `version` as in `3.11.7`; `path` is of no virtual environment."""

    path: Path
    version: str
    implementation: str
    platform: str
    prefix: str  # of the installation


def environment_key(
    project: Path, requirements: RequirementSet, interpreter: Interpreter, installer: str, *, trusted: bool = False
) -> str:
    """32 hexadecimal digits. Reads the project's files only where one of its paths is installed.

    `trusted`: no foreign code took part in its making; so it is another one than that of an equal project.
    """
    described: dict[str, object] = {
        "layout": _LAYOUT,
        "installer": installer,
        "python": [interpreter.version, interpreter.implementation, interpreter.platform, interpreter.prefix],
        "lines": requirements.lines,
        "constraints": requirements.constraints,
        "paths": [
            [path.path if path.is_archive else "", path.extras, path.marker, tree_digest(project / path.path)]
            for path in requirements.paths
        ],
    }
    if trusted:
        described["trusted"] = True
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]
