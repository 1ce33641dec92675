"""Nginx before local nodes: the repository's default.conf with this machine's nodes and port put in."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testmesh.local.errors import LocalError

_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")

# Everything is relative to the folder given by -p, so that no path needs quoting.
_MAIN = """\
daemon off;
pid nginx.pid;
error_log error.log warn;
worker_processes 2;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include default.conf;
}}
"""


def find_nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path=os.pathsep.join(_PLACES))


def local_configuration(default_conf: str, port: int, nodes: Sequence[str]) -> str:
    """default.conf with other upstream servers and another port to listen on.

    Raises:
        LocalError: default.conf has no such lines.
    """
    lines = default_conf.splitlines()
    servers = [number for number, line in enumerate(lines) if re.match(r"\s*server\s+[^\s{]", line)]
    listens = [number for number, line in enumerate(lines) if re.match(r"\s*listen\s", line)]
    if not servers or len(listens) != 1:
        raise LocalError("default.conf must have one listen line and an upstream's server lines")
    pattern = lines[servers[0]]
    lines[listens[0]] = re.sub(r"listen\s+\S+?(?=[\s;])", f"listen {port}", lines[listens[0]])
    first = [re.sub(r"server\s+[^\s;]+", f"server {node}", pattern) for node in nodes]
    kept = [line for number, line in enumerate(lines) if number not in servers[1:]]
    kept[servers[0] : servers[0] + 1] = first
    return "\n".join(kept) + "\n"


def prepare(folder: Path, default_conf: str, port: int, nodes: Sequence[str]) -> None:
    """Write Nginx's configuration into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "default.conf").write_text(local_configuration(default_conf, port, nodes))
    (folder / "nginx.conf").write_text(_MAIN.format())


def command(nginx: str, folder: Path) -> list[str]:
    """Runs in the foreground; its workers end with it."""
    return [nginx, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"]


def complaint(nginx: str, folder: Path) -> str | None:
    """Why this Nginx cannot serve the configuration, None where it can."""
    check = subprocess.run([*command(nginx, folder), "-t", "-q"], check=False, capture_output=True, text=True)
    if check.returncode == 0:
        return None
    lines = check.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {check.returncode}"
