"""PURE. TOML of an upload, read within bounds."""

import tomllib
from typing import Any

MAX_TOML = 256 * 1024  # bytes
# tomllib takes memory with the square of a key's dots (measured: one key that fills 128 KiB takes over 1 GiB), and a
# key never spans lines.
MAX_DOTS = 200


def parse_toml(content: bytes) -> dict[str, Any]:
    """The document in a file.

    Raises:
        ValueError: it is not TOML, or out of bounds; the message is for the file's author.
    """
    if len(content) > MAX_TOML:
        raise ValueError(f"it has more than {MAX_TOML} bytes")
    if any(line.count(b".") > MAX_DOTS for line in content.splitlines()):
        raise ValueError(f"a line has more than {MAX_DOTS} dots; write it over several lines")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
