"""PURE: text that others wrote (names, output, errors), made safe for a terminal."""

import unicodedata

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, what changes the direction or is invisible, halves, separators


def clean(text: object, *, multiline: bool = False) -> str:
    """Without control and direction-changing characters, each shown as �; line breaks and tabs only if `multiline`."""
    plain = str(text).replace("\r\n", "\n")
    if plain.isprintable():  # nearly all there is, and thirty times as fast
        return plain
    kept = "\n\t" if multiline else ""
    return "".join(c if c in kept or unicodedata.category(c) not in _UNSEEN else "�" for c in plain)


def shortened(text: object, width: int = 160) -> str:
    """On one line, cut where it is longer than `width`."""
    line = clean(" ".join(str(text).split()))
    return line if len(line) <= width else line[: width - 1] + "…"
