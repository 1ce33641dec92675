"""Making an environment and installing into it: uv, or virtualenv and pip.

What comes as wheels from the index is installed as this node, into and from a cache that all environments share: that
runs no foreign code. What must be built (source distributions, paths of the project, URLs) runs foreign code, so it is
boxed and has a cache of its own, which is thrown away.
"""

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
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.install_failures import installer_words, is_infrastructure
from testmesh.testing.package_index import PackageIndex, machine_index, without_credentials
from testmesh.testing.run_command import Completed, RunCommand

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
# All that an installer, and so a foreign build, sees of the node's environment: no setting and no token of it.
_PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CC", "CXX", "CFLAGS", "LDFLAGS"),
    *_CERTIFICATES,
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

    `work` is an empty, private folder for the installer's own files; paths in `lines` begin with `./` and are relative
    to `sources`. No foreign code may have written into any of the three: what is not boxed comes first, and a second
    installation gets folders of its own. `readable` is what a box must show for `python` to run.
    """

    target: Path
    python: Path
    lines: tuple[str, ...]
    constraints: tuple[str, ...]
    sources: Path
    work: Path
    timeout_s: float
    readable: tuple[Path, ...] = ()
    cancellation: Cancellation | None = None
    wheels_only: bool = False  # nothing is built, so no foreign code takes part in the making


class Installer(Protocol):
    @property
    def name(self) -> str:
        """Part of an environment's key."""
        ...

    def install(self, wanted: Installation) -> None:
        """Make the environment, without bytecode; what is at `target` from an earlier try is replaced.

        Raises:
            EnvironmentFailedError: the requirements are at fault; has the installer's own words.
            InstallTimeoutError: the same, after `timeout_s`.
            InfrastructureError: the index, the disk or this node is at fault.
            concurrent.futures.CancelledError: it was cancelled.
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
        wheels = _from_index(wanted.lines)
        try:
            self._install_wheels(wanted, wheels, deadline)
        except InstallTimeoutError:
            raise
        except EnvironmentFailedError:  # perhaps for want of wheels alone; else the build says so in its own words
            if wanted.wheels_only:
                raise
        else:
            if len(wheels) == len(wanted.lines):
                return
        self._build(wanted, deadline)

    def _install_wheels(self, wanted: Installation, lines: Sequence[str], deadline: float) -> None:
        """From the cache that all environments share: no foreign code runs, so none can put anything there.

        Not even bytecode is compiled: for that uv starts the environment's Python, which runs what wheels bring (.pth).
        """
        try:
            self._make(wanted, deadline)
            self._pip(wanted, lines, deadline, "--no-build")
        except InfrastructureError as error:
            # What was installed before goes on working without the index. Not the other way about: offline first
            # is 0.3 s quicker, but then what a node happens to have cached would decide the versions of a grade.
            try:
                self._make(wanted, deadline)
                self._pip(wanted, lines, deadline, "--no-build", "--offline")
            except (EnvironmentFailedError, InfrastructureError):
                raise error from None

    def _build(self, wanted: Installation, deadline: float) -> None:
        cache = wanted.work / "cache"
        cache.mkdir(exist_ok=True)
        self._pip(wanted, wanted.lines, deadline, cache=cache)

    def _make(self, wanted: Installation, deadline: float) -> None:
        make = [str(self._uv), "venv", "--no-config", "--quiet", "--clear", "--python", str(wanted.python)]
        left, cancellation = deadline - time.monotonic(), wanted.cancellation
        argv = [*make, str(wanted.target)]
        done = self._run(argv, self._env(wanted, self._cache), wanted.work, left, cancellation=cancellation)
        _check_made(done, wanted, self._cache)

    def _pip(
        self, wanted: Installation, lines: Sequence[str], deadline: float, *options: str, cache: Path | None = None
    ) -> None:
        """`cache`: the private one of a build, which is boxed."""
        argv = [str(self._uv), "pip", "install", "--no-config", "--no-sources", "--link-mode=copy", *options]
        argv += ["--no-index"] if self._index.no_index else []
        argv += ["--python", str(python_of(wanted.target)), *_write_files(wanted, lines)]
        env, left = self._env(wanted, cache or self._cache), deadline - time.monotonic()
        if cache is None:
            done = self._run(argv, env, wanted.sources, left, cancellation=wanted.cancellation)
        else:
            done = _run_boxed(self._run, argv, env, wanted, left, (self._uv, *self._index.files()))
        _check_installed(done, wanted, self._cache, is_foreign=cache is not None)

    def _env(self, wanted: Installation, cache: Path) -> dict[str, str]:
        env = _environment(self._environ, wanted.work) | self._index.uv_environment()
        return env | {"UV_CACHE_DIR": str(cache), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}


class PipInstaller:
    """virtualenv, which brings its own pip, and that pip: slower, but on every machine."""

    name = "pip"

    def __init__(self, cache: Path, index: PackageIndex, environ: Mapping[str, str], run: RunCommand) -> None:
        self._cache = cache
        self._index = index
        self._environ = environ
        self._run = run

    def install(self, wanted: Installation) -> None:
        """In the same two steps as uv's, and for the same reasons."""
        deadline = time.monotonic() + wanted.timeout_s
        self._make(wanted, deadline)
        wheels = _from_index(wanted.lines)
        argv, env = self._pip(wanted, wheels, self._cache / "pip")
        argv += ["--only-binary", ":all:"]
        left = deadline - time.monotonic()
        done = self._run(argv, env, wanted.sources, left, cancellation=wanted.cancellation)
        try:
            _check_installed(done, wanted, self._cache, is_foreign=False)
        except InstallTimeoutError:
            raise
        except EnvironmentFailedError:
            if wanted.wheels_only:
                raise
        else:
            if len(wheels) == len(wanted.lines):
                return
        argv, env = self._pip(wanted, wanted.lines, wanted.work / "cache")
        done = _run_boxed(self._run, argv, env, wanted, deadline - time.monotonic(), self._index.files())
        _check_installed(done, wanted, self._cache, is_foreign=True)

    def _make(self, wanted: Installation, deadline: float) -> None:
        make = [sys.executable, "-P", "-m", "virtualenv", "--quiet", "--clear", "--no-download", "--no-periodic-update"]
        make += ["--python", str(wanted.python), str(wanted.target)]
        env = _environment(self._environ, wanted.work)
        env |= {"VIRTUALENV_OVERRIDE_APP_DATA": str(self._cache / "virtualenv")}
        left = deadline - time.monotonic()
        _check_made(self._run(make, env, wanted.work, left, cancellation=wanted.cancellation), wanted, self._cache)

    def _pip(self, wanted: Installation, lines: Sequence[str], cache: Path) -> tuple[list[str], dict[str, str]]:
        argv = [str(python_of(wanted.target)), "-I", "-m", "pip", "install", "--quiet", "--no-input", "--no-compile"]
        argv += ["--disable-pip-version-check", "--no-color", "--progress-bar=off"]
        env = _environment(self._environ, wanted.work) | self._index.pip_environment()
        return [*argv, *_write_files(wanted, _hashed_all_or_none(lines))], env | {"PIP_CACHE_DIR": str(cache)}


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


