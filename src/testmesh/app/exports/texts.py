"""PURE: text from projects, made fit for formats that do not take every character."""

import re

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def legal(text: str) -> str:
    """What XML forbids, control characters and halves of pairs, becomes the replacement character."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def harmless_cell(text: str) -> str:
    """No spreadsheet takes it for a formula: an apostrophe before it says that it is text."""
    return f"'{text}" if text.startswith(_BEGINS_FORMULA) else text


def tail(text: str, most: int) -> str:
    """Its last `most` characters: what went wrong stands at the end."""
    return text if len(text) <= most else f"… {len(text) - most} characters are left out …\n{text[-most:]}"
