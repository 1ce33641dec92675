"""Everything between an archive and a module's result: unpacked once, environment once, then module after module."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testmesh.errors import InfrastructureError, TestmeshError
from testmesh.model import ModulePlan, ModuleResult, Options, Project, Service
from testmesh.testing.archive import lay_over, unpack
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.environment_shelf import Environment
from testmesh.testing.environments import EnvironmentCache
from testmesh.testing.events import Event
from testmesh.testing.folders import remove_tree
from testmesh.testing.grading import environment_failed, grade_module
from testmesh.testing.project_files import FolderFiles
from testmesh.testing.requirements import RequirementSet, read_requirements
from testmesh.testing.rootdir import RootArguments
from testmesh.testing.runner import ModuleRunner, RunRequest
from testmesh.testing.services import services_for
from testmesh.testing.single_flight import SingleFlight
from testmesh.testing.warm_parents import NoWarmParents, WarmSource

_LATER_S = 1.0
_STARTED = frozenset({"begin", "session_end"})  # events after which a run no longer only starts


@dataclass(frozen=True, slots=True)
class PreparedProject:
    """A project whose modules can be run: its code, which is only read, and its environment."""

    code: Path
    requirements: RequirementSet
    environment: Environment
    services: tuple[Service, ...]
    options: Options
    roots: RootArguments


class Workshop:
    """Safe from any thread. `folder` is this node's alone; what an earlier run left in it is removed."""

    def __init__(
        self,
        folder: Path,
        environments: EnvironmentCache,
        runner: ModuleRunner,
        warm: WarmSource | None = None,
        *,
        allow_vcs: bool,
    ) -> None:
        self._folder = folder
        self._environments = environments
        self._runner = runner
        self._warm = warm or NoWarmParents()
        self._allow_vcs = allow_vcs
        self._flights: SingleFlight[Path] = SingleFlight()
        self._unpacked: dict[tuple[str, str], Path] = {}
        self._prepared: dict[tuple[str, str], PreparedProject] = {}
        self._used_since: dict[Path, float] = {}  # by the python of an environment, monotonic
        self._lock = threading.Lock()
        if folder.exists():
            remove_tree(folder)
        folder.mkdir(parents=True)

    def prepare(
        self,
        evaluation_id: str,
        archive: Path,
        tests: Path | None,
        project: Project,
        options: Options,
        cancellation: Cancellation | None = None,
    ) -> PreparedProject:
        """Unpack the project and have its environment, both once an evaluation.

        Raises:
            EnvironmentFailedError: its requirements cannot be installed. InfrastructureError: the node is at fault.
            concurrent.futures.CancelledError: because of `cancellation`; an installation is ended at once.
        """
        with self._lock:
            known = self._prepared.get((evaluation_id, project.name))
        if known is not None:
            return known
        place = f"{evaluation_id}/{project.name}"
        code = self._flights.run(place, lambda: self._unpack(evaluation_id, archive, tests, project))
        requirements = read_requirements(FolderFiles(code), allow_vcs=self._allow_vcs)
        environment = self._environments.prepare(code, requirements, options.install_timeout_s, cancellation)
        services = services_for(code, options)
        made = PreparedProject(code, requirements, environment, services, options, RootArguments(code))
        with self._lock:
            if (evaluation_id, project.name) in self._unpacked:  # else it was forgotten meanwhile
                self._prepared[evaluation_id, project.name] = made
        return made

    def run(
        self,
        prepared: PreparedProject,
        module: ModulePlan,
        cancellation: Cancellation,
        begun: Callable[[], None] = lambda: None,
    ) -> ModuleResult:
        """`begun` is called when the module no longer only starts: its own tests begin, or it has none.

        Raises:
            InfrastructureError: the node failed, not the module; and what `prepare` raises.
        """

        def told(event: Event) -> None:
            if event.kind in _STARTED:
                begun()
                self._make_ready(prepared.environment, _LATER_S)

        def again() -> Environment:
            timeout_s = prepared.options.install_timeout_s
            return self._environments.prepare(prepared.code, prepared.requirements, timeout_s, cancellation)

        with self._environments.lease(prepared.environment, again) as environment:
            request = RunRequest(
                code=prepared.code,
                module=module.path,
                python=environment.python,
                bin_dir=environment.bin_dir,
                timeout_s=prepared.options.module_timeout_s,
                services=prepared.services,
                binds_ports=module.binds_ports,
                tests_found=module.tests_found,
                readable=(str(environment.bin_dir.parent), *map(str, environment.readable)),
                roots=prepared.roots,
                warm=self._warm.of(environment),
            )
            try:
                report = self._runner.run(request, on_event=told, cancellation=cancellation)
            finally:
                self._make_ready(environment, 0.0)
        return grade_module(report, module.tests_found)

    def _make_ready(self, environment: Environment, after_s: float) -> None:
        """What makes later runs quicker computes itself: it is begun when the first has ended, or a second later."""
        now = time.monotonic()
        with self._lock:
            since = self._used_since.setdefault(environment.python, now)
        if now - since >= after_s:
            self._warm.want(environment)
            self._environments.complete(environment)

    def environment_failed(self, module: ModulePlan, detail: str) -> ModuleResult:
        return environment_failed(detail, module.tests_found)

    def forget(self, evaluation_id: str) -> None:
        """Remove an ended evaluation's code."""
        with self._lock:
            for key in [key for key in self._unpacked if key[0] == evaluation_id]:
                del self._unpacked[key]
                self._prepared.pop(key, None)
        folder = self._folder / evaluation_id
        if folder.exists():
            remove_tree(folder)

    def _unpack(self, evaluation_id: str, archive: Path, tests: Path | None, project: Project) -> Path:
        with self._lock:
            known = self._unpacked.get((evaluation_id, project.name))
        if known is not None:
            return known
        # Named as the student named it, since tests may look; below a name of ours, since two may be named alike.
        number = hashlib.sha256(project.name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        code = self._folder / evaluation_id / number / (project.root.rpartition("/")[2] or "project")
        try:
            if code.exists():
                remove_tree(code)
            unpack(archive, project.root, code)
            if tests is not None:
                lay_over(tests, code)
        except TestmeshError as error:  # it was checked when it came, so it is this node's copy or disk
            raise InfrastructureError(error.detail) from error
        with self._lock:
            self._unpacked[evaluation_id, project.name] = code
        return code
