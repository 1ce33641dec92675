"""Every setting of a node, read once from the environment into one frozen object."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from testmesh.errors import SettingsError

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_SECRETS = ("secret", "api_token", "read_token", "callback_secret")
_UNITS = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes in bytes, times in seconds. The comment of each field names its variable."""

    host: str = "127.0.0.1"  # MESH_HOST
    port: int = 5001  # MESH_PORT
    advertise: str = "127.0.0.1:5001"  # MESH_ADVERTISE: the address peers use, host:port
    bootstrap: tuple[str, ...] = ()  # MESH_BOOTSTRAP: tried again for ever
    secret: str | None = field(default=None, repr=False)  # MESH_SECRET: without one the node stands alone
    api_token: str | None = field(default=None, repr=False)  # MESH_API_TOKEN
    read_token: str | None = field(default=None, repr=False)  # MESH_READ_TOKEN
    data_dir: Path = Path("data/127.0.0.1_5001")  # MESH_DATA_DIR
    slots: int | None = None  # MESH_SLOTS: None is auto
    strategy: str = "least_loaded"  # MESH_STRATEGY
    sandbox: str = "auto"  # MESH_SANDBOX
    replicas: int = 2  # MESH_REPLICAS
    keep_evaluations: int = 1000  # MESH_KEEP_EVALUATIONS: ended ones; older ones are pruned
    keep_days: int | None = None  # MESH_KEEP_DAYS: None is no limit by age
    github_api: str = "https://api.github.com"  # MESH_GITHUB_API
    max_upload: int = 512 * MIB  # MESH_MAX_UPLOAD
    max_unpacked: int = 2 * GIB  # MESH_MAX_UNPACKED
    max_entries: int = 20_000  # MESH_MAX_ENTRIES
    max_queue: int = 200  # MESH_MAX_QUEUE
    module_timeout_max_s: float = 900.0  # MESH_MODULE_TIMEOUT_MAX_S
    module_memory: int = 2 * GIB  # MESH_MODULE_MEMORY
    module_processes: int = 256  # MESH_MODULE_PROCESSES
    module_disk: int = GIB  # MESH_MODULE_DISK
    environments_size: int = 10 * GIB  # MESH_ENVIRONMENTS_SIZE: with the packages they are made of
    allow_vcs: bool = False  # MESH_ALLOW_VCS
    callback_secret: str | None = field(default=None, repr=False)  # MESH_CALLBACK_SECRET; None: no callbacks
    callback_private: bool = False  # MESH_CALLBACK_PRIVATE: callbacks may go to the operator's own networks
    log: str = "text"  # MESH_LOG

    @property
    def evaluations_file(self) -> Path:
        """The address that others use names it: a node in a container listens on 0.0.0.0, as its neighbours do."""
        host, _, port = self.advertise.rpartition(":")
        return self.data_dir / f"evaluations_{host.strip('[]')}_{port}.json"


def settings_from(environ: Mapping[str, str]) -> Settings:
    """Read and check every MESH_ variable.

    Raises:
        SettingsError: one line that names the variable, its value and what it takes.
    """
    values: dict[str, Any] = {}
    known = {f"MESH_{name.upper()}": (name, parse) for name, parse in _PARSERS.items()}
    unknown = sorted(name for name in environ if name.startswith("MESH_") and name not in known)
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting of testmesh; the README has the table of settings")
    for variable, (name, parse) in known.items():
        raw = environ.get(variable, "").strip()
        if not raw:
            continue
        try:
            values[name] = parse(raw)
        except ValueError as error:
            secret = name in _SECRETS or "@" in raw  # as in https://user:token@host
            shown = "…" if secret else repr(raw)
            raise SettingsError(f"{variable}={shown}: {error}") from None
    host, port = values.get("host", "127.0.0.1"), values.get("port", 5001)
    values.setdefault("advertise", f"{host}:{port}")
    if values["advertise"].rpartition(":")[0] in ("0.0.0.0", "[::]"):  # noqa: S104 - refused, not bound
        raise SettingsError(
            f"MESH_ADVERTISE={values['advertise']!r}: peers cannot reach that; give the host:port they can reach"
        )
    values.setdefault("data_dir", Path("data") / f"{host}_{port}")
    values["data_dir"] = Path(values["data_dir"]).absolute()
    return Settings(**values)


def parse_address(text: str) -> str:
    """Check a `host:port` and give it back.

    Raises:
        ValueError: it is not one.
    """
    match = _ADDRESS.fullmatch(text)
    if not match or not 0 < int(match["port"]) < 65536:
        raise ValueError(f"{text!r} is not host:port")
    return text


def parse_size(text: str) -> int:
    """Bytes from `1024`, `512 MiB`, `2g`.

    Raises:
        ValueError: it is not a size over zero.
    """
    match = re.fullmatch(r"([0-9]+)\s*([A-Za-z]*)", text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if not match or unit is None or int(match[1]) == 0:
        raise ValueError("give a size such as 1048576, 512MiB or 2GiB")
    return int(match[1]) * unit


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"give a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise ValueError("give seconds over zero, such as 900")
    return float(text)


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"give one of {', '.join(allowed)}")
        return text

    return parse


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("give 0 or 1")
    return text == "1"


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(parse_address(part.strip()) for part in text.split(",") if part.strip())


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", text):
        raise ValueError("give a host name or an address")
    return text


def _token(text: str) -> str:
    if len(text) < 8 or not text.isprintable() or " " in text:
        raise ValueError("give at least 8 printable characters without spaces")
    return text


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError where it is none
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("give an http or https URL without user, query or fragment")
    return text.rstrip("/")


_PARSERS: dict[str, Callable[[str], Any]] = {
    "host": _host,
    "port": _integer(1, 65535),
    "advertise": parse_address,
    "bootstrap": _addresses,
    "secret": _token,
    "api_token": _token,
    "read_token": _token,
    "data_dir": Path,
    "slots": lambda text: None if text == "auto" else _integer(1, 1024)(text),
    "strategy": _choice("least_loaded", "round_robin"),
    "sandbox": _choice("auto", "full", "portable", "none"),
    "replicas": _integer(1, 16),
    "keep_evaluations": _integer(1, 1_000_000),
    "keep_days": _integer(1, 36_500),
    "github_api": _base_url,
    "max_upload": parse_size,
    "max_unpacked": parse_size,
    "max_entries": _integer(1, 10_000_000),
    "max_queue": _integer(1, 100_000),
    "module_timeout_max_s": _seconds,
    "module_memory": parse_size,
    "module_processes": _integer(8, 100_000),
    "module_disk": parse_size,
    "environments_size": parse_size,
    "allow_vcs": _switch,
    "callback_secret": _token,
    "callback_private": _switch,
    "log": _choice("text", "json"),
}
