"""PURE: text of uploads and numbers, as a page shows them."""

import re
import unicodedata
from datetime import UTC, datetime
from urllib.parse import quote

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_KEPT = "\n\t\u200c\u200d"  # lines, and what joins letters in scripts and emoji
CUT = 64


def visible(text: str) -> str:
    """What would be invisible, or would turn the order of what is around it, as a sign that can be seen.

    Control characters, marks of direction and other formatting are written as Python does: `\\x1b`, `\\u202e`. Colours
    of a terminal are left out.
    """
    shown = _COLOURS.sub("", text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(map(_visible_letter, shown.replace("\r\n", "\n")))


def _visible_letter(letter: str) -> str:
    if letter in _KEPT:
        return letter
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return letter.encode("unicode_escape").decode()
    return letter


def line(text: str) -> str:
    """The same in one line, for a name."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def shortened(text: str, limit: int = CUT) -> str:
    """At most `limit` letters, with the middle left out: the beginning and the end tell names apart."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{_trimmed(value)} %"


def nota(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _trimmed(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def number(value: int) -> str:
    """With thin gaps between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def duration(seconds: float | None) -> str:
    """`0.31 s`, `12.4 s`, `3 min 05 s`, `2 h 07 min`; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = whole // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def moment(stamp: str | None) -> str:
    """`2026-11-21 19:05:00 UTC` of the API's `2026-11-21T19:05:00Z`; the script shows it in the reader's own time."""
    return "–" if not stamp else stamp[:19].replace("T", " ") + " UTC"


def seconds_of(stamp: str | None) -> float | None:
    """Unix seconds of the API's form of a moment, with or without milliseconds; None of anything else."""
    try:
        return datetime.fromisoformat(stamp).astimezone(UTC).timestamp() if stamp else None
    except ValueError:
        return None


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def evaluation_path(evaluation_id: str) -> str:
    return f"/dashboard/evaluation/{quote(evaluation_id, safe='')}"


def quoted_length(name: str) -> int:
    """How long it is in a path."""
    return len(quote(name, safe="", errors="replace"))


def module_path(evaluation_id: str, project: str, module: str) -> str:
    query = f"project={quote(project, safe='', errors='replace')}&module={quote(module, safe='', errors='replace')}"
    return f"{evaluation_path(evaluation_id)}/module?{query}"
