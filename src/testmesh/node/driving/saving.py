"""What a driver wants stored, and what of it could not be stored yet."""

import logging
from collections.abc import Iterable

from testmesh.errors import DiskFullError, InfrastructureError
from testmesh.model import ModuleState, Verdict
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord

log = logging.getLogger(__name__)


class Saving:
    """Not thread-safe. `fails`: this node cannot store anything just now, so others are to go on."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: dict[tuple[str, str, str], ModuleRecord] = {}
        self._said = False
        self.fails = False

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def add(self, records: Iterable[ModuleRecord]) -> None:
        """To be stored at the next `save`. Of one module the last, which wins over those before it anyway."""
        for record in records:
            self._waiting[record.state.key] = record

    def of(self, evaluation_id: str) -> tuple[ModuleRecord, ...]:
        return tuple(record for key, record in self._waiting.items() if key[0] == evaluation_id)

    def forget(self, evaluation_id: str) -> None:
        self._waiting = {key: record for key, record in self._waiting.items() if key[0] != evaluation_id}

    def save(self) -> bool:
        """All that waits, in one transaction. A record that no store can take must not keep the others out of it."""
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
            log.exception("the state of %s cannot be stored", record.state.key)
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
            log.exception("nor can that it failed")
            return True
