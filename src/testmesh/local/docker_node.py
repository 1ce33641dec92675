"""One node in a container beside others: what src/local_node.py starts without --process."""

from collections.abc import Mapping
from pathlib import Path

from testmesh.local import engine, health
from testmesh.local.engine import Engine
from testmesh.local.errors import LocalError

_IMAGE = "testmesh-node"
_GRACE_S = 45  # a node drains for up to 18 s and needs some more to stop
_START_S = 120.0
_LOG_LINES = "15"
_BUILD_ARGUMENTS = (
    "BASE_IMAGE",
    "EXTRA_CERTIFICATES",
    "APT_PACKAGES",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
_INSIDE = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_OF_THE_IMAGE = ("MESH_HOST", "MESH_DATA_DIR")  # docker/entrypoint.py sets them


def container_name(port: int) -> str:
    return f"testmesh-node-{port}"


def build_command(found: Engine, root: Path, environ: Mapping[str, str]) -> list[str]:
    """Values are taken from the environment, so that none shows in the list of processes."""
    arguments = [part for name in _BUILD_ARGUMENTS if environ.get(name) for part in ("--build-arg", name)]
    return [found.docker, "build", "--quiet", "--tag", _IMAGE, *arguments, str(root)]


def run_command(found: Engine, root: Path, port: int, environ: Mapping[str, str]) -> list[str]:
    """As docker/node.yml has it. The node's settings come from `environ`, by name."""
    name = container_name(port)
    settings = [key for key in environ if key.startswith("MESH_") and key not in _OF_THE_IMAGE]
    passed = [*settings, *(key for key in _INSIDE if environ.get(key))]
    network = environ.get("NODE_NETWORK", "")
    return [
        *(found.docker, "run", "--detach", "--name", name, "--restart", "unless-stopped"),
        *(part for key in sorted(passed) for part in ("--env", key)),
        *("--publish", f"{port}:{port}", "--volume", f"{name}:/data", "--volume", f"{name}-secret:/secret"),
        *(("--network", network) if network else ()),
        *("--memory", environ.get("NODE_MEMORY") or "4g", "--cpus", environ.get("NODE_CPUS") or "1.0"),
        *("--pids-limit", "4096", "--stop-timeout", str(_GRACE_S)),
        *("--read-only", "--tmpfs", f"/tmp:exec,mode=1777,size={environ.get('NODE_TMP') or '1g'}"),  # noqa: S108
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--security-opt", f"seccomp={environ.get('NODE_SECCOMP') or root / 'docker' / 'seccomp.json'}"),
        *("--security-opt", f"apparmor={environ.get('NODE_APPARMOR') or 'unconfined'}"),
        *("--security-opt", "systempaths=unconfined"),
        *("--log-opt", "max-size=10m", "--log-opt", "max-file=3"),
        _IMAGE,
    ]


def start(found: Engine, root: Path, port: int, environ: Mapping[str, str]) -> None:
    """Build the image, replace this port's container if there is one (its volume stays), wait until it is healthy.

    Raises:
        LocalError: it cannot be built or started.
    """
    name = container_name(port)
    engine.run(build_command(found, root, environ), environ, root)
    if engine.ask([found.docker, "container", "inspect", name], environ).returncode == 0:
        engine.run([found.docker, "stop", "--time", str(_GRACE_S), name], environ, root)
        engine.run([found.docker, "rm", name], environ, root)
    try:
        engine.run(run_command(found, root, port, environ), environ, root)
    except LocalError:
        engine.ask([found.docker, "rm", "--force", name], environ)  # made, but not to be started: a port is taken
        raise
    health.wait_until(lambda: health.is_healthy(port) or _is_restarting(found, name, environ), _START_S)
    if not health.is_healthy(port):
        engine.run([found.docker, "logs", "--tail", _LOG_LINES, name], environ, root)
        engine.ask([found.docker, "rm", "--force", name], environ)
        raise LocalError(f"nothing healthy answers on port {port}; above is what {name} said, which was removed")


def _is_restarting(found: Engine, name: str, environ: Mapping[str, str]) -> bool:
    """Whether it ends as soon as it starts: it would do so for ever."""
    asked = engine.ask([found.docker, "inspect", "--format", "{{.RestartCount}}", name], environ)
    return asked.stdout.strip() not in ("", "0")