def _from_index(lines: Sequence[str]) -> list[str]:
    """Those that name a package and neither a path nor a URL."""
    return [line for line in lines if not line.startswith("./") and "://" not in line]


def _run_boxed(
    run: RunCommand,
    argv: Sequence[str],
    env: Mapping[str, str],
    wanted: Installation,
    timeout_s: float,
    readable: Sequence[Path],
) -> Completed:
    certificates = [Path(env[name]) for name in _CERTIFICATES if env.get(name)]
    writable = (wanted.target, wanted.work, wanted.sources)
    return run(
        argv,
        without_credentials(env),
        wanted.sources,
        timeout_s,
        writable=writable,
        readable=(*wanted.readable, *readable, *certificates),
        foreign=True,
        cancellation=wanted.cancellation,
    )


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
    _write_new(requirements, lines)
    _write_new(constraints, wanted.constraints)
    return ["--requirement", str(requirements), *(["--constraint", str(constraints)] if wanted.constraints else [])]


def _write_new(file: Path, lines: Sequence[str]) -> None:
    """Never through a link: a build that ran before could have put one there."""
    file.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(file, flags, 0o644), "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")


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


def _check_installed(done: Completed, wanted: Installation, cache: Path, *, is_foreign: bool) -> None:
    if done.timed_out:
        raise InstallTimeoutError(wanted.timeout_s)
    if done.returncode < 0 and not is_foreign:
        raise InfrastructureError(f"the installation was ended from outside (signal {-done.returncode}); try again")
    if done.returncode < 0:  # a build can send it, so that it must not be a way out of a bad grade
        raise EnvironmentFailedError(f"a build ended the installation by signal {-done.returncode}")
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
