"""PURE: the URL of a callback, taken apart and checked."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from testmesh.errors import MalformedError
from testmesh.node.callbacks.addresses import is_allowed

MAX_URL = 2000
_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII but for the backslash, which some take for a slash
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """`host` is a name or an address, without brackets; `path` what is asked for, with the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As in the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """What may be shown: path and query often are a password."""
        return f"{self.scheme}://{self.authority}"


def parse_target(url: str, *, private: bool) -> Target:
    """`private`: whether addresses of the operator's own networks are allowed; those of a name are not looked up here.

    Raises:
        MalformedError.
    """
    if len(url) > MAX_URL or not _URL.fullmatch(url):
        raise MalformedError(
            f"callback_url: give an http or https URL of at most {MAX_URL} printable ASCII characters."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise MalformedError("callback_url: its host or port cannot be read; give https://host[:port]/path.") from None
    if parts.scheme not in _PORTS or not host:
        raise MalformedError("callback_url: give a URL that begins with http:// or https:// and names a host.")
    if "@" in parts.netloc or "#" in url:
        raise MalformedError("callback_url: leave out user, password and fragment; the signature says who calls.")
    if port == 0:
        raise MalformedError("callback_url: give a port from 1 to 65535, or none.")
    _check_host(host, private)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def _check_host(host: str, private: bool) -> None:
    try:
        ip_address(host)
    except ValueError:
        if not _NAME.fullmatch(host) or len(host) > 253:
            raise MalformedError("callback_url: its host is neither a name nor an address.") from None
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):  # 127.1 and 0x7f000001 are addresses, to some
            raise MalformedError("callback_url: write an IPv4 address as four decimal numbers.") from None
        if not private and (host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost")):
            raise MalformedError(_refusal(host)) from None
    else:
        if not is_allowed(host, private=private):
            raise MalformedError(_refusal(host, at_all=is_allowed(host, private=True)))


def _refusal(host: str, *, at_all: bool = True) -> str:
    way_out = ", or set MESH_CALLBACK_PRIVATE=1 on every node" if at_all else ""
    return f"callback_url: {host} is no public address; give one{way_out}."
