"""What test files were read as, for as long as a node lives."""

import threading
from collections import OrderedDict

from testmesh.model import ModulePlan

_MAX_KNOWN = 5000  # files, of less than 1 KiB each
Names = tuple[tuple[str, ...], tuple[str, ...]]  # of functions and classes


class KnownModules:
    """What test files were read as that were parsed before, by their content: a cohort's are the same each time.

    Safe from any thread.
    """

    def __init__(self, most: int = _MAX_KNOWN) -> None:
        self._most = most
        self._plans: OrderedDict[tuple[str, Names], ModulePlan] = OrderedDict()  # used last is last
        self._lock = threading.Lock()

    def get(self, content: str, names: Names) -> ModulePlan | None:
        with self._lock:
            found = self._plans.get((content, names))
            if found is not None:
                self._plans.move_to_end((content, names))
            return found

    def put(self, content: str, names: Names, plan: ModulePlan) -> None:
        with self._lock:
            self._plans[content, names] = plan
            while len(self._plans) > self._most:
                self._plans.popitem(last=False)
