"""Submissions on their way in. Of two under one id (one Idempotency-Key) with different bodies only one may go on here.

Two nodes may be given one key at the same moment. Neither has a record yet that the other could find, but both ask
others for a copy, and whoever is asked has the other submission in hand.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from testmesh.errors import ConflictError

KEY_USED = "This Idempotency-Key was used with another submission; take a new key for a new submission."


class Claims:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, list[str]] = {}  # the body digests of those under way, by id: all are equal

    @contextmanager
    def hold(self, evaluation_id: str, body_digest: str) -> Iterator[None]:
        """Raises ConflictError where a submission with another body is under way under this id."""
        with self._lock:
            held = self._held.setdefault(evaluation_id, [])
            if held and held[0] != body_digest:
                raise ConflictError(KEY_USED)
            held.append(body_digest)
        try:
            yield
        finally:
            with self._lock:
                held.pop()
                if not held:
                    del self._held[evaluation_id]
