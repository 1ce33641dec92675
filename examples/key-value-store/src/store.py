import threading
import time

from tabulate import tabulate


class Store:
    """Keys to values, each with an optional time to live in seconds."""

    def __init__(self):
        self._lock = threading.Lock()
        self._entries = {}

    def execute(self, request):
        with self._lock:
            return getattr(self, "_" + request.pop("command"))(**request)

    def _put(self, key, value, ttl=None):
        self._entries[key] = (value, time.monotonic() + ttl if ttl else None)
        return {"ok": True}

    def _get(self, key):
        value, expires = self._entries.get(key, (None, None))
        if expires is not None and time.monotonic() > expires:
            del self._entries[key]
            value = None
        return {"value": value}

    def _delete(self, key):
        return {"ok": self._entries.pop(key, None) is not None}

    def _table(self):
        rows = sorted((key, value) for key, (value, _) in self._entries.items())
        return {"table": tabulate(rows, headers=["key", "value"])}
