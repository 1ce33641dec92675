"""A folder of projects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.reference import Outcome
from testmesh.client.pack import Packed, pack

Key = tuple[str, str]  # project, module


@dataclass(frozen=True, slots=True)
class Corpus:
    """`folder` has a folder a project. `known`: what plain pytest must say, where that is known beforehand."""

    name: str
    folder: Path
    known: Mapping[Key, Outcome] = field(default_factory=dict)

    @property
    def projects(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def packed(self, target: Path) -> Packed:
        """The zip that is submitted."""
        return pack([self.folder / name for name in self.projects], target)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def numbered(prefix: str, count: int) -> Iterator[str]:
    width = len(str(count - 1))
    return (f"{prefix}{number:0{width}}" for number in range(count))
