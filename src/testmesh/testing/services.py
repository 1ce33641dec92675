"""Which services a project's tests need: the submission's options, else the project's own pyproject.toml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testmesh.errors import EnvironmentFailedError, MalformedError
from testmesh.model import Options, Service
from testmesh.testing.project_files import FolderFiles
from testmesh.testing.toml_file import MAX_TOML, parse_toml

MAX_SERVICES = 8
MAX_COMMAND = 1000  # characters
MAX_READY_S = 120.0  # the longest that one service is waited for


def services_for(project: Path, options: Options) -> tuple[Service, ...]:
    """What runs beside each module of the project in this folder.

    A pyproject.toml that is not TOML has no services: what installs the project, and pytest, say what is wrong.

    Raises:
        EnvironmentFailedError: its table `[tool.testmesh]` is malformed; the message says where.
    """
    if options.services is not None:
        return options.services
    content = FolderFiles(project).read("pyproject.toml", MAX_TOML)
    try:
        tool = parse_toml(content or b"").get("tool")
    except ValueError:
        return ()
    if not isinstance(tool, dict) or "testmesh" not in tool:
        return ()
    try:
        return parse_services(_table("the table", tool["testmesh"], {"services"}).get("services", []))
    except MalformedError as error:
        raise EnvironmentFailedError(f"[tool.testmesh] in pyproject.toml: {error}") from None


def parse_services(value: object) -> tuple[Service, ...]:
    """Services from their JSON or TOML form: `[{"command": ..., "ready": {"port": ..., "timeout_s": ...}}]`.

    `ready` may be left out, or be `{"seconds": ...}` where there is no port to wait for.

    Raises:
        MalformedError: a sentence that says which part is wrong and what it takes.
    """
    if not isinstance(value, list) or len(value) > MAX_SERVICES:
        raise MalformedError(f"services must be a list of at most {MAX_SERVICES} tables, each with a command")
    return tuple(_service(number, item) for number, item in enumerate(value, 1))


def _service(number: int, item: object) -> Service:
    table = _table(f"service {number}", item, {"command", "ready"})
    command = table.get("command")
    if not isinstance(command, str) or not command.strip() or len(command) > MAX_COMMAND or "\0" in command:
        raise MalformedError(f"service {number}: command must be a text such as 'python3 server.py'")
    ready = _table(f"service {number}: ready", table.get("ready", {}), {"port", "timeout_s", "seconds"})
    port = ready.get("port")
    if port is not None and (type(port) is not int or not 0 < port < 65536):
        raise MalformedError(f"service {number}: port must be a whole number from 1 to 65535")
    if port is not None and "seconds" in ready:
        raise MalformedError(f"service {number}: ready takes a port (with timeout_s) or seconds, not both")
    if port is None and "timeout_s" in ready:
        raise MalformedError(f"service {number}: timeout_s needs a port to wait for")
    times = {name: _seconds(number, name, ready[name]) for name in ("timeout_s", "seconds") if name in ready}
    return Service(command, port, **times)


def _table(what: str, value: object, allowed: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{what} must be a table with {', '.join(sorted(allowed))}")
    unknown = sorted(str(key) for key in value if key not in allowed)
    if unknown:
        raise MalformedError(f"{what}: {unknown[0][:100]!r} is not known; it takes {', '.join(sorted(allowed))}")
    return value


def _seconds(number: int, name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_READY_S:
        return float(value)
    raise MalformedError(f"service {number}: {name} must be a number of seconds up to {MAX_READY_S:g}")
