"""PURE. The test files of an archive as modules that can be scheduled."""

from collections.abc import Iterable
from dataclasses import replace

from testmesh.model import ModulePlan
from testmesh.testing.cohort import digest_of
from testmesh.testing.known_modules import KnownModules, Names
from testmesh.testing.modules import MAX_SOURCE, Allowance, content_of, is_parsable, read_module
from testmesh.testing.ports import port_users
from testmesh.testing.pytest_config import PytestConfig
from testmesh.testing.tree import Tree

_MAX_PARSED = 1024 * 1024  # bytes of test files of one archive that are parsed; the rest is counted by line
_MAX_READ = 64 * 1024 * 1024  # bytes of test files of one archive that are looked at
_MAX_FOLLOWED = 8 * 1024 * 1024  # bytes of sources of one archive whose imports are followed


class ModuleReader:
    """Reads test files within bounds for the whole archive. What is in `parsed` costs it nothing."""

    def __init__(self, parsed: KnownModules | None = None) -> None:
        self._parsing, self._reading = Allowance(_MAX_PARSED), Allowance(_MAX_READ)
        self._following = Allowance(_MAX_FOLLOWED)
        self._parsed = parsed or KnownModules()
        self._counted: dict[tuple[str, Names], ModulePlan] = {}  # what this archive may not have parsed

    def plans(
        self, tree: Tree, modules: Iterable[str], config: PytestConfig
    ) -> tuple[tuple[ModulePlan, ...], dict[str, str]]:
        """The modules as they are scheduled, and the digests of those that could be read."""
        modules = tuple(modules)
        binding = port_users(tree, modules, self._following)
        sizes = tree.files()
        plans, digests = [], {}
        for path in modules:
            source = self._read(tree, path, sizes[path])
            if source is None:
                plans.append(ModulePlan(path, binds_ports=path in binding))
                continue
            digests[path] = digest_of(source, sizes[path])
            plan = self._plan(source, content_of(source, sizes[path]), config)
            plans.append(replace(plan, path=path, binds_ports=path in binding))
        return tuple(plans), digests

    def _plan(self, source: bytes, content: str, config: PytestConfig) -> ModulePlan:
        """Of a file at any path."""
        names = (config.python_functions, config.python_classes)
        known = self._parsed.get(content, names) or self._counted.get((content, names))
        if known is not None:
            return known
        parse = is_parsable(source) and self._parsing.take(len(source))
        plan = read_module(source, "", *names, parse=parse, content=content)
        if parse:
            self._parsed.put(content, names, plan)
        else:
            self._counted[content, names] = plan
        return plan

    def digests(self, tree: Tree, paths: Iterable[str]) -> dict[str, str]:
        sizes = tree.files()
        contents = {path: self._read(tree, path, sizes[path]) for path in paths}
        return {path: digest_of(content, sizes[path]) for path, content in contents.items() if content is not None}

    def _read(self, tree: Tree, path: str, size: int) -> bytes | None:
        """Its beginning; None once the archive has had its share of reading."""
        return tree.read(path, MAX_SOURCE) if self._reading.take(min(size, MAX_SOURCE)) else None
