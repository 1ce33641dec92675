"""What outlives a process of a simulated node, and the records that wait for a peer of it."""

from dataclasses import dataclass, field

from testmesh.model import Evaluation
from testmesh.node.storage.replica import Changes, ModuleRecord, merge_evaluations, merge_modules
from testmesh.node.storage.store import MemoryStore


class Store(MemoryStore):
    """With its digest at hand, as it goes with every ping."""

    def __init__(self) -> None:
        super().__init__()
        self._digest: int | None = None

    def merge(self, changes: Changes) -> Changes:
        merged = super().merge(changes)
        if merged:
            self._digest = None
        return merged

    def digest(self) -> int:
        if self._digest is None:
            self._digest = super().digest()
        return self._digest

    def everything(self) -> Changes:
        found = [self.records(name) for name in self.digests()]
        return Changes(tuple(e for c in found for e in c.evaluations), tuple(m for c in found for m in c.modules))


@dataclass
class Disk:
    """What outlives a process."""

    store: Store = field(default_factory=Store)
    archives: set[str] = field(default_factory=set)
    known_peers: set[str] = field(default_factory=set)

    def copy(self) -> "Disk":
        store = Store()
        store.merge(self.store.everything())
        return Disk(store, set(self.archives), set(self.known_peers))


@dataclass
class Link:
    """The records that wait for one peer."""

    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    modules: dict[tuple[str, str, str], ModuleRecord] = field(default_factory=dict)
    busy: bool = False
    failures: int = 0
    open: bool = True

    def keep(self, changes: Changes) -> None:
        for theirs in changes.evaluations:
            self.evaluations[theirs.id] = merge_evaluations(self.evaluations.get(theirs.id, theirs), theirs)
        for record in changes.modules:
            key = record.state.key
            self.modules[key] = merge_modules(self.modules.get(key, record), record)

    def take(self) -> Changes:
        changes = Changes(tuple(self.evaluations.values()), tuple(self.modules.values()))
        self.evaluations, self.modules = {}, {}
        return changes
