"""PURE: text from projects, made fit for formats that do not take every character."""

import re

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SEPARATED = re.compile(r'([;\t\r\n][\s";]*)([=+\-@＝＋－＠])?')  # takes all it sees: a long text takes no long time
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def legal(text: str) -> str:
    """What XML forbids, control characters and halves of pairs, becomes the replacement character."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def harmless_cell(text: str) -> str:
    """No spreadsheet takes it for a formula: an apostrophe before it says that it is text.

    Some split cells at semicolons or tabs, whatever the quotes say: what follows these could be a formula too.
    """
    inside = _SEPARATED.sub(lambda found: f"{found[1]}'{found[2]}" if found[2] else found[1], text)
    return f"'{inside}" if text.startswith(_BEGINS_FORMULA) else inside


def tail(text: str, most: int) -> str:
    """Its last `most` characters: what went wrong stands at the end."""
    return text if len(text) <= most else f"… {len(text) - most} characters are left out …\n{text[-most:]}"
