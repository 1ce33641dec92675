"""What a figure was measured on, without anything that names the machine."""

import os
import platform
from pathlib import Path


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def described() -> str:
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{cores()} cores{_model()}, {_memory()}, {system}, Python {platform.python_version()}"


def _model() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in _text("/proc/cpuinfo").splitlines()
        if line.startswith("model name") and line.partition(":")[2].strip()
    ]
    return f" ({names[0]})" if names else ""


def _memory() -> str:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return f"{int(line.split()[1]) / 1024**2:.0f} GiB of memory"
    return "memory unknown"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
