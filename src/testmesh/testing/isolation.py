"""Which isolation this machine gives a run, found by really trying it once."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_TRY_S = 30.0

# Without site and its folders an interpreter starts in a third of the time; as a module the launcher is compiled once.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from testmesh.testing.launcher import main; sys.exit(main())"
LAUNCHER = (sys.executable, "-I", "-S", "-c", _START, str(Path(__file__).parents[2]))
LAUNCHER_ENV = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}  # nothing of the node's: tests can read it


@dataclass(frozen=True, slots=True)
class IsolationLevel:
    """`loopback`: whether every module has one of its own. `cause`: why there is no better, or ""."""

    loopback: Literal["private", "shared"]
    sandbox: Literal["full", "portable", "none"]
    cause: str
    user_namespace: bool = False  # the launcher needs one
    fresh_proc: bool = False  # the launcher can mount a /proc


def probe() -> IsolationLevel:
    """Takes some 50 ms; call it once, at the start of the node."""
    try:
        tried = subprocess.run(
            [*LAUNCHER, "probe"],
            env=LAUNCHER_ENV,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRY_S,
            check=True,
        )
        found = json.loads(tried.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return IsolationLevel("shared", "none", f"trying namespaces failed: {error}")
    return IsolationLevel(
        loopback="private" if found["namespaces"] else "shared",
        sandbox="none",
        cause=str(found["cause"]),
        user_namespace=bool(found["user_namespace"]),
        fresh_proc=bool(found["fresh_proc"]),
    )
