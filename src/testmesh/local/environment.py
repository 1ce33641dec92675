"""The virtual environment of a checkout: `python -m testmesh.local.environment requirements.txt`.

Standard library only: it runs before there is anything else.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from testmesh.local.errors import LocalError

_UNFINISHED = ".testmesh-unfinished"


def ensure_environment(root: Path, requirements: str) -> Path:
    """Make `root/.venv` hold what `root/requirements` locks, unless it does already; its interpreter.

    A copy of the requirements inside, written last, says that they are installed. An environment that an
    interrupted install left is made anew: installing again would not mend it.

    Raises:
        LocalError: neither uv nor pip could.
    """
    venv, wanted = root / ".venv", root / requirements
    python = venv / "bin" / "python"
    stamp = venv / f".testmesh-{requirements}"
    usable = _works(python) and not (venv / _UNFINISHED).exists()
    if usable and stamp.is_file() and stamp.read_bytes() == wanted.read_bytes():
        return python
    _say(f"Making the environment .venv from {requirements} …")
    if not usable:
        _create(venv, shutil.which("uv"))
    (venv / _UNFINISHED).touch()
    if not _install(venv, wanted):
        _create(venv, None)
        (venv / _UNFINISHED).touch()
        if not _install(venv, wanted):
            raise LocalError(
                f"{requirements} could not be installed (above is why); is the package index reachable? "
                "PIP_INDEX_URL and PIP_CERT, or UV_INDEX_URL and SSL_CERT_FILE, name another one."
            )
    shutil.copyfile(wanted, stamp)
    (venv / _UNFINISHED).unlink()
    return python


def _works(python: Path) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return python.exists() and _run([str(python), "-c", check], quiet=True)


def _create(venv: Path, uv: str | None) -> None:
    """An empty environment in place of what is there; made without uv it has pip."""
    if uv and _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)], quiet=True):
        return
    if not _run([sys.executable, "-m", "venv", "--clear", str(venv)]):
        raise LocalError("python3 -m venv failed (above is why); on Debian and Ubuntu: apt-get install python3-venv")


def _install(venv: Path, requirements: Path) -> bool:
    python = str(venv / "bin" / "python")
    own = venv / "bin" / "uv"
    uv = str(own) if own.exists() else shutil.which("uv")
    with_uv = ["pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", str(requirements)]
    if uv and _run([uv, *with_uv]):
        return True
    with_pip = ["-m", "pip", "--disable-pip-version-check", "install", "-qq", "--require-hashes"]
    return _run([python, "-c", "import pip"], quiet=True) and _run([python, *with_pip, "-r", str(requirements)])


def _run(command: list[str], *, quiet: bool = False) -> bool:
    # The environment that is active in the caller's shell is not the one meant; PYTHONPATH would hide what is missing.
    environ = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, check=False, env=environ, stdout=output, stderr=output).returncode == 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main(arguments: list[str]) -> int:
    try:
        ensure_environment(Path.cwd(), arguments[0])
    except LocalError as error:
        _say(f"testmesh: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
