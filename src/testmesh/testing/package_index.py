"""Where this machine gets packages from: pip's variables and configuration files, told to pip and to uv alike."""

import configparser
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_CREDENTIALS = re.compile(r"//[^/\s]*@")
_SECTIONS = ("global", "install")  # the later one wins, as in pip
_UV_VARIABLES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_INDEX_STRATEGY",
    "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT",
    "UV_HTTP_RETRIES",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
)


@dataclass(frozen=True, slots=True)
class PackageIndex:
    """What the administrator configured; "" or empty where nothing was. URLs may hold credentials: never show them."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    certificate: str = ""
    trusted_hosts: tuple[str, ...] = ()
    retries: str = ""
    timeout: str = ""
    for_uv_alone: tuple[tuple[str, str], ...] = ()  # uv's own variables, which win over pip's

    def pip_environment(self) -> dict[str, str]:
        """The variables that make pip use it, and no configuration file."""
        retries = self.retries if self.retries.isdigit() and int(self.retries) else ""
        found = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.index_url,
            "PIP_EXTRA_INDEX_URL": " ".join(self.extra_index_urls),
            "PIP_FIND_LINKS": " ".join(self.find_links),
            "PIP_NO_INDEX": "1" if self.no_index else "",
            "PIP_CERT": self.certificate,
            "PIP_TRUSTED_HOST": " ".join(self.trusted_hosts),
            "PIP_RETRIES": retries or "2",  # without a retry pip does not say that the index is out of reach
            "PIP_DEFAULT_TIMEOUT": self.timeout,
        }
        return {name: value for name, value in found.items() if value}

    def uv_environment(self) -> dict[str, str]:
        """The variables that make uv use it; `no_index` is an option only."""
        found = {
            "UV_DEFAULT_INDEX": self.index_url,
            "UV_INDEX": " ".join(self.extra_index_urls),
            "UV_FIND_LINKS": ",".join(self.find_links),
            # pip takes the best version of all indexes; uv would take the first index that has the name.
            "UV_INDEX_STRATEGY": "unsafe-best-match" if self.extra_index_urls else "",
            "SSL_CERT_FILE": self.certificate,
            "UV_INSECURE_HOST": " ".join(self.trusted_hosts),
            "UV_HTTP_RETRIES": self.retries,
            "UV_HTTP_TIMEOUT": self.timeout,
        }
        return {name: value for name, value in found.items() if value} | dict(self.for_uv_alone)

    def files(self) -> tuple[Path, ...]:
        """Folders and files of this machine that it names."""
        named = (self.certificate, *(link.removeprefix("file://") for link in self.find_links))
        indexes = (self.index_url, *self.extra_index_urls)
        # A mirror's pages are often in a folder beside the files that they lead to.
        mirrors = [Path(unquote(url.removeprefix("file://"))).parent for url in indexes if url.startswith("file:///")]
        return (*(Path(unquote(place)) for place in named if place.startswith("/")), *mirrors)


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The same variables, their URLs without user and password: what foreign code may see."""
    return {name: _CREDENTIALS.sub("//", value) for name, value in environ.items()}


def machine_index(environ: Mapping[str, str]) -> PackageIndex:
    """Read pip's variables, and below them its configuration files, as pip itself would."""
    values = _configured(environ)
    for name in (*_NAMES, "default-timeout", "pypi-url"):
        variable = environ.get(f"PIP_{name.upper().replace('-', '_')}", "")
        if variable:
            values[name] = variable
    return PackageIndex(
        index_url=values.get("index-url") or values.get("pypi-url", ""),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(_absolute(link) for link in values.get("find-links", "").split()),
        no_index=values.get("no-index", "").lower() in ("1", "true", "yes", "on"),
        certificate=_absolute(values["cert"]) if values.get("cert") else "",
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        retries=values.get("retries", ""),
        timeout=values.get("timeout") or values.get("default-timeout", ""),
        for_uv_alone=tuple((name, environ[name]) for name in _UV_VARIABLES if environ.get(name)),
    )


_NAMES = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "trusted-host", "retries", "timeout")


def _configured(environ: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for file in _files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in _SECTIONS:
            if parser.has_section(section):
                values[section].update((name.replace("_", "-"), value) for name, value in parser.items(section))
    return values["global"] | values["install"]


def _files(environ: Mapping[str, str]) -> list[Path]:
    """Least important first; PIP_CONFIG_FILE at the null device means none at all."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    return [*files, Path(sys.prefix) / "pip.conf", *([Path(named)] if named else [])]


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().absolute())
