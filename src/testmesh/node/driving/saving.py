"""What a driver wants stored, and what of it could not be stored yet."""

import logging
import math
from collections.abc import Iterable
from typing import Any

from testmesh.errors import DiskFullError, InfrastructureError
from testmesh.logs import about
from testmesh.model import ModuleState, Verdict
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord

log = logging.getLogger(__name__)
_WAITS_S = 0.05  # what need not be stored at once


class Saving:
    """Not thread-safe. `fails`: this node cannot store anything just now, so others are to go on. Times are monotonic.

    That a module began is for people, and a successor hears it from the worker: it waits a little for a result that
    is stored with it, or instead of it where the module has ended by then. Not so once an owner was lost: the module
    may be why, and such losses are counted by what is stored.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: dict[tuple[str, str, str], ModuleRecord] = {}
        self._unhurried: dict[tuple[str, str, str], ModuleRecord] = {}  # of other modules than those
        self._due = math.inf  # when these are to be stored too
        self._said = False
        self.fails = False

    @property
    def is_empty(self) -> bool:
        """Whether all is stored that should be by now."""
        return not self._waiting

    def is_behind(self, evaluation_id: str) -> bool:
        """Whether something of it should be stored by now, and is not."""
        return any(key[0] == evaluation_id for key in self._waiting)

    def next_due(self) -> float:
        return self._due

    def add(self, records: Iterable[ModuleRecord], now: float) -> None:
        """To be stored at the next `save`. Of one module the last, which wins over those before it anyway."""
        for record in records:
            key = record.state.key
            if record.state.verdict is Verdict.RUNNING and not record.state.epoch and key not in self._waiting:
                self._unhurried[key] = record
                self._due = min(self._due, now + _WAITS_S)
            else:
                self._unhurried.pop(key, None)
                self._waiting[key] = record

    def of(self, evaluation_id: str) -> tuple[ModuleRecord, ...]:
        """What is not stored yet."""
        return tuple(r for key, r in (self._waiting | self._unhurried).items() if key[0] == evaluation_id)

    def forget(self, evaluation_id: str) -> None:
        self._waiting = {key: record for key, record in self._waiting.items() if key[0] != evaluation_id}
        self._unhurried = {key: record for key, record in self._unhurried.items() if key[0] != evaluation_id}

    def save(self, now: float) -> bool:
        """All that waits, in one transaction. A record that no store can take must not keep the others out of it."""
        if self._waiting or now >= self._due:
            self._waiting |= self._unhurried
            self._unhurried, self._due = {}, math.inf
        try:
            if self.merge(Changes(modules=tuple(self._waiting.values()))):
                self._waiting = {}
        except Exception:
            log.exception("%d results could not be stored together", len(self._waiting))
            self._waiting = {key: r for key, r in self._waiting.items() if not self._is_done_with(r)}
        return not self._waiting

    def merge(self, changes: Changes) -> bool:
        """Whether it is stored. Raises what is wrong with the records themselves."""
        try:
            self._ledger.merge(changes, publish=True)
        except (DiskFullError, InfrastructureError) as error:
            if not self._said:
                log.error("%s What this node drives is handed over to others.", error.detail)  # noqa: TRY400
            self.fails = self._said = True
            return False
        self._said &= not changes
        return True

    def _is_done_with(self, record: ModuleRecord) -> bool:
        try:
            return self.merge(Changes(modules=(record,)))
        except Exception:
            log.exception("the state of %s cannot be stored", record.state.key, extra=_about(record.state))
        return not record.state.verdict.is_final or self._is_done_with_substitute(record)

    def _is_done_with_substitute(self, record: ModuleRecord) -> bool:
        """An evaluation must not end without a result: it is this system's fault that there is none."""
        state = record.state
        spoilt = ModuleState(
            *state.key,
            Verdict.INFRA_FAILED,
            state.epoch,
            state.attempt,
            state.node,
            detail="The result could not be stored; the node's log says why.",
        )
        try:
            return self.merge(Changes(modules=(ModuleRecord(spoilt),)))
        except Exception:
            log.exception("nor can that it failed", extra=_about(state))
            return True


def _about(state: ModuleState) -> dict[str, Any]:
    evaluation, project, module = state.key
    return about(evaluation=evaluation, project=project, module=module, attempt=state.attempt, node=state.node)
