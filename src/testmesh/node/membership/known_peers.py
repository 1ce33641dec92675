"""The peers of earlier runs, in a file: a mesh that was stopped whole finds itself again without a bootstrap.

They are asked for ever, slowly: so do halves of a mesh that were apart for longer than a dead member is remembered.
"""

import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from testmesh.damaged_files import set_aside
from testmesh.settings import parse_address

log = logging.getLogger(__name__)
_MOST = 200  # addresses; the one that joined longest ago goes first
_ASK_S = 30.0
_STOP_S = 5.0


class KnownPeers:
    """Safe from any thread. The file is written by a thread of its own: nobody waits for a disk."""

    def __init__(self, file: Path, own_address: str) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._writing: threading.Thread | None = None  # as long as there is something to write
        self._addresses = [address for address in self._load() if address != own_address]

    def addresses(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._addresses)

    def add(self, address: str) -> None:
        with self._lock:
            if address in self._addresses[-1:]:
                return
            self._addresses = [*(known for known in self._addresses if known != address), address][-_MOST:]
            if self._writing is None:
                writing = threading.Thread(target=self._write, name="known-peers", daemon=True)
                writing.start()
                self._writing = writing

    def stop(self) -> None:
        """Wait a moment until all is written."""
        with self._lock:
            writing = self._writing
        if writing is not None:
            writing.join(_STOP_S)

    def _write(self) -> None:
        """Until the file is what is known, however much is added meanwhile."""
        written: list[str] | None = None
        while True:
            with self._lock:
                if self._addresses == written:
                    self._writing = None
                    return
                written = list(self._addresses)
            part = self._file.with_suffix(".part")
            try:
                part.write_text(json.dumps(written), encoding="utf-8")
                part.replace(self._file)
            except OSError as error:
                log.warning("could not write %s: %s", self._file.name, error)

    def _load(self) -> list[str]:
        """Nothing where the file is not there or not whole: it is a help, no more."""
        try:
            listed = json.loads(self._file.read_text(encoding="utf-8"))
            if not isinstance(listed, list) or not all(isinstance(address, str) for address in listed):
                raise ValueError("it is not a list of addresses")  # noqa: TRY301 - as what is not JSON
            return list(dict.fromkeys(map(parse_address, listed)))[-_MOST:]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be used: %s; it is set aside, and peers are found anew", self._file.name, error)
            set_aside(self._file)
            return []


class Reunion:
    """A thread that now and then tries to join through a known peer that is not live, each in its turn."""

    def __init__(
        self,
        known: Callable[[], Collection[str]],
        live: Callable[[], Collection[str]],
        join_through: Callable[[Iterable[str]], None],
    ) -> None:
        self._known = known
        self._live = live
        self._join_through = join_through
        self._last = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reunion", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def ask_next(self) -> None:
        away = sorted(set(self._known()) - set(self._live()))
        if away:
            self._last = next((address for address in away if address > self._last), away[0])
            self._join_through([self._last])

    def _run(self) -> None:
        while not self._stopped.wait(_ASK_S):
            try:
                self.ask_next()
            except Exception:
                log.exception("a known peer could not be asked")
