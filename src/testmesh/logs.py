"""Logs to standard error, as text or as a JSON object a line."""

import json
import logging
import sys
import time
from typing import Any

from testmesh.settings import Settings

_QUIET = ("urllib3", "requests", "werkzeug")
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {10: "\\n", 13: "\\r", 9: "\t"}
_CONTROL_IN_JSON = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}  # the others are escaped already


def about(
    *,
    evaluation: str | None = None,
    project: str | None = None,
    module: str | None = None,
    attempt: int | None = None,
    node: str | None = None,
) -> dict[str, Any]:
    """What a line is about, as `extra` of a logging call. `node`: the address of whichever node, often another one."""
    ids = {"evaluation": evaluation, "project": project, "module": module, "attempt": attempt, "node": node}
    return {"about": {name: value for name, value in ids.items() if value is not None}}


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "thread", "address", "message", "exception"?}` and what `about` was given.

    The time is in UTC with milliseconds, `address` this node's.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "address": self._address,
            "message": record.getMessage(),
        }
        entry |= getattr(record, "about", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False).translate(_CONTROL_IN_JSON)


class TextFormatter(logging.Formatter):
    """One line an entry; line breaks and what steers a terminal are shown, not printed: the text may be untrusted."""

    def __init__(self, address: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {address} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return super().formatMessage(record).translate(_CONTROL)


def configure_logging(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    json_wanted = settings.log == "json"
    handler.setFormatter(JsonFormatter(settings.advertise) if json_wanted else TextFormatter(settings.advertise))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
