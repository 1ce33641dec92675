"""Whose fault a failed installation is, read from the installer's own words. PURE.

Foreign code writes into these words too: what a build printed is cut away before they are judged.
"""

import re
from collections.abc import Sequence

_OUT_OF_REACH = re.compile(
    r"error sending request for url|HTTP status server error|HTTP status client error \((?:401|403|407|408|429)"
    r"|error decoding response body|connection (?:reset|closed|broken)|operation timed out|tls handshake"
    r"|invalid peer certificate|lack of valid authentication credentials|Could not resolve host"
    r"|HTTP error (?:401|403|407|408|429|5\d\d)|Read timed out|SSLError|Could not fetch URL"
    r"|incomplete-download|IncompleteRead",
    re.IGNORECASE,
)
_MACHINE = re.compile(
    # EIO, ENOMEM, EACCES, ENFILE, EMFILE, ENOSPC, EROFS, EDQUOT
    r"\((?:os error|errno) (?:5|12|13|23|24|28|30|122)\)|\[Errno (?:5|12|13|23|24|28|30|122)\]"
    r"|No space left on device|Disk quota exceeded|panicked at",
    re.IGNORECASE,
)
_NONE_FOUND = re.compile(r"\(from versions: none\)")
_RETRYING = re.compile(r"^\s*WARNING: Retrying \(", re.MULTILINE)
_PIP_BUILD = re.compile(r"╰─>.*?(?:\[end of output\]|\Z)", re.DOTALL)
_PIP_BUILD_REQUIRES = "installing build dependencies did not run successfully"
_UV_BUILD = re.compile(r"\n[ \t]*\[(?:stdout|stderr)\].*", re.DOTALL)
_NOISE = re.compile(
    r"^\s*(?:Using Python .*|Resolved \d+ .*|Prepared \d+ .*|Downloading .*|Downloaded .*|Building .*|Built .*"
    r"|Looking in .*|WARNING: Retrying .*|WARNING: Location .*|note: This error originates from a subprocess.*)$"
)
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_HEAD, _TAIL = 1000, 3000  # characters kept of long words: uv explains at the beginning, a build fails at the end


def is_infrastructure(output: str) -> bool:
    """Whether the index or this machine failed, and not the project's requirements."""
    own = _without_builds(output)
    if _MACHINE.search(own) or _OUT_OF_REACH.search(_without_retries(own)):
        return True
    # pip warns of each lost connection and then says only that it found no version.
    return bool(_RETRYING.search(own) and _NONE_FOUND.search(own))


def installer_words(output: str, hidden: Sequence[str] = ()) -> str:
    """The useful lines, bounded; `hidden` paths of this machine are left out, and so are credentials in URLs."""
    for path in hidden:
        output = output.replace(path, "")
    lines = (_UNPRINTABLE.sub("", line).rstrip() for line in output.splitlines())
    text = "\n".join(line for line in lines if line and not _NOISE.match(line))
    text = _CREDENTIALS.sub("//", text)
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n[...]\n{text[-_TAIL:]}"


def _without_builds(output: str) -> str:
    # A failing installation of build requirements is shown as a build's output too, but it is pip that speaks.
    if _PIP_BUILD_REQUIRES not in output:
        output = _PIP_BUILD.sub("", output)
    return _UV_BUILD.sub("", output)


def _without_retries(output: str) -> str:
    return "\n".join(line for line in output.splitlines() if not _RETRYING.match(line))
