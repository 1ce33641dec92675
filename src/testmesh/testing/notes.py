"""PURE. Notes for `Project.detail`: short whatever an archive holds."""

from collections.abc import Iterable, Sequence

MAX_DETAIL = 4000  # characters
_SHOWN, _MAX_NAME = 20, 200  # names in one note; characters of one


def listed(label: str, names: Sequence[str]) -> str:
    """`label: a, b and 3 more`; "" for no names."""
    if not names:
        return ""
    more = len(names) - _SHOWN
    shown = ", ".join(_clip(name, _MAX_NAME) for name in names[:_SHOWN])
    return f"{label}: {shown}" + (f" and {more} more" if more > 0 else "")


def joined(notes: Iterable[str]) -> str:
    """Notes as one line; empty ones are left out."""
    return _clip("; ".join(note for note in notes if note), MAX_DETAIL)


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
