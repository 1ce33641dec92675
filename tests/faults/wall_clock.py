"""A wall clock for each node that jumps when a scenario says so. Linux with gcc only."""

import shutil
import struct
import subprocess
import sysconfig
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock_shift.c")


class WallClock:
    """Of one node, once `environ` is in its environment."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.shift = 0.0
        self.jump_to(0.0)
        self.environ = {"LD_PRELOAD": str(library), "TESTMESH_CLOCK": str(file)}

    def jump_to(self, seconds: float) -> None:
        """From now on it is wrong by that."""
        self.shift = seconds
        with self._file.open("r+b" if self._file.exists() else "wb") as file:  # in place: the node has it mapped
            file.write(struct.pack("q", int(seconds * 1e9)))


def reason_for_no_clock() -> str:
    """Why this machine can shift no clock, or ""."""
    if shutil.which("gcc") is None:
        return "clocks that jump need gcc"
    if not sysconfig.get_config_var("HAVE_SEM_CLOCKWAIT"):
        # Then Python's own waits end at a wall time that the kernel, unlike a real jump, knows nothing of.
        return "clocks that jump need a Python that waits by the monotonic clock (sem_clockwait)"
    return ""


def build_library(folder: Path) -> Path:
    library = folder / "clock_shift.so"
    if not library.exists():
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
    return library
