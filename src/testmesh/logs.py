"""Logs to standard error, as text or as a JSON object a line."""

import json
import logging
import sys
import time

from testmesh.settings import Settings

_QUIET = ("urllib3", "requests", "werkzeug")


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "thread", "message", "exception"?}`, the time in UTC with milliseconds."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One line an entry; line breaks from untrusted text are shown, not printed."""

    def __init__(self, address: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {address} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")


def configure_logging(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log == "json" else TextFormatter(settings.advertise))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
