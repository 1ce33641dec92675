"""Making an environment and installing into it: uv, or virtualenv and pip."""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.testing.install_failures import installer_words, is_infrastructure
from testmesh.testing.package_index import PackageIndex, machine_index
from testmesh.testing.run_command import Completed, RunCommand

# All that an installer, and so a foreign build, sees of the node's environment: no setting and no token of it.
_PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CC", "CXX", "CFLAGS", "LDFLAGS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)


class InstallTimeoutError(EnvironmentFailedError):
    """The installation took longer than it may."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"installing the requirements took more than {timeout_s:g} s; require less, or raise the time")
        self.timeout_s = timeout_s


@dataclass(frozen=True, slots=True)
class Installation:
    """What is to be made: an environment at `target` of `python`, holding `lines` under `constraints`.

    `work` is an empty, private folder for the installer's own files; paths in `lines` are relative to `sources`.
    """

    target: Path
    python: Path
    lines: tuple[str, ...]
    constraints: tuple[str, ...]
    sources: Path
    work: Path
    timeout_s: float
    compile_bytecode: bool = False  # of everything, as an environment needs that nothing can be written to


class Installer(Protocol):
    @property
    def name(self) -> str:
        """Part of an environment's key."""
        ...

    def install(self, wanted: Installation) -> None:
        """Make the environment; what is at `target` from an earlier try is replaced.

        Raises:
            EnvironmentFailedError: the requirements are at fault; has the installer's own words.
            InstallTimeoutError: the same, after `timeout_s`.
            InfrastructureError: the index, the disk or this node is at fault.
        """
        ...


