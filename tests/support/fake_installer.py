"""An installer without commands: unpacks wheels of one folder. What it does, the contract suite holds it to."""

import sys
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.testing.installers import Installation


class FakeInstaller:
    name = "fake"

    def __init__(self, links: Path, *, is_reachable: bool = True) -> None:
        self._links = links
        self._is_reachable = is_reachable
        self.installed: list[Installation] = []

    def install(self, wanted: Installation) -> None:
        self.installed.append(wanted)
        if not self._is_reachable:
            raise InfrastructureError("the index is out of reach")
        site = wanted.target / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        chosen = self._resolve(wanted)
        site.mkdir(parents=True)
        (wanted.target / "bin").mkdir()
        (wanted.target / "bin" / "python").symlink_to(wanted.python.resolve())
        (wanted.target / "pyvenv.cfg").write_text(
            f"home = {wanted.python.resolve().parent}\ninclude-system-site-packages = false\n"
        )
        for wheel in chosen:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)

    def _resolve(self, wanted: Installation) -> list[Path]:
        allowed: dict[str, SpecifierSet] = {}
        for line in wanted.lines:
            requirement = Requirement(line.partition(" --hash")[0])
            allowed[requirement.name] = allowed.get(requirement.name, SpecifierSet()) & requirement.specifier
        for line in wanted.constraints:
            constraint = Requirement(line)
            if constraint.name in allowed:
                allowed[constraint.name] &= constraint.specifier
        return [self._best(name, specifier) for name, specifier in allowed.items()]

    def _best(self, name: str, specifier: SpecifierSet) -> Path:
        found: list[tuple[Version, Path]] = []
        for wheel in self._links.glob("*.whl"):
            wheel_name, version, _, _ = parse_wheel_filename(wheel.name)
            if wheel_name == name and version in specifier:
                found.append((version, wheel))
        if not found:
            raise EnvironmentFailedError(f"there is no version of {name}{specifier}")
        return max(found)[1]
