"""Tiny wheels and source distributions, so that installers are tested without an index."""

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_BACKEND = """
import pathlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, version, module = {name!r}, {version!r}, {module!r}
    wheel = f"{{name}}-{{version}}-py3-none-any.whl"
    info = f"{{name}}-{{version}}.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder) / wheel, "w") as archive:
        archive.writestr(f"{{module}}.py", pathlib.Path(f"{{module}}.py").read_text())
        archive.writestr(f"{{info}}/METADATA", {metadata!r})
        archive.writestr(f"{{info}}/WHEEL", {wheel!r})
        archive.writestr(f"{{info}}/RECORD", "")
    return wheel
"""
_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_wheel(
    folder: Path, name: str, version: str, modules: Mapping[str, str] | None = None, requires: Sequence[str] = ()
) -> Path:
    """A wheel of the given files (by default one module of the package's name that holds `version`)."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    files = dict(modules) if modules is not None else {f"{name}.py": f"version = {version!r}\n"}
    files |= {f"{info}/METADATA": _metadata(name, version, requires), f"{info}/WHEEL": _WHEEL}
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(file, text)
    return path


def make_project(folder: Path, name: str, version: str = "1.0", module: str = "value = 1\n", build: str = "") -> Path:
    """A folder that builds without an index; `build` is code that runs when it is built."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "{name}"\nversion = "{version}"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    backend = _BACKEND.format(
        name=name, version=version, module=name, metadata=_metadata(name, version, ()), wheel=_WHEEL
    )
    (folder / "backend.py").write_text(f"{build}\n{backend}")
    (folder / f"{name}.py").write_text(module)
    return folder


def make_sdist(folder: Path, name: str, version: str = "1.0", build: str = "") -> Path:
    """The same as a source distribution."""
    folder.mkdir(parents=True, exist_ok=True)
    source = make_project(folder / f".{name}", name, version, build=build)
    (source / "PKG-INFO").write_text(_metadata(name, version, ()))
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(source.iterdir()):
            entry = tarfile.TarInfo(f"{name}-{version}/{file.name}")
            data = file.read_bytes()
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def _metadata(name: str, version: str, requires: Sequence[str]) -> str:
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    return "".join(lines + [f"Requires-Dist: {line}\n" for line in requires])