class UvInstaller:
    """uv. Its files are copied, not hard-linked: a test that writes into site-packages would poison the cache."""

    name = "uv"

    def __init__(self, uv: Path, cache: Path, index: PackageIndex, environ: Mapping[str, str], run: RunCommand) -> None:
        self._uv = uv
        self._cache = cache
        self._index = index
        self._environ = environ
        self._run = run

    def install(self, wanted: Installation) -> None:
        deadline = time.monotonic() + wanted.timeout_s
        try:
            self._attempt(wanted, deadline, is_offline=False)
        except InfrastructureError as error:
            # What was installed before goes on working without the index. Not the other way about: offline first
            # is 0.3 s quicker, but then what a node happens to have cached would decide the versions of a grade.
            try:
                self._attempt(wanted, deadline, is_offline=True)
            except (EnvironmentFailedError, InfrastructureError):
                raise error from None

    def _attempt(self, wanted: Installation, deadline: float, *, is_offline: bool) -> None:
        env = _environment(self._environ, wanted.work) | self._index.uv_environment()
        env |= {"UV_CACHE_DIR": str(self._cache), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
        make = [str(self._uv), "venv", "--no-config", "--quiet", "--clear", "--python", str(wanted.python)]
        _check_made(
            self._run([*make, str(wanted.target)], env, wanted.work, deadline - time.monotonic()), wanted, self._cache
        )
        options = ["--no-config", "--no-sources", "--link-mode=copy"]
        options += ["--compile-bytecode"] if wanted.compile_bytecode else []
        options += ["--offline"] if is_offline else []
        options += ["--no-index"] if self._index.no_index else []
        files = _write_files(wanted, wanted.lines)
        argv = [str(self._uv), "pip", "install", *options, "--python", str(python_of(wanted.target)), *files]
        _check_installed(self._run(argv, env, wanted.sources, deadline - time.monotonic()), wanted, self._cache)


class PipInstaller:
    """virtualenv, which brings its own pip, and that pip: slower, but on every machine."""

    name = "pip"

    def __init__(self, cache: Path, index: PackageIndex, environ: Mapping[str, str], run: RunCommand) -> None:
        self._cache = cache
        self._index = index
        self._environ = environ
        self._run = run

    def install(self, wanted: Installation) -> None:
        deadline = time.monotonic() + wanted.timeout_s
        env = _environment(self._environ, wanted.work) | self._index.pip_environment()
        env |= {
            "PIP_CACHE_DIR": str(self._cache / "pip"),
            "VIRTUALENV_OVERRIDE_APP_DATA": str(self._cache / "virtualenv"),
        }
        make = [sys.executable, "-P", "-m", "virtualenv", "--quiet", "--clear", "--no-download", "--no-periodic-update"]
        make += ["--python", str(wanted.python), str(wanted.target)]
        _check_made(self._run(make, env, wanted.work, wanted.timeout_s), wanted, self._cache)
        files = _write_files(wanted, _hashed_all_or_none(wanted.lines))
        argv = [str(python_of(wanted.target)), "-I", "-m", "pip", "install", "--quiet", "--no-input"]
        argv += ["--disable-pip-version-check", "--no-color", "--progress-bar=off", *files]
        argv += [] if wanted.compile_bytecode else ["--no-compile"]
        _check_installed(self._run(argv, env, wanted.sources, deadline - time.monotonic()), wanted, self._cache)


def find_installer(cache: Path, environ: Mapping[str, str], run: RunCommand) -> Installer:
    """uv where this machine has it, else virtualenv and pip. `cache` is a folder of this node alone.

    Raises:
        InfrastructureError: neither is there.
    """
    index = machine_index(environ)
    uv = find_uv()
    if uv is not None:
        return UvInstaller(uv, cache / "uv", index, environ, run)
    if importlib.util.find_spec("virtualenv") is None:
        raise InfrastructureError(
            "neither uv nor virtualenv is installed on this node; install testmesh's requirements"
        )
    return PipInstaller(cache, index, environ, run)


def find_uv() -> Path | None:
    """The uv beside this interpreter, else the one that the uv package brings, else the one on the PATH."""
    beside = Path(sys.executable).with_name("uv")
    if os.access(beside, os.X_OK):
        return beside
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - it may not be installed

        return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        on_path = shutil.which("uv")
        return Path(on_path) if on_path else None


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def _environment(environ: Mapping[str, str], work: Path) -> dict[str, str]:
    """The node's environment, scrubbed; home and temporary files are in the private folder and go with it."""
    home, temporary = work / "home", work / "tmp"
    for folder in (home, temporary):
        folder.mkdir(parents=True, exist_ok=True)
    passed = {name: environ[name] for name in _PASSED_ON if environ.get(name)}
    passed.setdefault("PATH", os.defpath)
    return passed | {"HOME": str(home), "TMPDIR": str(temporary), "NO_COLOR": "1", "PYTHONUTF8": "1"}


def _write_files(wanted: Installation, lines: Sequence[str]) -> list[str]:
    """Our own lists, never the student's file: an installer quotes a file that it cannot read."""
    requirements, constraints = wanted.work / "requirements.txt", wanted.work / "constraints.txt"
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    constraints.write_text("\n".join(wanted.constraints) + "\n", encoding="utf-8")
    return ["--requirement", str(requirements), *(["--constraint", str(constraints)] if wanted.constraints else [])]


def _hashed_all_or_none(lines: Sequence[str]) -> list[str]:
    """pip wants a hash of everything as soon as one line has one; uv checks those there are."""
    if all(" --hash=" in line for line in lines):
        return list(lines)
    return [line.partition(" --hash=")[0] for line in lines]


def _check_made(done: Completed, wanted: Installation, cache: Path) -> None:
    if done.timed_out:
        raise InstallTimeoutError(wanted.timeout_s)
    if done.returncode:
        raise InfrastructureError(f"no virtual environment can be made on this node: {_words(done, wanted, cache)}")


def _check_installed(done: Completed, wanted: Installation, cache: Path) -> None:
    if done.timed_out:
        raise InstallTimeoutError(wanted.timeout_s)
    if done.returncode < 0:
        raise InfrastructureError(f"the installation was ended from outside (signal {-done.returncode}); try again")
    if done.returncode and is_infrastructure(done.output):
        raise InfrastructureError(
            f"the requirements cannot be fetched or stored by this node: {_words(done, wanted, cache)}"
        )
    if done.returncode:
        raise EnvironmentFailedError(f"the requirements cannot be installed: {_words(done, wanted, cache)}")


def _words(done: Completed, wanted: Installation, cache: Path) -> str:
    folders = (wanted.sources, wanted.work, wanted.target, cache)
    hidden = [f"{text}/" for folder in folders for text in (folder.as_uri(), str(folder))]
    return installer_words(done.output, hidden) or f"it ended with status {done.returncode} and said nothing"
