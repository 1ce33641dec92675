"""Text that comes from an upload, made safe for a terminal and for a spreadsheet."""

import unicodedata

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def clean(text: object, *, multiline: bool = False) -> str:
    """Without control and direction-changing characters, each shown as �; line breaks and tabs only if `multiline`."""
    kept = "\n\t" if multiline else ""
    plain = str(text).replace("\r\n", "\n")
    return "".join(
        c if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else "�" for c in plain
    )


def spreadsheet_cell(text: object) -> str:
    """Kept from being read as a formula."""
    cleaned = clean(text)
    return f"'{cleaned}" if cleaned.startswith(_FORMULA) else cleaned


def shortened(text: object, width: int = 160) -> str:
    """On one line, cut where it is longer than `width`."""
    line = clean(" ".join(str(text).split()))
    return line if len(line) <= width else line[: width - 1] + "…"
