"""What a workshop tells the runner."""

from pathlib import Path
from typing import cast

from testmesh.clock import FakeClock
from testmesh.model import ModulePlan, Options
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.environments import EnvironmentCache
from testmesh.testing.events import ProcessEnd, RunReport
from testmesh.testing.requirements import RequirementSet
from testmesh.testing.rootdir import RootArguments
from testmesh.testing.run_command import CommandRunner
from testmesh.testing.runner import ModuleRunner, RunRequest
from testmesh.testing.workshop import PreparedProject, Workshop
from tests.support.fake_installer import FakeInstaller
from tests.support.wheels import make_wheel


class RecordedRuns:
    def __init__(self) -> None:
        self.requests: list[RunRequest] = []

    def run(self, request: RunRequest, **_: object) -> RunReport:
        self.requests.append(request)
        return RunReport(end=ProcessEnd(exit_code=0))


def test_a_run_is_shown_what_the_environment_was_made_of_and_not_what_its_links_say(tmp_path: Path) -> None:
    """Its links may be those of foreign code."""
    make_wheel(tmp_path / "links", "pytest", "9.9")
    (tmp_path / "code").mkdir()
    installer, runs = FakeInstaller(tmp_path / "links"), RecordedRuns()
    environments = EnvironmentCache(tmp_path / "environments", installer, CommandRunner(), FakeClock())
    requirements = RequirementSet(("pytest",))
    environment = environments.prepare(tmp_path / "code", requirements, 60)
    code = tmp_path / "code"
    prepared = PreparedProject(code, requirements, environment, (), Options(), RootArguments(code))
    workshop = Workshop(tmp_path / "unpacked", environments, cast("ModuleRunner", runs), allow_vcs=False)
    environment.python.unlink()
    environment.python.symlink_to("/bin/python3")
    workshop.run(prepared, ModulePlan("test_it.py", tests_found=1), Cancellation())
    (request,) = runs.requests
    assert request.readable == (str(environment.bin_dir.parent), *map(str, environment.readable))
