"""Where a person's mesh is entered: what was named, else what answers on this machine."""

import os
from urllib.parse import urlsplit

from testmesh.client.api import ClientError, MeshClient, find_mesh

_CANDIDATES = ("http://127.0.0.1:80", "http://127.0.0.1:8080", "http://127.0.0.1:5001")
_MOMENT_S = 1.0


def client_of(given: str | None) -> MeshClient:
    """Of the URLs in `given`, separated by commas; with the token of TESTMESH_TOKEN.

    Raises:
        ClientError: they are none, or nothing was given and no mesh answers here.
    """
    found = given or find_mesh(_CANDIDATES)
    if found is None:
        raise ClientError("no mesh answers on this machine; start one with ./boot.sh, or give --url or TESTMESH_URL")
    return MeshClient(_urls(found), _token())


def quick_client(given: str | None) -> MeshClient | None:
    """For completion: asks once and waits for a moment. None where there is no mesh."""
    found = given or os.environ.get("TESTMESH_URL") or find_mesh(_CANDIDATES, _MOMENT_S)
    try:
        return MeshClient(_urls(found or ""), _token(), patience_s=0, timeout_s=(_MOMENT_S, _MOMENT_S))
    except ClientError:
        return None


def _token() -> str | None:
    return os.environ.get("TESTMESH_TOKEN")


def _urls(text: str) -> list[str]:
    urls = [part if "://" in part else f"http://{part}" for part in map(str.strip, text.split(",")) if part]
    if not urls:
        raise ClientError("--url and TESTMESH_URL take an address such as http://192.168.1.20:8080")
    for url in urls:
        if not _is_http(url):
            raise ClientError(f"{url} is no address of a mesh; give one such as http://192.168.1.20:8080")
    return urls


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
