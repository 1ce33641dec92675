"""PURE: which environments and code each node has, as far as that follows from what was given to it.

A hint, no more: where it is wrong a module begins a little later.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from testmesh.model import Project

ENVIRONMENT_S = 1.0  # to build one, mostly of packages that were had before
CODE_S = 0.2  # to bring a project's code and unpack it
_MOST_KNOWN = 5000  # of one node

Needs = tuple[tuple[str, float], ...]  # what, and the seconds to bring it to a node that has it not


def needs_of(evaluation_id: str, project: Project) -> Needs:
    code = (f"code of {evaluation_id}/{project.name}", CODE_S)
    return ((f"environment {project.environment}", ENVIRONMENT_S), code) if project.environment else (code,)


@dataclass(slots=True)
class Equipment:
    _by_node: dict[str, dict[str, None]] = field(default_factory=dict)

    def at(self, node: str) -> Set[str]:
        return self._by_node.get(node, {}).keys()

    def bring(self, node: str, needs: Needs) -> None:
        known = self._by_node.setdefault(node, {})
        known.update((what, None) for what, _ in needs)
        while len(known) > _MOST_KNOWN:
            del known[next(iter(known))]

    def forget(self, names: Iterable[str]) -> None:
        """These are nowhere any more."""
        for name in names:
            for known in self._by_node.values():
                known.pop(name, None)

    def lost(self, node: str) -> None:
        self._by_node.pop(node, None)
